import dataclasses

import pytest

from xtcq.adaqat import ACTIVATIONS, WEIGHTS, Width, WidthSearch
from xtcq.study import load_profile, regime

MINI, PAPER, DEMO = map(load_profile, ("mini", "paper", "demo"))


def test_the_budget_decides_which_layers_share_widths():
    assert [MINI.learned("mrpc", budget=b).adaqat.granularity for b in ("short", "longer", "long", "widths")] == [
        *("network",) * 3, "kind",
    ]  # fmt: skip
    assert MINI.learned("mrpc", budget="widths", granularity="network").adaqat.granularity == "network"
    assert PAPER.learned("mrpc").adaqat.granularity == "layer"
    assert MINI.learned("mrpc", epochs=0.5).adaqat.granularity == "network"  # and refused when it is run


def test_presets_have_the_papers_threshold_or_are_marked():
    for profile in (MINI, PAPER, DEMO):
        settings = profile.learned(profile.width_tasks[0]).adaqat
        assert settings.oscillations == 10 and settings.eta is None and settings.short == (profile is DEMO)


def test_a_search_without_the_steps_is_refused_before_anything_is_trained():
    with pytest.raises(
        ValueError, match=r"74 widths .* need 18537 exploration steps, and 1000 are planned: choose .*387"
    ):
        regime.check(MINI.learned("mrpc", granularity="layer"))
    with pytest.raises(ValueError, match="146 widths .* need 36573 exploration steps, and 10269 are planned"):
        regime.check(PAPER.learned("cola", budget="A"))
    with pytest.raises(ValueError, match="oscillations is 1, and AdaQAT-BERT freezes"):
        regime.check(MINI.learned("mrpc", oscillations=1))
    regime.check(MINI.student("mrpc"))
    regime.check(DEMO.learned("demo-pairs"))


def learned(granularity="layer", profile=PAPER, **settings):
    """MRPC's widths at a granularity: 146 of BERT-base in the profile of the paper, 74 of MiniLM in the others."""
    experiment = profile.learned("mrpc", granularity=granularity)
    return dataclasses.replace(experiment, adaqat=dataclasses.replace(experiment.adaqat, **settings))


def exploring(monkeypatch, steps):
    monkeypatch.setattr(regime, "exploration_steps", lambda experiment: steps)


@pytest.mark.parametrize(
    ("granularity", "needed"), [("layer", 36573), ("kind", 3507), ("block", 6513), ("network", 387)]
)
def test_the_steps_that_are_needed_are_enough_and_one_less_is_refused(monkeypatch, granularity, needed):
    experiment = learned(granularity)
    assert regime.needed_steps(experiment) == regime.needed_steps(learned(), granularity=granularity) == needed
    exploring(monkeypatch, needed)
    regime.check(experiment)
    settings = regime.search_settings(experiment)
    assert settings.eta == pytest.approx(1, abs=1e-3) and settings.reach == settings.eta / 2
    exploring(monkeypatch, needed - 1)
    with pytest.raises(ValueError, match=f"need {needed} exploration steps, and {needed - 1} are planned"):
        regime.check(experiment)
    regime.check(learned(granularity, short=True))


def test_the_remedy_names_what_fits(monkeypatch):
    exploring(monkeypatch, 6000)
    remedy = r"choose granularity 'kind' \(needs 3507\), 'network' \(needs 387\), or explore at least 36573"
    with pytest.raises(ValueError, match=remedy):
        regime.check(learned())
    exploring(monkeypatch, 386)
    with pytest.raises(
        ValueError, match="386 are planned: explore at least 387 steps; short=True explores all the same"
    ):
        regime.check(learned("network"))


def test_a_slower_rate_needs_more_and_held_ends_less():
    assert regime.needed_steps(learned("network", eta=0.1)) == 1287
    assert regime.needed_steps(learned(ends=True)) == 36573 - 2 * 114 - 387 + 1 - 24


@pytest.mark.parametrize("steps", [387, 400, 700, 1286, 1287, 10**6])
def test_the_rate_is_the_smallest_that_suffices(monkeypatch, steps):
    exploring(monkeypatch, steps)
    eta = regime.search_settings(learned("network")).eta
    assert 0.1 <= eta <= 1 and regime.needed_steps(learned("network", eta=eta)) <= steps
    assert eta == 0.1 or regime.needed_steps(learned("network", eta=eta * 0.98)) > steps


def test_too_few_steps_have_the_greatest_rate_and_a_given_rate_stays(monkeypatch):
    for steps in (1, 286, 300):
        exploring(monkeypatch, steps)
        assert regime.search_settings(learned("network")).eta == 1.0
        assert regime.search_settings(learned("network", eta=0.3)).eta == 0.3


def widths(layers, start=4, eta=1.0, weights=0.02, activations=0.01, **options):
    sides = {role: [Width(float(start)) for _ in range(layers)] for role in (WEIGHTS, ACTIVATIONS)}
    penalties = {WEIGHTS: weights, ACTIVATIONS: activations}
    return WidthSearch(**sides, **{"sizes": [10] * layers} | options, penalties=penalties, eta=eta, reach=eta / 2)


def test_the_length_of_one_pair_by_hand():
    # Activations: 2 bits at 0.01 * 2 a step, and 11 times one step up and 0.5 / 0.02 = 25 down; weights need half.
    assert regime.search_length(widths(1, together=True)) == (pytest.approx(2 / 0.02), 1 + 11 * (1 + 25))


def test_the_length_of_widths_in_turns_by_hand():
    # Weights fall while the activations have 4 bits, activations in the worst case while all weights have 2.
    found = widths(7)
    weights, activations = 2 / 0.08 + 1 + 11 * (1 + 7), 2 / 0.02 + 1 + 11 * (1 + 25)
    assert sum(regime.search_length(found)) == pytest.approx(7 * (weights + activations))
    found.weights[0].frozen = True
    assert sum(regime.search_length(found)) == pytest.approx(7 * (weights + activations) - weights)


def test_a_width_is_given_twenty_updates_whatever_freezes_it():
    assert regime.search_length(widths(1, 2, weights=10.0, activations=10.0, oscillations=1)) == (0.0, 2 * 21)


@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize("pressure", ["mean", "bitops"])
def test_without_resistance_the_length_is_more_than_enough(together, pressure):
    sizes = [100] if together else [100, 50, 200, 10]
    found = widths(len(sizes), sizes=sizes, pressure=pressure, together=together)
    needed = sum(regime.search_length(found))
    while not found.finished:
        free = found.candidates()
        found.update(dict.fromkeys(free if together else free[:1], 0.0))
    assert needed / 4 < found.step < needed


def report(updates, frozen, planned=3507, eta=1.0):
    sides = (WEIGHTS, ACTIVATIONS)
    return {
        "eta": eta, "planned_steps": planned,
        "updates": {side: [updates] * 7 for side in sides}, "frozen": {side: [frozen] * 7 for side in sides},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("fields", "lacked"),
    [
        ({"updates": 20, "frozen": False}, []),
        ({"updates": 19, "frozen": False}, ["14 widths were updated less than 20 times"]),
        (
            {"updates": 20, "frozen": False, "planned": 280},
            ["14 widths were not frozen, and 3507 steps are needed where 280 were planned"],
        ),
        ({"updates": 1, "frozen": True, "planned": 9}, []),
    ],
)
def test_a_search_is_the_papers_if_all_froze_or_had_time_and_twenty_updates(fields, lacked):
    found = regime.judged(learned("kind"), report(**fields))
    assert (found["departures"], found["in_regime"], found["needed_steps"]) == (lacked, not lacked, 3507)


def test_a_low_threshold_is_not_the_papers():
    found = regime.judged(learned("kind", oscillations=3), report(updates=20, frozen=True))
    assert found["departures"] == ["widths froze after more than 3 oscillations, in the paper after 10"]
    one = report(updates=20, frozen=False)
    one["updates"][WEIGHTS][0] = 19
    assert regime.judged(learned("kind"), one)["departures"] == ["1 width was updated less than 20 times"]


def test_an_experiment_that_learns_no_widths_has_no_search():
    with pytest.raises(ValueError, match="learns no bit-widths: give an experiment with adaqat="):
        regime.search_settings(MINI.student("mrpc"))
