from itertools import product

import pytest

from xtcq.study import Experiment
from xtcq.study.value import by_value

TEACHER = Experiment(task="sst2", epochs=1, learning_rate=1e-4)
RATES = [1e-5, 1e-4, 2e-4, 5e-4, 1e-3]


def student(rate, seed=42, stages="one-stage", precision="2-2-8"):
    return Experiment(
        task="sst2", epochs=1, learning_rate=rate, seed=seed, stages=stages, precision=precision, teacher=TEACHER
    )


GRID = [student(rate, seed) for rate, seed in product(RATES, (42, 1, 2))]


def order(scores, grids=(GRID,)):
    """Learning rates and seeds of the experiments that are not scored, in order."""
    found = by_value(grids, lambda e: scores.get((e.learning_rate, e.seed)))
    return [(e.learning_rate, e.seed) for e in found if (e.learning_rate, e.seed) not in scores]


def test_every_run_comes_once():
    found = by_value([GRID, GRID[:4]], lambda e: None)
    assert sorted(map(str, found)) == sorted(map(str, GRID))


def test_the_middle_of_a_sweep_comes_first():
    assert order({})[:3] == [(1e-4, 42), (2e-4, 42), (5e-4, 42)]


def test_seeds_follow_at_the_best_rate_then_beside_it():
    done = {(1e-4, 42): 80.0, (2e-4, 42): 90.0, (5e-4, 42): 85.0}
    assert order(done)[:6] == [(2e-4, 1), (2e-4, 2), (1e-4, 1), (1e-4, 2), (5e-4, 1), (5e-4, 2)]
    assert set(order(done)[6:]) == {(r, s) for r, s in product((1e-5, 1e-3), (42, 1, 2))}


@pytest.mark.parametrize(("scores", "further"), [((90.0, 85.0, 80.0), 1e-5), ((80.0, 85.0, 90.0), 1e-3)])
def test_a_sweep_goes_on_while_its_best_is_at_the_edge(scores, further):
    done = {(rate, 42): score for rate, score in zip(RATES[1:4], scores, strict=True)}
    assert order(done)[0] == (further, 42)
    edge = RATES[1] if further == 1e-5 else RATES[3]
    assert order(done | {(further, 42): 70.0})[:2] == [(edge, 1), (edge, 2)]
    assert order(done | {(further, 42): 99.0})[:2] == [(further, 1), (further, 2)]  # at the end of the grid


def test_a_grid_is_decided_before_the_next_one_begins_and_polished_after_all():
    other = [student(rate, seed, "two-stage") for rate, seed in product(RATES[1:4], (42, 1))]
    scores = {e: 90.0 if e.learning_rate == 2e-4 else 80.0 for e in GRID if e.seed == 42}
    found = [e for e in by_value([GRID, other], scores.get) if e not in scores]
    places = [(e.stages, e.learning_rate, e.seed) for e in found]
    assert places[:2] == [("one-stage", 2e-4, 1), ("one-stage", 2e-4, 2)]
    assert {place[0] for place in places[2:5]} == {"two-stage"}
    assert places[5][0] == "one-stage"
