import json

import pytest

from xtcq.adaqat import AdaQATSettings, begin, partition
from xtcq.quantization import LAYER_LINEARS


def test_defaults_are_those_of_the_paper():
    settings = AdaQATSettings()
    assert (settings.lambda_weights, settings.lambda_activations, settings.oscillations) == (0.02, 0.01, 10)
    assert (settings.granularity, settings.order, settings.least, settings.most) == ("layer", "paper", 2, 8)
    assert settings.to_dict() == {}


def test_round_trip_through_json():
    settings = AdaQATSettings(granularity="network", eta=1, order="published", paired=False, share=0.25, most=6)
    fields = json.loads(json.dumps(settings.to_dict()))
    assert set(fields) == {"granularity", "eta", "order", "paired", "share", "most"}
    assert AdaQATSettings.from_dict(fields) == settings and hash(AdaQATSettings.from_dict(fields)) == hash(settings)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"lambda_weights": 0}, "lambda_weights is 0, expected a positive number"),
        ({"lambda_activations": -0.01}, "lambda_activations is -0.01, expected a positive number"),
        ({"eta": 0.0}, "eta is 0.0, expected a positive number"),
        ({"eta": 67.2}, "eta is 67.2, expected at most 1 .* jumps over widths. Plan more steps, or fewer widths"),
        ({"least": 5, "most": 4}, "least is 5 and most is 4: no bit-width is in that range"),
        ({"least": 0}, "least is 0, expected an integer from 1 to 8"),
        ({"most": 9}, "most is 9, expected an integer from 1 to 8"),
        ({"oscillations": 0}, "oscillations is 0, expected an integer of at least 1$"),
        ({"share": 1}, "exploration cannot be as long as the whole training"),
        ({"share": 0}, "share is 0, expected a positive number"),
        ({"granularity": "channel"}, "granularity is 'channel', expected one of 'layer', 'kind', 'block', 'network'"),
        ({"order": "random"}, "expected one of 'paper', 'published'"),
        ({"counts": "all"}, "expected one of 'cycles', 'crossings'"),
        ({"pressure": "size"}, "expected one of 'mean', 'bitops'"),
        ({"steps": "reset"}, "expected one of 'keep', 'rescale'"),
        ({"paired": 1}, "paired is 1, expected True or False"),
        ({"ends": 8}, "ends is 8, expected True or False"),
        ({"short": None}, "short is None, expected True or False"),
    ],
)
def test_bad_settings_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        AdaQATSettings(**fields)


def test_settings_of_searches_that_would_be_refused_today_can_be_read():
    fields = {"granularity": "network", "oscillations": 1, "share": 0.6}
    assert AdaQATSettings.from_dict(fields).to_dict() == fields


@pytest.mark.parametrize("fields", [{"lambda": 0.1}, [1], None])
def test_unknown_fields_are_refused(fields):
    with pytest.raises(ValueError, match="AdaQAT settings are .*'lambda_weights'.*; got"):
        AdaQATSettings.from_dict(fields)


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
