import json

import pytest

from xtcq.adaqat import AdaQATSettings


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
