import math
import warnings

import numpy as np
import pytest
import torch

from xtcq.tasks import chance_level, compute_metrics, has_learned, least_score, task_spec

# Labels 1 1 1 1 0 0, predictions 1 1 1 0 1 0: TP 3, FN 1, FP 1, TN 1.
LABELS = np.array([1, 1, 1, 1, 0, 0])
LOGITS = np.array([[0, 1], [0, 1], [0, 1], [1, 0], [0, 1], [1, 0]], dtype=np.float32)


def test_accuracy_and_f1_from_their_definitions():
    scores = compute_metrics(task_spec("mrpc"), LOGITS, LABELS)
    assert list(scores) == ["accuracy", "f1"]
    assert scores["accuracy"] == pytest.approx(100 * 4 / 6)
    assert scores["f1"] == pytest.approx(100 * 2 * 3 / (2 * 3 + 1 + 1))


def test_matthews_from_its_definition():
    expected = 100 * (3 * 1 - 1 * 1) / math.sqrt((3 + 1) * (3 + 1) * (1 + 1) * (1 + 1))
    assert compute_metrics(task_spec("cola"), LOGITS, LABELS) == {"matthews": pytest.approx(expected)}


@pytest.mark.parametrize("shape", [(4,), (4, 1)])
def test_correlations_from_their_definitions(shape):
    truth, predictions = np.array([0.0, 1.0, 3.0, 5.0]), np.array([1.0, 0.5, 2.0, 9.0])
    scores = compute_metrics(task_spec("stsb"), predictions.reshape(shape), truth)
    centred = (truth - truth.mean(), predictions - predictions.mean())
    assert scores["pearson"] == pytest.approx(100 * centred[0] @ centred[1] / math.prod(map(np.linalg.norm, centred)))
    # The ranks are 1 2 3 4 and 2 1 3 4: rho = 1 - 6 sum d^2 / (n (n^2 - 1)).
    assert scores["spearman"] == pytest.approx(100 * (1 - 6 * 2 / (4 * 15)))


def test_three_classes_and_torch_tensors():
    scores = compute_metrics(task_spec("mnli"), torch.eye(3), torch.tensor([0, 1, 1]))
    assert scores == {"accuracy": pytest.approx(200 / 3)}


@pytest.mark.parametrize(
    ("task", "logits", "labels", "expected"),
    [
        ("stsb", np.full((5, 1), 0.1, np.float32), np.arange(5.0), {"pearson": 0.0, "spearman": 0.0}),
        ("stsb", np.arange(5.0), np.full(5, 2.5), {"pearson": 0.0, "spearman": 0.0}),
        ("cola", np.tile([0.0, 1.0], (6, 1)), LABELS, {"matthews": 0.0}),
        ("qqp", np.tile([1.0, 0.0], (6, 1)), LABELS, {"accuracy": pytest.approx(100 / 3), "f1": 0.0}),
    ],
)
def test_a_collapsed_model_scores_zero_without_a_warning(task, logits, labels, expected):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert compute_metrics(task_spec(task), logits, labels) == expected


def test_values_are_plain_floats():
    assert {type(v) for v in compute_metrics(task_spec("mrpc"), LOGITS, LABELS).values()} == {float}


@pytest.mark.parametrize("logits", [LOGITS[:5], LOGITS[:, :1], np.zeros((0, 2))])
def test_shapes_that_do_not_fit_are_refused(logits):
    labels = LABELS if len(logits) else LABELS[:0]
    with pytest.raises(ValueError, match=r"'mrpc' expects logits of shape \(examples, 2\).*got logits of shape"):
        compute_metrics(task_spec("mrpc"), logits, labels)


def test_a_diverged_model_is_named():
    logits = LOGITS.copy()
    logits[2, 0] = np.nan
    with pytest.raises(ValueError, match="'mrpc' hold 1 values that are not finite.*lower learning rate"):
        compute_metrics(task_spec("mrpc"), logits, LABELS)


def test_two_standard_errors_above_the_majority():
    mrpc, p = task_spec("mrpc"), 279 / 408
    least = 100 * (p + 2 * math.sqrt(p * (1 - p) / 408))
    assert chance_level(mrpc) == pytest.approx(100 * p) and least_score(mrpc, 100 * p) == pytest.approx(least)
    assert has_learned(mrpc, least + 0.1) and not has_learned(mrpc, least - 0.1)


def test_scores_without_a_majority_class():
    specs = [task_spec(name) for name in ("cola", "stsb", "squad-articles")]
    assert [chance_level(spec) for spec in specs] == [0, 0, 0]
    assert [least_score(spec, 0) for spec in specs] == [10, 30, 30]
    assert has_learned(task_spec("mnli"), 1.0)  # its majority would have to be counted
