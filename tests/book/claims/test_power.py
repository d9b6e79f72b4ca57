import dataclasses
import math
from types import SimpleNamespace

import numpy as np
import pytest
from xtcq_book.claims import power
from xtcq_book.claims.interval import estimate
from xtcq_book.claims.judge import judge, word_for
from xtcq_book.claims.ledger import load_claims
from xtcq_book.frame import to_frame

from xtcq.study import load_profile

MINI = load_profile("mini")
CLAIMS = {claim.id: claim for claim in load_claims()}
ONE_BIT, TUNED = CLAIMS["one-bit-costs-more-than-two"], CLAIMS["one-stage-vs-two-2bit"]


@pytest.mark.parametrize("above", [0.3, 1.0])
def test_four_of_five_studies_with_so_many_seeds_end_with_a_verdict(above):
    effect, deviation = ONE_BIT.smallest_effect + above, 1.0
    seeds = power.seeds_needed(ONE_BIT, effect, deviation)
    rng = np.random.default_rng(0)
    decided = 0
    for _ in range(1000):
        pairs = rng.normal(effect, math.sqrt(2) * deviation, (3, seeds))
        bounds = estimate(dict(zip("abc", pairs.tolist(), strict=True))).seeds
        decided += word_for(ONE_BIT, bounds, at_scale=False) is not None
    assert decided / 1000 == pytest.approx(power.POWER, abs=0.06)


@pytest.mark.parametrize(
    ("claim", "effect", "expected"),
    [
        ("one-bit-costs-more-than-two", 1.0, 0.7),  # greater than 0.3
        ("one-bit-costs-more-than-two", 0.1, 0.2),  # no difference, between -0.3 and 0.3
        ("one-bit-costs-more-than-two", -1.0, 1.0),  # opposite
        ("one-stage-vs-two-2bit", 0.3, 0.6),  # not less than -0.3
        ("one-stage-vs-two-2bit", -1.0, 0.7),
        ("lora-rank-1-helps-short-budget", -0.1, 0.1),
    ],
)
def test_how_wide_an_interval_may_be(claim, effect, expected):
    assert power.margin(CLAIMS[claim], effect) == pytest.approx(expected)


def test_more_noise_and_a_smaller_margin_take_more_seeds():
    found = [power.seeds_needed(ONE_BIT, effect, noise) for effect, noise in ((1.0, 0.5), (1.0, 1.0), (0.5, 1.0))]
    assert sorted(found) == found and len(set(found)) == 3
    assert power.seeds_needed(ONE_BIT, 50.0, 0.5) == 3  # the ledger asks for as many
    assert power.seeds_needed(ONE_BIT, ONE_BIT.smallest_effect, 0.5) == math.inf
    # "Not less" has its threshold on the other side of zero.
    assert power.seeds_needed(TUNED, 0.3, 1.0) < power.seeds_needed(ONE_BIT, 0.4, 1.0)


@pytest.fixture
def runs(make_record):
    def student(task, score, hours=0.5, device="CPU of a test, 1 threads", **fields):
        record = make_record(score, **vars(MINI.student(task, precision="1-1-8", stages="one-stage", **fields)))
        return dataclasses.replace(record, train_seconds=3600 * hours, device=device)

    def build(tasks):
        records = [student(task, score, seed=seed) for task in tasks for seed, score in ((42, 70.0), (111, 72.0))]
        # One seed tells nothing, and another rate is another student.
        records.append(student("mrpc", 99.0, learning_rate=5e-4, device="a card", hours=0.1))
        return to_frame(records)

    return build


def test_a_deviation_is_pooled_over_what_differs_in_its_seed_alone(runs):
    assert power.deviations(runs(["mrpc"])).to_dict() == {"MRPC": pytest.approx(math.sqrt(2))}
    assert power.deviations(runs([])).empty


def test_the_bill(runs):
    judgements = [judge(claim, []) for claim in (TUNED, ONE_BIT, CLAIMS["size-12-layers-1bit"])]
    bill = power.to_decide(judgements, runs(["mrpc", "sst2", "stsb"]))
    assert set(bill.index) == {TUNED.id, ONE_BIT.id} and list(bill["runs"]) == sorted(bill["runs"])
    tuned, plain = bill.loc[TUNED.id], bill.loc[ONE_BIT.id]
    assert tuned["runs"] == 6 * (tuned["seeds"] + 2) and plain["runs"] == 6 * plain["seeds"]
    assert plain["hours on a core"] == pytest.approx(0.5 * plain["runs"])
    assert plain["hours on a card"] == pytest.approx(0.1 * plain["runs"])
    decided = dataclasses.replace(judgements[1], verdict="same here")
    assert list(power.to_decide([decided], runs(["mrpc", "sst2", "stsb"])).index) == []
    assert power.to_decide(judgements, runs(["mrpc"])).empty


def test_a_claim_about_one_task_is_counted_on_that_task_and_control_arms_with_it(runs):
    judgements = [judge(CLAIMS[name], []) for name in ("learned-saves-cola", "learned-keeps-glue")]
    bill = power.to_decide(judgements, runs(["mrpc", "sst2", "stsb"]))
    assert list(bill.index) == ["learned-keeps-glue"]
    assert bill["runs"].iloc[0] == 2 * 3 * (bill["seeds"].iloc[0] + 2 * bool(CLAIMS["learned-keeps-glue"].test.tune))
    assert "learned-saves-cola" in power.to_decide(judgements, runs(["cola"])).index


@pytest.mark.parametrize(
    ("claim", "why"),
    [
        ("no-pretraining-vs-tinybert", "another encoder"),
        ("five-layers-vs-tinybert", "layers that MiniLM does not have"),
        ("one-bit-near-teacher", "a budget of the paper's"),
    ],
)
def test_what_cannot_be_run_at_this_scale_has_no_bill(runs, claim, why):
    found = judge(CLAIMS[claim], [])
    assert power.is_open(found)
    assert power.to_decide([found], runs(["mrpc", "sst2", "stsb"])).empty, why


def test_a_claim_that_has_its_seeds_is_open_for_another_reason(runs):
    table, found = runs(["mrpc", "sst2", "stsb"]), judge(ONE_BIT, [])
    asked = power.to_decide([found], table).loc[ONE_BIT.id, "seeds"]
    for there, billed in ((asked, False), (asked - 1, True)):
        evidence = SimpleNamespace(seeds={task: set(range(int(there))) for task in ("mrpc", "sst2", "stsb")})
        assert (ONE_BIT.id in power.to_decide([dataclasses.replace(found, evidence=evidence)], table).index) == billed
