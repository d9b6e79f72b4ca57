import math

import pytest

from xtcq.distillation import PLANS, Stage, one_stage, three_stage, two_stage


@pytest.mark.parametrize("plan", PLANS.values())
def test_every_plan_costs_the_same(plan):
    assert math.isclose(sum(stage.epochs for stage in plan(7)), 7)


def test_terms_and_peaks_follow_appendix_b1():
    everything, deep, last = (("hidden", "attention", "logits"), 1), (("hidden", "attention"), 2.5), (("logits",), 1)
    assert [(s.terms, s.lr_factor) for s in one_stage(1)] == [everything]
    assert [(s.terms, s.lr_factor) for s in two_stage(1)] == [deep, last]
    assert [(s.terms, s.lr_factor) for s in three_stage(1)] == [deep, everything, last]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"terms": ()}, "must be one or more of labels, hidden"),
        ({"terms": ("relations",)}, "'relations'"),
        ({"terms": ("labels", "logits")}, "cannot be mixed"),
        ({"epochs": 0}, "stage 's': epochs is 0, expected a positive number"),
        ({"epochs": math.nan}, "epochs is nan"),
        ({"lr_factor": -1}, "lr_factor is -1"),
        ({"explores": True}, "distil, and bit-widths are explored with \\('labels',\\)"),
    ],
)
def test_impossible_stages(fields, message):
    with pytest.raises(ValueError, match=message):
        Stage(**{"name": "s", "terms": ("logits",), "epochs": 1} | fields)
