"""Extractive question answering: SQuAD, tasks derived from it, and one that the project writes itself."""

from xtcq.tasks.squad.answers import Answer
from xtcq.tasks.squad.data import RELEASES, SQUAD_SPECS, checked_questions, load_questions, split_by_article
from xtcq.tasks.squad.demo import DEMO_QUESTIONS, make_demo_questions
from xtcq.tasks.squad.metrics import normalize_answer, score_answer, score_answers
from xtcq.tasks.squad.windows import EncodedQuestions, encode_questions

__all__ = [
    "DEMO_QUESTIONS",
    "RELEASES",
    "SQUAD_SPECS",
    "Answer",
    "EncodedQuestions",
    "checked_questions",
    "encode_questions",
    "load_questions",
    "make_demo_questions",
    "normalize_answer",
    "score_answer",
    "score_answers",
    "split_by_article",
]
