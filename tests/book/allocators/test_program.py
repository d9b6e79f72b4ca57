from itertools import product

import numpy as np
import pytest
from xtcq_book.allocators.program import cheapest
from xtcq_book.allocators.space import LEAST, MOST, PAIRS, SearchSpace


def some_costs(space, seed, scale=1.0):
    rng = np.random.default_rng(seed)
    widths = range(LEAST, MOST + 1)

    def falling():
        return dict(zip(widths, scale * np.sort(rng.lognormal(0, 3, len(widths)))[::-1], strict=True))

    return {name: (falling(), falling()) for name in space.sizes}


def total(costs, widths):
    return sum(costs[name][0][w] + costs[name][1][a] for name, (w, a) in widths.items())


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("scale", [1.0, 1e-9, 1e9])
def test_the_program_is_as_good_as_trying_everything(seed, scale):
    space = SearchSpace({"a": 64, "b": 37})
    costs, budget = some_costs(space, seed, scale), 5 + seed
    choices = [dict(zip(space.sizes, pairs, strict=True)) for pairs in product(PAIRS, repeat=2)]
    best = min(total(costs, widths) for widths in choices if space.average(widths) <= budget)
    found = cheapest(costs, space, budget)
    assert space.average(found) <= budget
    assert total(costs, found) == pytest.approx(best, rel=1e-9)


def test_a_budget_met_exactly_is_within():
    space = SearchSpace({f"layer.{i}": 49 for i in range(7)})
    flat = {name: ({b: 1 / b for b in range(2, 9)},) * 2 for name in space.sizes}
    assert set(cheapest(flat, space, 16).values()) == {(4, 4)}
    assert set(cheapest(flat, space, 4).values()) == {(2, 2)}
    assert set(cheapest(flat, space, 99).values()) == {(8, 8)}


def test_bert_base_is_solved():
    sizes = {}
    for layer in range(12):
        sizes |= {f"{layer}.{i}": 768 * 768 for i in range(4)} | {f"{layer}.{i}": 4 * 768 * 768 for i in (4, 5)}
    space = SearchSpace({**sizes, "pooler": 768 * 768})
    widths = cheapest(some_costs(space, 0), space, 12)
    assert 11.9 < space.average(widths) <= 12


def test_costs_all_alike_still_meet_the_budget():
    space = SearchSpace({"a": 3, "b": 5})
    costs = {name: (dict.fromkeys(range(2, 9), 0.0),) * 2 for name in "ab"}
    assert space.average(cheapest(costs, space, 12)) <= 12
