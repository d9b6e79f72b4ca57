"""Finding SQuAD's data, and refusing what cannot be SQuAD or cannot be trained on."""

from __future__ import annotations

from typing import Any

import pandas as pd

from xtcq.tasks.reading import data_folder, how_to_get, read_hub, read_parquet
from xtcq.tasks.spec import QuestionSpec, Task
from xtcq.tasks.squad.demo import DEMO_QUESTIONS
from xtcq.tasks.squad.specs import RELEASES

COLUMNS = ("id", "title", "context", "question", "answers")


def load_questions(spec: QuestionSpec) -> Task:
    """Load SQuAD, or a task that is made of its validation split.

    Files are `$XTCQ_DATA/<release>/<split>.parquet` where that folder exists, `squad` for v1.1 and `squad_v2` for
    v2.0; otherwise `rajpurkar/<release>` on the Hugging Face hub is read. Every split that is read must have the
    official number of rows.

    Args:
        spec: One of `xtcq.tasks.squad.SQUAD_SPECS`.

    Returns:
        The task; its frames are described at `checked_questions`.

    Raises:
        ValueError: If a file is damaged, is not the official split, or holds a question that `checked_questions`
            refuses.
        FileNotFoundError: If no source has the data, or a split is missing from the folder.
    """
    if not spec.held_out:
        frames = {split: _read(spec, split, tuple(spec.rows)) for split in spec.rows}
        return Task(spec, frames.pop("train"), frames)
    train, validation = split_by_article(_read(spec, "validation", ("validation",)), spec.held_out)
    return Task(spec, train, {"validation": validation})


def split_by_article(frame: pd.DataFrame, every: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Hold out articles.

    Args:
        frame: Questions with a column `title`.
        every: Of the sorted titles, each whose number (counted from 1) is a multiple of this is held out.

    Returns:
        The questions on the other articles, and those on the articles that were held out; no title is in both.
    """
    held_out = frame["title"].isin(sorted(frame["title"].unique())[every - 1 :: every])
    return frame[~held_out].reset_index(drop=True), frame[held_out].reset_index(drop=True)


def checked_questions(frame: pd.DataFrame, spec: QuestionSpec, origin: str) -> pd.DataFrame:
    """Refuse questions that cannot be trained on or scored.

    Args:
        frame: Columns `id`, `title`, `context`, `question` and `answers`, a dict of `text` and `answer_start`, both
            of the same length, as in `rajpurkar/squad`.
        spec: The task.
        origin: Where the frame is from, for the message.

    Returns:
        Those columns; the two values of `answers` are lists.

    Raises:
        ValueError: If a column is missing, a context or a question is empty, a question has no answer and the task
            knows no such questions, or an answer does not stand in its context where `answer_start` says.
    """
    if missing := [column for column in COLUMNS if column not in frame.columns]:
        raise ValueError(
            f"{origin} lacks the columns {', '.join(missing)}: it has {', '.join(map(str, frame.columns))}, and task "
            f"{spec.name!r} needs {', '.join(COLUMNS)}; rename or replace them"
        )
    for column in ("context", "question"):
        if bad := sum(not isinstance(text, str) or not text.strip() for text in frame[column]):
            raise ValueError(f"{origin} has {bad:,} rows without text in column {column!r}; replace it")
    checked = frame[list(COLUMNS)].reset_index(drop=True)
    checked["answers"] = [_plain(answers) for answers in checked["answers"]]
    for row in checked.itertuples(index=False):
        _check_answers(row.id, row.context, row.answers, spec, origin)
    return checked


def _read(spec: QuestionSpec, split: str, needed: tuple[str, ...]) -> pd.DataFrame:
    folder, hub = data_folder(spec.release), f"rajpurkar/{spec.release}"
    if folder is not None:
        path = folder / f"{split}.parquet"
        frame, origin = read_parquet(path, spec.name, needed), str(path)
    else:
        remedy = how_to_get(hub, (spec.release,), needed, (DEMO_QUESTIONS.name,))
        frame, origin = read_hub(hub, (), split, spec.name, remedy), f"{hub} ({split}) on the Hugging Face hub"
    official = RELEASES[spec.release][split]
    if len(frame) != official:
        raise ValueError(
            f"{origin} has {len(frame):,} rows, but the official {split} split has {official:,}; use the complete "
            "split, results on a subset are not results on SQuAD"
        )
    return checked_questions(frame, spec, origin)


def _plain(answers: Any) -> dict[str, list[Any]]:
    return {name: list(answers[name]) for name in ("text", "answer_start")}


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
