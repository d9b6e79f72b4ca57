import dataclasses

import pytest

from xtcq.adaqat import ACTIVATIONS, GRANULARITIES, WEIGHTS, AdaQATSettings, begin, needed_steps
from xtcq.quantization import QuantConfig, QuantLinear, get_widths, quantize
from xtcq.study import load_profile, regime

MINI, PAPER, DEMO, SKETCH = map(load_profile, ("mini", "paper", "demo", "sketch"))
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
    found = regime.planted([PRESETS[name]]).iloc[0]
    assert found.tolist() == [2.0, 3.0, 4.0, 2.0, 3.0, 4.0, True]


@pytest.mark.parametrize("rise", [0.2, 0.5, 3.0])
def test_matrices_of_bert_base_that_need_2_3_and_4_bits_are_told_apart(rise):
    experiment = PAPER.learned("rte")
    steps = regime.exploration_steps(experiment)
    search = begin(experiment.adaqat, *regime.student_layers(experiment), steps)
    needs = {(role, i): 2 + (i + shift) % 3 for shift, role in enumerate((WEIGHTS, ACTIVATIONS)) for i in range(73)}
    regime.explore(search, needs, steps, rise)
    assert search.finished and {one: search[one].bits for one in needs} == needs


def test_a_search_that_is_too_short_does_not_find_it_and_says_so():
    experiment = MINI.learned("mrpc", granularity="layer", short=True)
    regime.check(experiment)
    found = regime.planted([experiment]).iloc[0]
    assert not found["in regime", ""]
    assert found[WEIGHTS, "needs 2"] > 2 and found[ACTIVATIONS, "needs 2"] == 4.0


@pytest.mark.parametrize("profile", [MINI, DEMO, SKETCH, PAPER], ids=lambda profile: profile.name)
def test_the_layers_of_a_student_are_known_without_it(profile):
    for task in (profile.width_tasks[0], profile.question_tasks[0]):
        start, sizes = regime.student_layers(profile.learned(task))
        depth = 12 if profile is PAPER else 6
        assert len(start) == 6 * depth + (task == profile.width_tasks[0]) and set(start.values()) == {(4, 4)}
        width = 768 if profile is PAPER else 384
        assert sum(sizes.values()) == (12 * depth + len(start) - 6 * depth) * width**2


def test_the_layers_are_those_of_the_model(tiny_bert):
    model = quantize(tiny_bert(layers=6), QuantConfig("4-4-4", "adaqat"))
    start, sizes = regime.student_layers(MINI.learned("mrpc"))
    layers = {name: m for name, m in model.named_modules() if isinstance(m, QuantLinear)}
    assert list(layers) == list(start) and len(get_widths(model)) == len(start)
    smallest = layers["bert.pooler.dense"].weight.numel()
    assert {name: m.weight.numel() / smallest for name, m in layers.items()} == {
        name: size / 384**2 for name, size in sizes.items()
    }
    small = MINI.small("mrpc", 3, "4-4-4", recipe="adaqat", adaqat=AdaQATSettings())
    assert len(regime.student_layers(small)[0]) == 19


def test_the_budget_decides_which_layers_share_widths():
    assert [MINI.learned("mrpc", budget=b).adaqat.granularity for b in ("short", "longer", "long", "widths")] == [
        *("network",) * 3, "kind",
    ]  # fmt: skip
    assert MINI.learned("mrpc", budget="widths", granularity="network").adaqat.granularity == "network"
    assert {SKETCH.learned("mrpc").adaqat.granularity, PAPER.learned("mrpc").adaqat.granularity} == {"layer"}
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
    with pytest.raises(ValueError, match="146 widths .* need 36573 exploration steps, and 6846 are planned"):
        regime.check(PAPER.learned("cola", budget="A"))
    with pytest.raises(ValueError, match="oscillations is 1, and AdaQAT-BERT freezes"):
        regime.check(SKETCH.learned("mrpc"))
    regime.check(MINI.student("mrpc"))
    regime.check(DEMO.learned("demo-pairs"))


def test_what_the_steps_can_resolve():
    grid = [MINI.learned("mrpc"), MINI.learned("sst2"), SKETCH.learned("mrpc"), MINI.student("mrpc")]
    frame = regime.resolution([*grid, MINI.learned("mrpc", budget="widths")])
    assert frame.index.tolist() == [(1000, "network"), (173, "layer"), (3600, "kind")]
    assert frame["needs"].tolist() == [387, 18537, 3507] and frame["finest"].tolist() == ["network", "none", "kind"]
    assert frame["widths"].tolist() == [2, 74, 14]
    assert frame["updates a width"].tolist() == [1000, pytest.approx(173 / 74), pytest.approx(3600 / 14)]


def test_a_grid_without_a_search_has_nothing_to_resolve():
    for grid in ([], [MINI.student("mrpc")]):
        assert regime.resolution(grid).empty and regime.planted(grid).empty


@pytest.mark.parametrize("granularity", GRANULARITIES)
def test_needed_steps_are_those_of_the_search(granularity):
    experiment = MINI.learned("mrpc", granularity=granularity)
    start, sizes = regime.student_layers(experiment)
    needed = needed_steps(AdaQATSettings(granularity=granularity), start, sizes)
    assert regime.needed_steps(experiment) == regime.needed_steps(MINI.learned("mrpc"), granularity) == needed
    low = dataclasses.replace(experiment, adaqat=dataclasses.replace(experiment.adaqat, oscillations=1))
    assert regime.needed_steps(low) == needed  # with the threshold of the paper
