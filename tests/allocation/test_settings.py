import pytest

from xtcq.allocation import METHODS, Allocation


@pytest.mark.parametrize(
    "settings",
    [
        Allocation(method="random", budget=8, seed=3),
        Allocation(method="sensitivity", budget=12.5, metric="hessian", probes=4, batches=2),
        Allocation(method="fracbits", budget=16, share=0.25, kappa=2, least=3, most=6, steps="keep"),
    ],
)
def test_settings_survive_json(settings):
    assert Allocation.from_dict(settings.to_dict()) == settings
    assert all(value != getattr(Allocation, name, None) for name, value in settings.to_dict().items())


def test_only_fracbits_explores():
    assert [m for m in METHODS if Allocation(method=m, budget=8).explores] == ["fracbits"]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"method": "genetic"}, "method is 'genetic', expected one of 'random', 'sensitivity', 'fracbits'"),
        ({"budget": 3}, "budget is 3 bits squared per weight, below the 4 that 2 bits everywhere cost"),
        ({"budget": 8, "least": 3}, "below the 9 that 3 bits"),
        ({"budget": 0}, "budget is 0, expected a positive number"),
        ({"budget": float("nan")}, "budget is nan"),
        ({"budget": "8"}, "budget is '8'"),
        ({"least": 5, "most": 4}, "range of widths is 5 to 4"),
        ({"least": 0}, "range of widths is 0 to 8"),
        ({"seed": -1}, "seed is -1, expected an integer of at least 0"),
        ({"method": "sensitivity", "metric": "norm"}, "metric is 'norm', expected one of 'fisher', 'hessian'"),
        ({"method": "sensitivity", "batches": 0}, "batches is 0"),
        ({"method": "fracbits", "share": 1.0}, "share is 1.0: exploration cannot be as long"),
        ({"method": "fracbits", "share": 0}, "share is 0, expected a positive"),
        ({"method": "fracbits", "kappa": -1}, "kappa is -1, expected a positive"),
        ({"method": "fracbits", "steps": "move"}, "steps is 'move', expected one of 'keep', 'rescale'"),
        ({"method": "fracbits", "least": 4, "most": 4}, "a search needs two widths"),
        ({"method": "random", "share": 0.2}, "share is 0.2, but method 'random' does not read it"),
        ({"method": "fracbits", "seed": 1}, "seed is 1, but method 'fracbits' does not read it"),
        ({"method": "sensitivity", "probes": 3}, "probes is 3, but metric 'fisher' does not read it"),
    ],
)
def test_bad_settings_say_what_was_expected(fields, message):
    with pytest.raises(ValueError, match=message):
        Allocation(**{"method": "random", "budget": 16} | fields)


def test_unknown_or_missing_fields_are_refused():
    with pytest.raises(ValueError, match="of which method and budget are needed; got \\['budget'\\]"):
        Allocation.from_dict({"budget": 8})
    with pytest.raises(ValueError, match="got \\['budget', 'method', 'sead'\\]"):
        Allocation.from_dict({"budget": 8, "method": "random", "sead": 1})
    with pytest.raises(ValueError, match="got 8"):
        Allocation.from_dict(8)


def test_a_label_says_what_differs():
    assert str(Allocation(method="random", budget=8, seed=3)) == "random 8 seed=3"
    assert str(Allocation(method="fracbits", budget=12.5)) == "fracbits 12.5"
