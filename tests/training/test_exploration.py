import json
from dataclasses import replace

import pytest
import torch

from xtcq.adaqat import AdaQATSettings
from xtcq.distillation import Stage, explore_then_refine, finetune, one_stage
from xtcq.quantization import QuantConfig, get_widths, quantize, use_score_attention
from xtcq.tasks import encoding
from xtcq.training import DistillationTrainer, TrainSettings, train
from xtcq.training import plan as training

SETTINGS = AdaQATSettings(lambda_weights=0.2, lambda_activations=0.2)
QUICK = AdaQATSettings(lambda_weights=10.0, lambda_activations=10.0, granularity="network")


@pytest.fixture
def fit(fit, tiny_bert):
    """Explore and refine a tiny student."""

    def run(settings=SETTINGS, epochs=2, refine=finetune, student=None, explores=True, **changes):
        if student is None:
            student = quantize(tiny_bert(layers=1), QuantConfig("4-4-4", "adaqat"))
        stages = explore_then_refine(refine, epochs, settings.share)
        if explores:
            return fit(stages, student, adaqat=settings, **changes)
        return fit([replace(stage, explores=False) for stage in stages], student, **changes)

    return run


def evaluations(result):
    return [(entry["stage"], entry["step"]) for entry in result.history if "metrics" in entry]


def test_an_exploration_that_its_budget_ends_keeps_the_widths_of_that_moment(fit):
    student, result = fit(epochs=4)
    found = result.exploration
    assert found["ended"] == "budget" and found["steps"] == found["planned_steps"] == 24 == len(found["trace"])
    assert json.loads(json.dumps(found)) == found
    assert {name: tuple(pair) for name, pair in found["widths"].items()} == get_widths(student)
    assert len(set(get_widths(student).values())) > 1
    assert evaluations(result) == [(0, 12), (0, 24), (1, 36), (1, 48)]


def test_a_refinement_is_as_long_as_planned_however_early_all_widths_froze(fit):
    student, result = fit(QUICK, epochs=4)
    found = result.exploration
    assert found["ended"] == "frozen" and found["steps"] < found["planned_steps"] == 24
    assert set(get_widths(student).values()) == {(2, 2)} and found["mean_weights"] == 2
    stages = evaluations(result)
    assert stages == [(0, found["steps"]), (1, found["steps"] + 12), (1, found["steps"] + 24)]


def test_the_best_weights_are_of_the_refinement_whatever_the_exploration_scored(fit, monkeypatch):
    scores = iter([90.0, 95.0, 10.0, 20.0])
    monkeypatch.setattr(encoding, "compute_metrics", lambda *args: {"accuracy": next(scores), "f1": 0.0})
    student, result = fit(epochs=2)
    assert result.best["accuracy"] == 20.0
    assert {name: tuple(pair) for name, pair in result.exploration["widths"].items()} == get_widths(student)


def test_the_refinement_begins_with_the_last_weights_and_widths(fit, monkeypatch, tmp_path):
    began = []

    def spy(model, adaqat, **kwargs):
        began.append((adaqat is not None, get_widths(model), model.classifier.weight.clone()))
        return DistillationTrainer(model=model, adaqat=adaqat, **kwargs)

    monkeypatch.setattr(training, "DistillationTrainer", spy)
    _, result = fit(epochs=2)
    assert [explores for explores, _, _ in began] == [True, False]
    assert set(began[0][1].values()) == {(4, 4)}
    assert {name: tuple(pair) for name, pair in result.exploration["widths"].items()} == began[1][1]
    assert not torch.equal(began[0][2], began[1][2])
    assert not (tmp_path / "run" / "stage-0" / "best.safetensors").exists()


def test_the_weights_learn_as_they_would_without_an_exploration(fit):
    """Paired passes leave the random state alone: with widths that cannot move, training is the same to the bit."""
    pinned = replace(SETTINGS, least=4, most=4, eta=1e-9)

    explored, _ = fit(pinned, folder="explored", evaluations=1)
    plain, _ = fit(pinned, folder="plain", explores=False, evaluations=1)
    torch.testing.assert_close(explored.state_dict(), plain.state_dict(), rtol=0, atol=0)


def test_an_interrupted_exploration_ends_with_the_same_trace_and_weights(fit, interrupted):
    whole, expected = fit(epochs=4, folder="whole", evaluations=8)
    with interrupted(20):
        fit(epochs=4, folder="cut", evaluations=8)
    resumed, result = fit(epochs=4, folder="cut", evaluations=8)
    assert result.exploration == expected.exploration and len(result.exploration["trace"]) == 24
    assert get_widths(resumed) == get_widths(whole)
    torch.testing.assert_close(resumed.state_dict(), whole.state_dict(), rtol=0, atol=0)


def test_refinement_may_distil(fit, tiny_bert):
    student = use_score_attention(quantize(tiny_bert(layers=1), QuantConfig("4-4-4", "adaqat")))
    teacher = use_score_attention(tiny_bert(layers=2))
    _, result = fit(refine=one_stage, student=student, teacher=teacher)
    parts = [{name for name in e if name.startswith("loss_")} for e in result.history if "loss" in e]
    assert parts[0] == set() and parts[-1] == {"loss_hidden", "loss_attention", "loss_logits"}


def test_a_plan_that_cannot_explore_is_refused(tiny_bert, word_task, word_tokenizer, tmp_path):
    explore = Stage("explore", ("labels",), 1, explores=True)
    options = {"learning_rate": 1e-3, "batch_size": 8, "seed": 3}
    for stages, settings, message in (
        ([explore], SETTINGS, "another stage must come after it"),
        ([explore, explore, *finetune(1)], SETTINGS, "one may"),
        ([explore, *finetune(1)], None, "'explore' explores bit-widths: give TrainSettings adaqat=AdaQATSettings"),
        (finetune(1), SETTINGS, "adaqat is given and no stage explores"),
    ):
        with pytest.raises(ValueError, match=message):
            made = TrainSettings(**options, adaqat=settings)
            train(tiny_bert(), stages, word_task, word_tokenizer, tmp_path / "x", made)


@pytest.mark.parametrize(("settings", "ended"), [(SETTINGS, "budget"), (QUICK, "frozen")])
def test_an_exploration_cut_after_its_last_step_does_not_explore_on(fit, interrupted, settings, ended):
    _, expected = fit(settings, folder="whole")
    with interrupted():
        fit(settings, folder="cut")
    _, result = fit(settings, folder="cut")
    assert result.exploration == expected.exploration and result.exploration["ended"] == ended
    assert evaluations(result) == evaluations(expected)
