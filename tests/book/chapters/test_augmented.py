import math

import pytest
from xtcq_book.chapters import augmented

from xtcq.tasks.augmentation import COPIES


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XTCQ_CACHE", str(tmp_path))


def test_growth_stands_beside_the_papers(monkeypatch, word_task):
    monkeypatch.setattr(augmented, "load_task", lambda name: word_task)
    monkeypatch.setattr(
        augmented, "_augmented", lambda *args: type(word_task)(word_task.spec, word_task.train.head(48), {})
    )
    table = augmented.sizes(["cola", "mnli"], "neighbours", "minilm-l6")
    assert table.loc["CoLA"].tolist() == pytest.approx([96, 48, 0.5, 218_844 / 8_551])
    # Table C.1 prints one number for both of MNLI's development sets; it is not augmented.
    assert table.loc["MNLI", "growth in the paper"] == pytest.approx(1.0)


def test_the_original_comes_first():
    shown = augmented.examples("demo-pairs", "neighbours", "minilm-l6", added=2)
    first, second, third = shown.drop(columns="label").itertuples(index=False, name=None)
    assert len({first, second, third}) == 3 and shown["label"].nunique() == 1
    assert sum(a != b for a, b in zip(first, second, strict=True)) == 1


def test_a_task_that_the_paper_does_not_have():
    table = augmented.sizes(["demo-pairs"], "neighbours", "minilm-l6")
    (row,) = table.itertuples(index=False)
    assert row.examples < row[1] <= row.examples * (1 + 2 * COPIES["demo-pairs"])
    assert math.isnan(row[3])
