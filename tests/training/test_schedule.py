import pytest

from xtcq.distillation import Stage, one_stage, three_stage, two_stage
from xtcq.training.schedule import evaluation_steps, stage_steps


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
    ("total", "evaluations", "steps"),
    [(12, 4, [3, 6, 9, 12]), (10, 3, [3, 7, 10]), (2, 5, [1, 2]), (1000, 1, [1000])],
)
def test_evaluations_are_even_and_end_the_plan(total, evaluations, steps):
    assert evaluation_steps(total, evaluations) == steps
