"""SQuAD as the papers train it, and two tasks that are made of its validation splits.

Batch size, length and stride of SQuAD v1.1 and v2.0 are those of AdaQAT-BERT, Table 6, and of TernaryBERT's script,
which it follows (huawei-noah/Pretrained-Language-Model, ``TernaryBERT/quant_task_squad.py``; the stride is given there
alone). Row counts are the official ones of ``rajpurkar/squad`` and ``rajpurkar/squad_v2``. F1 selects the best
checkpoint, as in AdaQAT-BERT's public code (cgernigon/AdaQAT, ``quant_task_squad.py``).

``squad-articles`` and ``squad2-articles`` are no SQuAD: for readers without SQuAD's training split, they train on most
articles of its validation split and evaluate on the others, so their scores stand beside no published score. Titles
are sorted, and every eighth is held out: no article, and so no paragraph, is in both parts. That is 42 articles and 6
of v1.1, and 31 and 4 of v2.0.

Their sequences are shorter, for encoders of MiniLM's size. With the vocabulary of bert-base-uncased, question and
context fit 256 word pieces for 89 % of v1.1's validation questions and 88 % of v2.0's; of the others all answers lie
whole in some window. Shorter sequences save nothing: at 192 pieces an epoch has a tenth more of them in all, since more
contexts are read twice.
"""

from __future__ import annotations

import operator
from dataclasses import replace
from typing import Any

import pandas as pd

from xtcq.tasks.columns import check_texts
from xtcq.tasks.spec import QuestionSpec, Task
from xtcq.tasks.splits import read_split

COLUMNS = ("id", "title", "context", "question", "answers")
# Official rows of the releases.
RELEASES = {
    "squad": {"train": 87_599, "validation": 10_570},
    "squad_v2": {"train": 130_319, "validation": 11_873},
}


_ONE = QuestionSpec(
    "squad1", "SQuAD v1.1", ("question", "context"), 2, max_length=384, batch_size=16, metrics=("f1", "exact_match"),
    rows=RELEASES["squad"], stride=128, release="squad",
)  # fmt: skip
_TWO = replace(
    _ONE, name="squad2", title="SQuAD v2.0", rows=RELEASES["squad_v2"], unanswerable=True, release="squad_v2"
)
_ONE_BY_ARTICLE = replace(
    _ONE, name="squad-articles", title="SQuAD v1.1 validation, by article", max_length=256, stride=64,
    rows={"train": 9_488, "validation": 1_082}, held_out=8, windows=10_695,
)  # fmt: skip
_TWO_BY_ARTICLE = replace(
    _TWO, name="squad2-articles", title="SQuAD v2.0 validation, by article", max_length=256, stride=64,
    rows={"train": 10_300, "validation": 1_573}, held_out=8, windows=11_711,
)  # fmt: skip
SQUAD_SPECS: dict[str, QuestionSpec] = {spec.name: spec for spec in (_ONE, _TWO, _ONE_BY_ARTICLE, _TWO_BY_ARTICLE)}


def load_questions(spec: QuestionSpec) -> Task:
    """Load SQuAD, or a task that is made of its validation split.

    Files are ``$XTCQ_DATA/<release>/<split>.parquet`` where that folder exists, ``squad`` for v1.1 and ``squad_v2`` for
    v2.0; otherwise ``rajpurkar/<release>`` on the Hugging Face hub is read. Every split that is read must have the
    official number of rows.

    Errors are those of ``read_split`` and ``checked_questions``, where its frames are described.
    """
    official, frames = RELEASES[spec.release], {}
    if spec.held_out:
        official = {"validation": official["validation"]}
    for split in official:
        frame, origin = read_split(spec, split, official, f"rajpurkar/{spec.release}")
        frames[split] = checked_questions(frame, spec, origin)
    if spec.held_out:
        frames["train"], frames["validation"] = split_by_article(frames["validation"], spec.held_out)
    return Task(spec, frames.pop("train"), frames)


def split_by_article(frame: pd.DataFrame, every: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Hold out articles: of the sorted titles each whose number, from 1, is a multiple of ``every``.

    Returns:
        The questions on the other articles, and those on the articles that were held out; no title is in both.
    """
    held_out = frame["title"].isin(sorted(frame["title"].unique())[every - 1 :: every])
    return frame[~held_out].reset_index(drop=True), frame[held_out].reset_index(drop=True)


def checked_questions(frame: pd.DataFrame, spec: QuestionSpec, origin: str) -> pd.DataFrame:
    """Refuse questions that cannot be trained on or scored.

    Args:
        frame: columns ``id``, ``title``, ``context``, ``question`` and ``answers``, a dict of ``text`` and
            ``answer_start``, both of the same length, as in ``rajpurkar/squad``.
        spec: the task.
        origin: where the frame is from, for the message.

    Returns:
        Those columns; the two values of ``answers`` are lists.

    Raises:
        ValueError: a column is missing, a context or a question is empty, answers have another form, a question has no
            answer and the task knows no such questions, or an answer does not stand in its context where
            ``answer_start`` says.
    """
    checked = check_texts(frame, ("context", "question"), ("id", "title", "answers"), origin)[list(COLUMNS)]
    plain: Any = [_lists(*asked, origin) for asked in zip(checked["id"], checked["answers"], strict=True)]
    for question, context, answers in zip(checked["id"], checked["context"], plain, strict=True):
        _check_answers(question, context, answers, spec, origin)
    return checked.assign(answers=plain)


def _lists(question: str, answers: Any, origin: str) -> dict[str, list[Any]]:
    """Answers as two lists of one length."""
    try:
        texts, starts = ([*answers[name]] for name in ("text", "answer_start"))
        if len(texts) == len(starts) and all(isinstance(text, str) for text in texts):
            return {"text": texts, "answer_start": [operator.index(start) for start in starts]}
    except (TypeError, KeyError, IndexError):
        pass  # it is refused below, whatever it is
    raise ValueError(
        f"{origin}: question {question} has the answers {answers!r}, expected a dict of the lists 'text' and "
        "'answer_start' of one length, texts and integers; parse JSON first, and give each answer its start"
    )


def _check_answers(question: str, context: str, answers: dict[str, list[Any]], spec: QuestionSpec, origin: str) -> None:
    if not answers["text"] and not spec.unanswerable:
        raise ValueError(
            f"{origin}: question {question} has no answer, which task {spec.name!r} does not know; replace the file, "
            "or use a task of SQuAD v2.0"
        )
    for text, start in zip(answers["text"], answers["answer_start"], strict=True):
        if not text or start < 0 or context[start : start + len(text)] != text:
            found = context.find(text)
            where = f"it stands at {found}" if text and found >= 0 else "the context does not contain it"
            raise ValueError(
                f"{origin}: question {question} has the answer {text!r} at character {start} of its context, but "
                f"{where}; correct answer_start, or remove the question"
            )
