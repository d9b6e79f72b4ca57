import pytest
from xtcq_book import search_tables

from xtcq.adaqat import ACTIVATIONS, WEIGHTS
from xtcq.study import load_profile, regime

MINI, PAPER = map(load_profile, ("mini", "paper"))
PRESETS = {
    "mini": MINI.learned("mrpc"),
    "mini, two widths": MINI.learned("sst2", budget="short", granularity="network"),
    "mini, half the pressure": MINI.learned("rte", 0.5),
    "mini, twice the pressure": MINI.learned("rte", 2.0),
    "mini, questions": MINI.learned("squad-articles"),
    "mini, by kind": MINI.learned("mrpc", budget=MINI.width_long_budget),
    "mini, by block": MINI.learned("mrpc", budget=MINI.width_long_budget, granularity="block"),
    "mini, by kind, the code's order": MINI.learned("sst2", budget=MINI.width_long_budget, order="published"),
    "paper, two widths": PAPER.learned("mnli", granularity="network"),
}


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_finds_a_planted_need_of_2_3_and_4_bits(name):
    regime.check(PRESETS[name])
    found = search_tables.planted([PRESETS[name]]).iloc[0]
    assert found.tolist() == [2.0, 3.0, 4.0, 2.0, 3.0, 4.0, "yes"]


@pytest.mark.parametrize("rise", [0.2, 0.5, 3.0])
def test_matrices_of_bert_base_that_need_2_3_and_4_bits_are_told_apart(rise):
    experiment = PAPER.learned("rte")
    steps = regime.exploration_steps(experiment)
    search = regime.start_widths(experiment, regime.search_settings(experiment))
    needs = {(role, i): 2 + (i + shift) % 3 for shift, role in enumerate((WEIGHTS, ACTIVATIONS)) for i in range(73)}
    search_tables.explore(search, needs, steps, rise)
    assert search.finished and {one: search[one].bits for one in needs} == needs


def test_a_search_that_is_too_short_does_not_find_it_and_says_so():
    experiment = MINI.learned("mrpc", granularity="layer", short=True)
    regime.check(experiment)
    found = search_tables.planted([experiment]).iloc[0]
    assert found["in regime", ""] == "no"
    assert found[WEIGHTS, "needs 2"] > 2 and found[ACTIVATIONS, "needs 2"] == 4.0


def test_what_the_steps_can_resolve():
    short = MINI.learned("mrpc", budget="quarter", granularity="layer")
    grid = [MINI.learned("mrpc"), MINI.learned("sst2"), short, MINI.student("mrpc")]
    frame = search_tables.resolution([*grid, MINI.learned("mrpc", budget="widths")])
    assert frame.index.tolist() == [(1000, "network"), (125, "layer"), (3600, "kind")]
    assert frame["needs"].tolist() == [387, 18537, 3507] and frame["finest"].tolist() == ["network", "none", "kind"]
    assert frame["widths"].tolist() == [2, 74, 14]
    assert frame["updates a width"].tolist() == [1000, pytest.approx(125 / 74), pytest.approx(3600 / 14)]


def test_a_grid_without_a_search_has_nothing_to_resolve():
    for grid in ([], [MINI.student("mrpc")]):
        assert search_tables.resolution(grid).empty and search_tables.planted(grid).empty
