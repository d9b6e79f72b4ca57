import itertools
import math
from functools import partial

import numpy as np
import pytest
from scipy.stats import t as student_t
from xtcq_book.claims.interval import chosen, coverage, deviation, estimate


def test_by_hand():
    found = estimate({"a": [1.0, 3.0], "b": [2.0, 2.0, 5.0]})
    # Means 2 and 3; squared standard errors 2 / 2 and 3 / 3, each over four in the mean of two tasks.
    assert found.effect == pytest.approx(2.5)
    freedom = 0.5**2 / (0.25**2 / 2 + 0.25**2 / 3) - 1
    half = student_t.ppf(0.975, min(freedom, 3)) * math.sqrt(0.5)
    assert found.seeds == (pytest.approx(2.5 - half), pytest.approx(2.5 + half))
    assert (found.both, found.agree, found.tasks) == (None, 2, 2)


def test_tasks_weigh_the_same_whatever_their_seeds():
    assert estimate({"a": [0.0] * 9, "b": [1.0] * 3}).effect == pytest.approx(0.5)


def test_examples_widen_the_interval_and_do_not_move_the_effect():
    effects = {"a": [1.0, 1.2, 1.1], "b": [0.9, 1.0, 1.4]}
    without, narrow, wide = (estimate(effects, part and dict.fromkeys(effects, part)) for part in (None, 1e-9, 4.0))
    assert narrow.both == pytest.approx(without.seeds, abs=1e-3)
    # Two tasks with a variance of 4 each: sqrt(8) / 2 points, which is nearly all of it, with many degrees of freedom.
    assert wide.both[1] - wide.effect == pytest.approx(1.96 * math.sqrt(2), rel=0.02)
    assert wide.seeds == without.seeds and wide.effect == without.effect


def test_signs_are_counted():
    found = estimate({"a": [4.0, 5.0], "b": [-1.0, 0.5], "c": [1.0, 1.0]})
    assert (found.agree, found.tasks) == (2, 3)


def test_one_seed_has_no_interval_and_equal_seeds_one_of_no_width():
    assert estimate({"a": [1.0], "b": [2.0, 3.0]}).seeds is None
    assert estimate({"a": [1.0, 1.0], "b": [2.0, 2.0]}).seeds == (1.5, 1.5)


def test_a_deviation_by_hand():
    # Four degrees of freedom: 4 * 2.5 / 11.143 and / 0.4844 (table of chi-squared, 97.5 and 2.5 %).
    found, (low, high) = deviation([2.0, 3.0], [2, 2])
    assert found == pytest.approx(math.sqrt(2.5))
    assert (low, high) == (
        pytest.approx(math.sqrt(10 / 11.143), abs=1e-3),
        pytest.approx(math.sqrt(10 / 0.4844), abs=1e-2),
    )


SCALES = {
    "equal": np.ones,
    "one to ten": lambda tasks: np.geomspace(1, 10, tasks),
}
NOISE = {
    "normal": np.random.Generator.standard_normal,
    "heavy tails": lambda rng, shape: rng.standard_t(3, shape),  # Student's t with three degrees of freedom
}


@pytest.mark.parametrize(("noise", "scales"), list(itertools.product(NOISE, SCALES)))
def test_the_interval_holds_the_true_effect_in_95_of_100_studies(noise, scales):
    for tasks, seeds in itertools.product((3, 5, 8), (3, 5)):
        assert 93 <= coverage(NOISE[noise], SCALES[scales](tasks), seeds) <= 97, (tasks, seeds)
    # Two seeds decide nothing in the ledger; their interval is drawn, and need not be as good.
    assert all(92 <= coverage(NOISE[noise], SCALES[scales](tasks), 2) <= 98 for tasks in (3, 8))


def test_one_task_with_nearly_all_of_the_noise_is_the_hardest_case():
    for tasks, seeds in itertools.product((3, 8), (3, 5)):
        assert 91 <= coverage(NOISE["normal"], [1.0] * (tasks - 1) + [10.0], seeds) <= 96, (tasks, seeds)


def test_the_simulation_has_the_interval_of_the_estimate():
    # Two equal and opposite values a task: an interval that holds zero whatever its width; shifted far, it never does.
    assert coverage(lambda rng, shape: np.tile([-1.0, 1.0], (*shape[:2], 1)), [1.0, 2.0], 2, runs=10) == 100
    assert coverage(lambda rng, shape: np.tile([9.0, 9.1], (*shape[:2], 1)), [1.0, 2.0], 2, runs=10) == 0
    one = estimate({"a": [0.9, 1.4, 0.8], "b": [1.3, 0.2, 0.7]})
    held = coverage(lambda rng, shape: np.array([[[0.9, 1.4, 0.8], [1.3, 0.2, 0.7]]]), [1.0, 1.0], 3, runs=1)
    assert held == (100 if one.seeds[0] <= 0 else 0)


def test_what_a_seed_gains_by_choosing_a_rate():
    drawn = chosen(np.random.default_rng(0), (200_000, 3))
    # The highest of three normal values lies 3 / (2 sqrt(pi)) above their mean; over three seeds a third of that.
    assert drawn.mean() == pytest.approx(0.5 / math.sqrt(math.pi), abs=0.01)
    assert drawn.mean(0)[1:] == pytest.approx([0, 0], abs=0.01)
    # The more tasks, the narrower the interval, and the bias stays. One rate chooses nothing.
    three, five, eight = (coverage(chosen, np.ones(tasks), 3) for tasks in (3, 5, 8))
    assert 95 > three > 93 > five > 90 > eight > 86
    assert coverage(partial(chosen, rates=1), np.ones(8), 3) == pytest.approx(95, abs=1)
