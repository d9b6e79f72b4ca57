import math

import numpy as np
import pandas as pd
import pytest
from xtcq_book.claims import examples
from xtcq_book.claims.examples import influence, majority

from xtcq.tasks import task_spec


@pytest.fixture
def labels(monkeypatch):
    """Gives a task development labels, as if its data were at hand."""

    def give(task, values):
        column = "answers" if task_spec(task).head == "questions" else "label"
        frame = pd.DataFrame({column: values})
        monkeypatch.setattr(examples, "_examples", lambda name: frame if name == task else None)

    return give


def test_a_majority_that_has_to_be_counted(labels, monkeypatch):
    monkeypatch.delenv("XTCQ_DATA", raising=False)
    assert math.isnan(majority("mnli")) and math.isnan(majority("squad2-articles"))
    labels("mnli", [0, 0, 1, 2])
    assert majority("mnli") == pytest.approx(50)
    labels("squad2-articles", [{"text": []}, {"text": ["a"]}, {"text": []}, {"text": []}])
    assert majority("squad2-articles") == pytest.approx(75)


def drawn(task, rng):
    """Labels of a task, and two models that see them through noise."""
    n = task_spec(task).rows["validation"]
    hidden = rng.standard_normal(n)
    if task == "stsb":
        truth, noisy = hidden, [hidden + rng.standard_normal(n) for _ in range(2)]
        return truth, [np.round(values, 4).tolist() for values in noisy]
    truth = (hidden > 0.5).astype(int)
    return truth, ["".join(str(int(v)) for v in hidden + rng.standard_normal(n) > 0.5) for _ in range(2)]


def at_best(made):
    return {"best": {"validation": made}}


def scored(task, truth, predictions):
    predicted = np.array([int(c) for c in predictions] if isinstance(predictions, str) else predictions, dtype=float)
    if task == "mrpc":
        return 100 * np.mean(truth == predicted)
    return 100 * np.corrcoef(truth, predicted)[0, 1]  # of two classes: Matthews correlation


@pytest.mark.parametrize("task", ["mrpc", "cola", "stsb"])
def test_a_difference_varies_over_examples_as_a_paired_bootstrap_says(make_run, labels, task):
    rng = np.random.default_rng(0)
    truth, (one, two) = drawn(task, rng)
    labels(task, truth)
    runs = [make_run(scored(task, truth, made), predictions=at_best(made), task=task) for made in (one, two)]
    difference = influence(runs[0], "best") - influence(runs[1], "best")
    found = math.sqrt(np.mean(difference**2) / len(truth))
    a, b = (np.array(list(made), dtype=float) for made in (one, two))
    draws = rng.integers(0, len(truth), (2000, len(truth)))
    bootstrap = [scored(task, truth[i], a[i].tolist()) - scored(task, truth[i], b[i].tolist()) for i in draws]
    assert found == pytest.approx(np.std(bootstrap), rel=0.08)


def test_a_collapsed_model_has_no_influence(make_run, labels):
    labels("cola", np.arange(1043) % 2)
    assert not influence(make_run(0.0, task="cola"), "last").any()


def test_predictions_of_another_length_than_the_development_set(make_run):
    with pytest.raises(ValueError, match="holds 3 predictions at best, and the development set of MRPC has 408"):
        influence(make_run(predictions=at_best("010")), "best")


def test_predictions_that_do_not_give_the_score(make_run, labels, monkeypatch):
    monkeypatch.setenv("XTCQ_DATA", "/some/folder")
    labels("mrpc", np.zeros(408))
    with pytest.raises(ValueError, match="give 100.00 on the data in /some/folder, and the Record says 80.00"):
        influence(make_run(80.0), "best")


def test_rounding_moves_the_score_of_a_student_that_predicts_nearly_one_number(make_run, labels, monkeypatch):
    monkeypatch.setenv("XTCQ_DATA", "/some/folder")
    rng = np.random.default_rng(0)
    truth = rng.standard_normal(1500)
    labels("stsb", truth)

    def run(spread, changed=0.0):
        exact = 2.5 + spread * (truth + rng.standard_normal(1500)) / math.sqrt(2)
        made = np.round(exact, 4).tolist()
        return make_run(scored("stsb", truth, exact) + changed, predictions=at_best(made), task="stsb")

    for spread in (0.003, 0.0003, 0.00001):
        assert influence(run(spread), "best").shape == (1500,)
    with pytest.raises(ValueError, match="one of them was changed"):
        influence(run(1.0, changed=0.05), "best")
    with pytest.raises(ValueError, match="one of them was changed"):
        influence(run(0.003, changed=-5.0), "best")


def test_without_labels_there_is_no_influence(make_run):
    assert influence(make_run(80.0), "best") is None
