import pytest

from xtcq.adaqat import ACTIVATIONS, WEIGHTS, AdaQATSettings, begin, departures, needed_steps, partition
from xtcq.quantization import LAYER_LINEARS

NAMES = [f"bert.encoder.layer.{i}.{name}" for i in range(12) for name in LAYER_LINEARS] + ["bert.pooler.dense"]
START, SIZES = dict.fromkeys(NAMES, (4, 4)), dict.fromkeys(NAMES, 10)
NEEDS = {"layer": 36573, "kind": 3507, "block": 6513, "network": 387}


def shared(group):
    """What the names of a group have in common, the number of the layer and the matrix."""
    split = [name.removeprefix("bert.encoder.layer.").split(".", 1) for name in group]
    return tuple(parts[0] if len(set(parts)) == 1 else None for parts in zip(*split, strict=True))


@pytest.mark.parametrize(("granularity", "count", "largest"), [("layer", 73, 1), ("kind", 7, 12), ("block", 13, 6)])
def test_groups_cover_every_layer_once_and_the_pooler_is_alone(granularity, count, largest):
    groups = [[NAMES[layer] for layer in group] for group in partition(NAMES, granularity)]
    assert len(groups) == count and sorted(sum(groups, [])) == sorted(NAMES)
    assert groups[-1] == ["bert.pooler.dense"]
    assert {len(group) for group in groups[:-1]} == {largest}
    for group in groups[:-1]:
        block, kind = shared(group)
        assert (block is None, kind is None) == (granularity == "kind", granularity == "block")


def test_the_network_is_one_group():
    assert partition(NAMES, "network") == [list(range(73))]


@pytest.mark.parametrize("granularity", NEEDS)
def test_the_steps_that_are_needed_are_enough_and_one_less_is_refused(granularity):
    settings = AdaQATSettings(granularity=granularity)
    needed = needed_steps(settings, START, SIZES)
    assert needed == NEEDS[granularity]
    search = begin(settings, START, SIZES, needed)
    assert search.eta == pytest.approx(1, abs=1e-3) and search.together == (granularity == "network")
    assert sum(search.sizes) == 730
    with pytest.raises(ValueError, match=f"need {needed} exploration steps, and {needed - 1} are planned"):
        begin(settings, START, SIZES, needed - 1)


def test_the_remedy_names_what_fits_and_nothing_where_layers_start_differently():
    with pytest.raises(
        ValueError, match=r"choose granularity 'kind' \(needs 3507\), 'network' \(needs 387\), or explore"
    ):
        begin(AdaQATSettings(), START, SIZES, 6000)
    with pytest.raises(ValueError, match="and 6000 are planned: explore at least"):
        begin(AdaQATSettings(), START | {NAMES[3]: (5, 4)}, SIZES, 6000)


def test_a_slower_rate_needs_more_and_held_ends_less():
    assert needed_steps(AdaQATSettings(granularity="network", eta=0.1), START, SIZES) == 1287
    assert needed_steps(AdaQATSettings(ends=True), START, SIZES) == 36573 - 2 * 114 - 387 + 1 - 24


def test_held_layers_are_frozen_at_eight_bits_only_where_they_are_alone():
    alone = begin(AdaQATSettings(ends=True, short=True), START, SIZES, 10)
    assert [(width.bits, width.frozen) for width in (alone.weights[0], alone.weights[-1])] == [(8, True)] * 2
    assert (alone.activations[0].frozen, alone.activations[-1].frozen) == (True, False)
    assert not any(width.frozen for width in (*alone.weights[1:-1], *alone.activations[1:]))
    among = begin(AdaQATSettings(ends=True, short=True, granularity="kind"), START, SIZES, 10)
    assert [width.frozen for width in among.weights] == [False] * 6 + [True]
    assert not any(width.frozen for width in among.activations)


def test_layers_of_a_group_start_alike():
    with pytest.raises(ValueError, match="activations of 4 and 6 bits, and granularity 'block' has one width for them"):
        begin(AdaQATSettings(granularity="block"), START | {NAMES[7]: (4, 6)}, SIZES, 10**5)


def test_a_search_that_was_long_enough_is_in_the_regime_with_twenty_updates_for_every_width():
    search = begin(AdaQATSettings(granularity="kind", short=True), START, SIZES, 3507)
    for step in range(280):
        search.update({(WEIGHTS if step < 140 else ACTIVATIONS, step % 7): -0.02 * 4})
        assert bool(departures(search, 3507, 3507)) == (step < 279)
    assert departures(search, 280, 3507) == [
        "14 widths were not frozen, and 3507 steps are needed where 280 were planned"
    ]
    search.trace.pop()
    assert departures(search, 3507, 3507) == ["1 width was updated less than 20 times"]


def test_frozen_widths_are_in_the_regime_whatever_the_length_and_a_low_threshold_is_not():
    search = begin(AdaQATSettings(granularity="network", short=True, oscillations=3), START, SIZES, 9)
    for width in (*search.weights, *search.activations):
        width.frozen = True
    assert departures(search, 9, 387) == ["widths froze after more than 3 oscillations, in the paper after 10"]
    search.oscillations = 10
    assert departures(search, 9, 387) == []
