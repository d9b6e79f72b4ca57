import os
import sys
from types import SimpleNamespace

import pandas as pd
import pytest

from xtcq.encoder import load_encoder
from xtcq.tasks import TASKS, checked_questions, encode, load_task, task_spec
from xtcq.tasks.squad import RELEASES, split_by_article

REAL_DATA = os.environ.get("XTCQ_DATA")
OFFICIAL = {"squad": (87_599, 10_570), "squad_v2": (130_319, 11_873)}


def questions(count, answer="beta", start=6, **changes):
    answers = {"text": [answer], "answer_start": [start]} if answer else {"text": [], "answer_start": []}
    columns = {
        "id": [f"q{i}" for i in range(count)],
        "title": [f"Article {i % 16:02}" for i in range(count)],
        "context": ["alpha beta gamma"] * count,
        "question": ["What?"] * count,
        "answers": [answers] * count,
    }
    return pd.DataFrame(columns | changes)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with SQuAD v1.1 of sixteen questions a split, which are taken for the official count."""
    monkeypatch.setitem(RELEASES, "squad", {"train": 16, "validation": 16})
    (tmp_path / "squad").mkdir()
    for split in ("train", "validation"):
        questions(16).to_parquet(tmp_path / "squad" / f"{split}.parquet")
    monkeypatch.setenv("XTCQ_DATA", str(tmp_path))
    return tmp_path / "squad"


def test_specs_are_those_of_the_papers():
    for name, release in (("squad1", "squad"), ("squad2", "squad_v2")):
        spec = task_spec(name)
        assert (spec.batch_size, spec.max_length, spec.stride) == (16, 384, 128)
        assert (spec.rows["train"], spec.rows["validation"]) == OFFICIAL[release]
        assert spec.unanswerable == (name == "squad2")
        assert (spec.head, spec.num_labels, spec.primary_metric) == ("questions", 2, "f1")
    assert {"squad1", "squad2", "squad-articles", "squad2-articles", "demo-questions"} <= set(TASKS)


def test_a_folder_is_read(folder):
    task = load_task("squad1")
    assert list(task.train.columns) == ["id", "title", "context", "question", "answers"]
    assert task.train["answers"][0] == {"text": ["beta"], "answer_start": [6]}
    assert len(task.evaluation["validation"]) == 16


@pytest.mark.parametrize(
    "answers",
    [
        '{"text": ["beta"], "answer_start": [6]}',
        {"text": ["beta", "beta"], "answer_start": [6]},
        {"text": ["beta"]},
        {"text": [7], "answer_start": [6]},
        {"text": ["beta"], "answer_start": ["6"]},
        None,
    ],
)
def test_answers_of_another_form(answers):
    with pytest.raises(ValueError, match="mine: question q1 has the answers .*, expected a dict of the lists 'text'"):
        checked_questions(
            questions(2, answers=[{"text": ["beta"], "answer_start": [6]}, answers]), task_spec("squad1"), "mine"
        )


def test_articles_are_held_out_and_need_no_training_split(folder):
    (folder / "train.parquet").unlink()
    task = load_task("squad-articles")
    assert set(task.evaluation["validation"]["title"]) == {"Article 07", "Article 15"}
    assert set(task.train["title"]) == {f"Article {i:02}" for i in range(16)} - {"Article 07", "Article 15"}
    assert task.train.index.tolist() == list(range(14))
    with pytest.raises(FileNotFoundError, match="train.parquet is missing: task 'squad1' needs the splits train, val"):
        load_task("squad1")


def test_articles_do_not_depend_on_the_order_of_rows():
    frame = questions(40)
    one, other = split_by_article(frame, 8), split_by_article(frame.iloc[::-1], 8)
    assert [set(part["id"]) for part in one] == [set(part["id"]) for part in other]


def test_official_counts_are_what_is_compared(tmp_path, monkeypatch):
    assert {name: tuple(rows.values()) for name, rows in RELEASES.items()} == OFFICIAL
    (tmp_path / "squad_v2").mkdir()
    questions(15).to_parquet(tmp_path / "squad_v2" / "validation.parquet")
    monkeypatch.setenv("XTCQ_DATA", str(tmp_path))
    with pytest.raises(ValueError, match="has 15 rows, but the official validation split has 11,873; use the complete"):
        load_task("squad2-articles")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"context": "  "}, "row 1 has no text in 'context' .* 16 rows in all"),
        ({"question": ""}, "row 1 has no text in 'question'"),
        ({"answer": None}, "question q0 has no answer, which task 'squad1' does not know"),
        ({"answer": "delta"}, "q0 has the answer 'delta' at character 6 of its context, but the context does not cont"),
        ({"start": 5}, "q0 has the answer 'beta' at character 5 of its context, but it stands at 6; correct"),
        ({"start": -1}, "q0 has the answer 'beta' at character -1 of its context, but it stands at 6; correct"),
        ({"answer": "gamma delta", "start": 11}, "'gamma delta' at character 11 of its context, but the context does"),
    ],
)
def test_questions_that_cannot_be_trained_on_are_named(changes, message):
    with pytest.raises(ValueError, match=f"^here.*{message}"):
        checked_questions(questions(16, **changes), task_spec("squad1"), "here")


def test_a_missing_column_is_named():
    with pytest.raises(
        ValueError, match="here has no column 'answers': it has 'id', 'title', 'context', 'question', and"
    ):
        checked_questions(questions(2).drop(columns="answers"), task_spec("squad1"), "here")


def test_version_2_knows_questions_without_answer():
    frame = checked_questions(questions(2, answer=None), task_spec("squad2"), "here")
    assert frame["answers"].tolist() == [{"text": [], "answer_start": []}] * 2


def test_the_hub_is_asked_where_there_is_no_folder(monkeypatch):
    asked = []

    def load_dataset(*args, split):
        asked.append((*args, split))
        return SimpleNamespace(to_pandas=lambda: questions(10_570))

    monkeypatch.delenv("XTCQ_DATA", raising=False)
    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=load_dataset))
    assert len(load_task("squad-articles").train) < 10_570
    assert asked == [("rajpurkar/squad", "validation")]


def test_without_any_source_the_error_says_how_to_get_the_data(monkeypatch):
    monkeypatch.delenv("XTCQ_DATA", raising=False)
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(FileNotFoundError) as caught:
        load_task("squad-articles")
    message = str(caught.value)
    assert "no data for task 'squad-articles'" in message and "needs the package `datasets`" in message
    assert "put validation.parquet (the columns of rajpurkar/squad) into $XTCQ_DATA/squad, where" in message
    assert "demo-questions" in message


@pytest.mark.skipif(not REAL_DATA, reason="needs SQuAD in the folder that XTCQ_DATA names")
@pytest.mark.parametrize(
    ("name", "articles", "held_out", "unanswerable"),
    [("squad-articles", 48, 6, 0), ("squad2-articles", 35, 4, 5_945)],
)
def test_real_data(name, articles, held_out, unanswerable):
    task = load_task(name)  # has found every answer at its offset
    train, validation = task.train, task.evaluation["validation"]
    assert {"train": len(train), "validation": len(validation)} == task.spec.rows
    assert (train["title"].nunique(), validation["title"].nunique()) == (articles - held_out, held_out)
    assert not set(train["context"]) & set(validation["context"])
    assert sum(not a["text"] for frame in (train, validation) for a in frame["answers"]) == unanswerable
    for context, answers in zip(validation["context"], validation["answers"], strict=True):
        for text, start in zip(answers["text"], answers["answer_start"], strict=True):
            assert context[start:].startswith(text)


@pytest.mark.skipif(not REAL_DATA, reason="needs SQuAD in the folder that XTCQ_DATA names")
def test_real_answers_lie_in_a_window():
    task = load_task("squad-articles")
    data = encode(task.evaluation["validation"], task.spec, load_encoder("minilm-l6", 2)[1])
    found = {row for i, row in enumerate(data.questions) if data[i]["start_positions"] > 0}
    assert len(data) == 1_204
    assert found == set(range(1_082))
