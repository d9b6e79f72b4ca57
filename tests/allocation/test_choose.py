import pytest
import torch

from xtcq.allocation import Allocation, SearchSpace, cheapest, choose_widths, random, sensitivities


@pytest.fixture
def data(padded_batch):
    return [{**padded_batch, "labels": torch.tensor([0, 1, 1])}] * 2


def test_random_looks_at_no_model(student):
    space = SearchSpace.of(student)
    widths, report = choose_widths(Allocation(method="random", budget=12, seed=4), space, None, [])
    assert widths == random(space, 12, 4)
    assert (report["passes"], report["steps"]) == (0, 0)
    assert report["mean_weights"] == sum(w for w, _ in widths.values()) / 13


@pytest.mark.parametrize(("metric", "passes"), [("fisher", 4), ("hessian", 10)])
def test_a_sensitivity_is_solved_for_the_budget(student, tiny_bert, data, metric, passes):
    space, model = SearchSpace.of(student), tiny_bert()
    own = {"probes": 3} if metric == "hessian" else {}
    settings = Allocation(method="sensitivity", budget=12, metric=metric, **own)
    widths, report = choose_widths(settings, space, model, data)
    costs = sensitivities(tiny_bert(), data, space, metric, 3)
    assert widths == cheapest(costs, space, 12)
    assert report["passes"] == passes and report["seconds"] > 0
    assert 11 < space.average(widths) <= 12


def test_what_explores_cannot_choose(student):
    with pytest.raises(ValueError, match="method 'fracbits' learns widths in training"):
        choose_widths(Allocation(method="fracbits", budget=12), SearchSpace.of(student), None, [])
