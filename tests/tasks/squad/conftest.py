from dataclasses import replace

import pandas as pd
import pytest

from xtcq.tasks import task_spec


@pytest.fixture
def question_spec():
    """A task of short sequences: at most sixteen pieces, windows that share four."""
    return replace(task_spec("squad1"), max_length=16, stride=4)


@pytest.fixture
def make_frame():
    """A factory of questions about contexts of the words w0, w1, ...; the answer is a slice of them, or None."""

    def build(*cases: tuple[int, tuple[int, int] | None]) -> pd.DataFrame:
        rows = []
        for number, (length, answer) in enumerate(cases):
            words = [f"w{i}" for i in range(length)]
            context = " ".join(words)
            found = {"text": [], "answer_start": []}
            if answer is not None:
                text = " ".join(words[slice(*answer)])
                found = {"text": [text], "answer_start": [len(" ".join([*words[: answer[0]], ""]))]}
            rows.append((f"q{number}", "title", context, "w90 w91", found))
        return pd.DataFrame(rows, columns=["id", "title", "context", "question", "answers"])

    return build
