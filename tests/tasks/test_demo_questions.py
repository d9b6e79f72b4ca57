import hashlib
import json

import pytest

from xtcq.encoder import load_encoder
from xtcq.tasks import checked_questions, encode, load_task


@pytest.fixture(scope="module")
def task():
    return load_task("demo-questions")


def test_the_data_are_the_same_everywhere(task):
    rows = [frame.to_numpy().tolist() for frame in (task.train, task.evaluation["validation"])]
    # A change of the grammar makes earlier results on the task incomparable.
    assert hashlib.sha256(json.dumps(rows).encode()).hexdigest()[:16] == "a18496ff8a3b3100"


def test_sizes_and_balance(task):
    for split, frame in {"train": task.train, **task.evaluation}.items():
        assert list(frame.index) == list(range(task.spec.rows[split]))
        asked = frame["question"].str.split().str[0]
        without = frame["answers"].map(lambda answers: not answers["text"])
        assert without.sum() == len(frame) / 4
        assert set(asked[~without].value_counts()) == {len(frame) / 4}
        assert set(asked) == {"Who", "What", "Where"}


def test_training_and_evaluation_share_no_context(task):
    contexts = [*task.train["context"], *task.evaluation["validation"]["context"]]
    assert len(set(contexts)) == 720


def test_questions_are_sound(task):
    for frame in (task.train, *task.evaluation.values()):
        assert checked_questions(frame, task.spec, "demo").equals(frame)
        for row in frame.itertuples():
            if row.answers["text"]:
                (answer,) = row.answers["text"]
                assert row.context.count(answer) == 1 and answer not in row.question
            else:
                person = row.question.split("the ")[1].split()[0].strip("?")
                assert f"The {person} " not in row.context


def test_a_question_is_one_window(task):
    data = encode(task.train, task.spec, load_encoder("minilm-l6", 2)[1])
    assert len(data) == task.spec.windows and max(data.lengths) <= task.spec.max_length
