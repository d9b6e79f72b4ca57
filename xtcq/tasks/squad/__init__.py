"""Extractive question answering: SQuAD, and tasks derived from it."""

from xtcq.tasks.squad.data import RELEASES, SQUAD_SPECS, checked_questions, load_questions, split_by_article
from xtcq.tasks.squad.metrics import normalize_answer, score_answer, score_answers
