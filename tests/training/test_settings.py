import pytest

from xtcq.distillation import Stage, explore_then_refine, finetune, one_stage, three_stage, two_stage
from xtcq.training.settings import TrainSettings, evaluation_steps, stage_steps, training_arguments


@pytest.mark.parametrize("plan", [one_stage, two_stage, three_stage])
@pytest.mark.parametrize(("epochs", "epoch_steps"), [(8.695, 115), (0.475, 2105), (1.0, 100), (3.0, 7)])
def test_stages_share_the_steps_of_the_plan(plan, epochs, epoch_steps):
    lengths = stage_steps(plan(epochs), epoch_steps)
    assert sum(lengths) == round(epochs * epoch_steps) and max(lengths) - min(lengths) <= 1


def test_stages_of_unequal_length():
    stages = [Stage("a", ("labels",), 0.6), Stage("b", ("labels",), 0.4)]
    assert stage_steps(stages, 25) == [15, 10]


def test_a_plan_that_is_too_short():
    with pytest.raises(ValueError, match=r"0.2 passes of 10 steps give the 3 stages \[1, 0, 1\] steps"):
        stage_steps(three_stage(0.2), 10)


@pytest.mark.parametrize(
    ("total", "evaluations", "steps"), [(12, 4, [3, 6, 9, 12]), (10, 3, [3, 7, 10]), (2, 5, [1, 2]), (1000, 1, [1000])]
)
def test_evaluations_are_even_and_end_the_plan(total, evaluations, steps):
    assert evaluation_steps(total, evaluations) == steps


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"learning_rate": 0}, "learning_rate is 0, expected a positive number"),
        ({"learning_rate": "2e-4"}, "learning_rate is '2e-4', expected a positive number"),
        ({"batch_size": 2.5}, "batch_size is 2.5, expected an integer of at least 1"),
        ({"seed": -1}, "seed is -1"),
        ({"evaluations": 0}, "evaluations is 0"),
        ({"epoch_steps": 0}, "epoch_steps is 0"),
        ({"compute": "fp16"}, "compute is 'fp16', expected one of 'fp32', 'tf32', 'bf16'"),
    ],
)
def test_settings_that_cannot_be_trained_with(fields, message):
    with pytest.raises(ValueError, match=message):
        TrainSettings(**{"learning_rate": 1e-4, "batch_size": 8, "seed": 0} | fields)


def test_of_several_cards_one_is_used(tmp_path, monkeypatch):
    """A notebook that sees two cards trains what a machine with one does."""
    settings = TrainSettings(learning_rate=1e-3, batch_size=8, seed=3)
    arguments = training_arguments(finetune(1)[0], settings, 10, tmp_path, 1, 0)
    monkeypatch.setattr(arguments, "_n_gpu", 2)
    assert (arguments.n_gpu, arguments.train_batch_size) == (1, 8)


def test_a_stage_is_trained_by_xtcs_settings(tmp_path):
    settings = TrainSettings(learning_rate=1e-3, batch_size=8, seed=3, compute="bf16")
    (first, _), explore = two_stage(2), explore_then_refine(finetune, 2)[0]
    made = training_arguments(first, settings, 100, tmp_path, 2, 1)
    assert (made.weight_decay, made.adam_epsilon, made.max_grad_norm, made.get_warmup_steps(100)) == (0.01, 1e-6, 1, 10)
    assert (made.learning_rate, made.lr_scheduler_type, made.max_steps, made.seed) == (2.5e-3, "linear", 100, 4)
    assert (made.per_device_train_batch_size, made.gradient_accumulation_steps, made.logging_steps) == (4, 2, 2)
    assert made.bf16 and not training_arguments(explore, settings, 100, tmp_path, 1, 0).bf16
