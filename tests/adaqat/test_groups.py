import pytest

from xtcq.adaqat import AdaQATSettings, begin, partition
from xtcq.quantization import LAYER_LINEARS

NAMES = [f"bert.encoder.layer.{i}.{name}" for i in range(12) for name in LAYER_LINEARS] + ["bert.pooler.dense"]
START, SIZES = dict.fromkeys(NAMES, (4, 4)), dict.fromkeys(NAMES, 10)


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


@pytest.mark.parametrize("granularity", ["layer", "kind", "block", "network"])
def test_widths_begin_where_the_model_is_at_the_published_rate(granularity):
    widths = begin(AdaQATSettings(granularity=granularity), START, SIZES)
    assert {width.value for width in (*widths.weights, *widths.activations)} == {4.0} and sum(widths.sizes) == 730
    assert widths.together == (granularity == "network") and (widths.eta, widths.reach) == (0.1, None)


def test_held_layers_are_frozen_at_eight_bits_only_where_they_are_alone():
    alone = begin(AdaQATSettings(ends=True), START, SIZES)
    assert [(width.bits, width.frozen) for width in (alone.weights[0], alone.weights[-1])] == [(8, True)] * 2
    assert (alone.activations[0].frozen, alone.activations[-1].frozen) == (True, False)
    assert not any(width.frozen for width in (*alone.weights[1:-1], *alone.activations[1:]))
    among = begin(AdaQATSettings(ends=True, granularity="kind"), START, SIZES)
    assert [width.frozen for width in among.weights] == [False] * 6 + [True]
    assert not any(width.frozen for width in among.activations)


def test_layers_of_a_group_start_alike():
    with pytest.raises(ValueError, match="activations of 4 and 6 bits, and granularity 'block' has one width for them"):
        begin(AdaQATSettings(granularity="block"), START | {NAMES[7]: (4, 6)}, SIZES)
