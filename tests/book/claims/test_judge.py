import dataclasses
import json
import math
import re
from functools import cache
from statistics import stdev
from types import SimpleNamespace

import pandas as pd
import pytest
from xtcq_book import published
from xtcq_book.arithmetic import table
from xtcq_book.claims import examples
from xtcq_book.claims.computed import VALUES
from xtcq_book.claims.evidence import LEAST_RATES
from xtcq_book.claims.interval import LEVEL
from xtcq_book.claims.judge import (
    CANNOT,
    CONTRADICTED,
    DEPENDS,
    NO_DIFFERENCE,
    NOT_RUN,
    ONE_SEED,
    OPPOSITE,
    PAPER_TASKS,
    REPRODUCED,
    SAME,
    UNDECIDED,
    UNDECIDED_HERE,
    VERDICTS,
    _at_scale,
    counts,
    judge,
    judge_all,
)
from xtcq_book.claims.ledger import LEAST_SEEDS, Computed, load_claims
from xtcq_book.claims.paper import Stated
from xtcq_book.claims.table import as_data, show, to_frame

from xtcq.study import Experiment
from xtcq.study.budgets import paper_passes
from xtcq.study.records import save_record
from xtcq.tasks.metrics import LEAST_MATTHEWS, LEAST_SCORE


@cache
def ledger():
    return {claim.id: claim for claim in load_claims()}


def claim_of(name):
    return ledger()[name]


@pytest.fixture
def claim():
    """Greater by 0.3 at a learning rate of 1e-4."""
    return claim_of("one-stage-beats-two-at-1e-4")


INSIDE = "the interval holds the threshold, or zero"


def study(*gains, spread=0.1):
    """Gains on as many tasks as numbers are given, in three seeds around each of them."""
    tasks = ("mrpc", "sst2", "rte", "stsb", "cola")
    return {task: [gain - spread, gain, gain + spread] for task, gain in zip(tasks, gains, strict=False)}


def test_the_rule_on_the_page_has_the_words_and_numbers_of_the_code():
    cells = json.loads((published.FOLDER.parents[1] / "notebooks/claims.ipynb").read_text())["cells"]
    words = next(" ".join("".join(c["source"]).split()) for c in cells if "## The rule" in c["source"][0])
    assert set(re.findall(r"\*\*([a-z][^*]+)\*\*", words)) == set(VERDICTS) and f"*{ONE_SEED}*" in words
    for said in (
        f"the {100 * LEVEL:.0f} % interval",
        f"without such a class above {LEAST_SCORE:g}, and on CoLA above a Matthews correlation of {LEAST_MATTHEWS:g}",
    ):
        assert said in words
    assert (LEAST_RATES, LEAST_SEEDS, PAPER_TASKS) == (3, 3, 8)
    for said in ("its own rates, three or more", "by three seeds of each", "over eight tasks"):
        assert said in words


def _holds(judgement):
    return judgement.claim.holds_at(judgement.paper_effect)


def test_the_papers_tables_support_their_claims_but_for_three():
    judged = [judge(claim, []) for claim in ledger().values() if not isinstance(claim.effect, Stated)]
    unsupported = {j.claim.id for j in judged if not isinstance(j.claim.test, Computed) and not _holds(j)}
    # XTC (B.4) says that the larger teacher helps particularly at 1 bit; on average over its four tasks it hardly does.
    # B.3 says that LoRA helps when training is short; of rank 1 that is not so at 1 bit (80.52 with it, 80.81 without).
    # AdaQAT-BERT's Table 1 is v2.0 alone; on v1.1 the uniform 2-4 of Table 5 is better than the learned widths.
    assert unsupported == {
        "larger-teacher-helps-1bit-most",
        "lora-rank-1-helps-short-budget",
        "learned-beats-uniform",
    }


def test_the_papers_own_interval_borrows_the_seeds_that_it_prints():
    # CoLA alone, six-layer TinyBERT6 in one stage and four more students: their three seeds of Tables C.16 and C.17.
    claim = claim_of("skip-beats-top")
    alone = dataclasses.replace(claim, effect=dataclasses.replace(claim.effect, metrics=("CoLA Mcc",)))
    seeds = [table(name) for name in ("xtc-c16", "xtc-c17")]
    groups = [
        [one.value(row.replace("| 42", f"| {seed}"), "CoLA Mcc") for seed in (42, 111, 222)]
        for one in seeds
        for row in one.rows
        if row.endswith("| 42")
    ]
    assert len(groups) == 5
    variance = sum(stdev(group) ** 2 for group in groups) / 5
    judgement = judge(alone, [])
    # Two runs are compared, and the variance has ten degrees of freedom: t is 2.228.
    half = judgement.paper_interval[1] - judgement.paper_effect
    assert half == pytest.approx(2.228 * math.sqrt(2 * variance), rel=1e-3)
    # The average of nine deviates by what these tables print (of populations), whatever its metrics have in common.
    nine, printed = judge(claim, []), (0.09, 0.10, 0.04, 0.06, 0.05)
    variance = sum(1.5 * deviation**2 for deviation in printed) / 5
    assert nine.paper_interval[1] - nine.paper_effect == pytest.approx(2.228 * math.sqrt(2 * variance), abs=0.02)
    assert nine.paper_verdict == "holds"
    assert judge(claim_of("larger-teacher-helps-1bit-most"), []).paper_verdict == "undecided"
    assert judge(claim_of("learned-keeps-glue"), []).paper_verdict == ONE_SEED


@pytest.mark.parametrize(
    ("gains", "verdict", "because"),
    [
        ({}, NOT_RUN, ""),
        (study(1.0, 1.2), UNDECIDED_HERE, "2 tasks of 3 with 3 seeds each"),
        ({"mrpc": [-1.0], "rte": [0.1], "sst2": [0.2]}, UNDECIDED_HERE, "0 tasks of 3 with 3 seeds each"),
        (study(-1.0, 0.1, 0.2, spread=0.6), UNDECIDED_HERE, INSIDE),
        # Up to a fifth of the threshold below it, and zero inside.
        (study(-0.1, -0.2, -0.3, spread=0.4), UNDECIDED_HERE, INSIDE),
        (study(1.0, 1.2, 1.4), SAME, ""),
        (study(-1.0, -1.2, -1.4), OPPOSITE, ""),
        (study(0.0, 0.1, -0.1, spread=0.05), NO_DIFFERENCE, ""),
        (study(0.0, 0.1, -0.1, spread=0.8), UNDECIDED_HERE, INSIDE),
    ],
)
def test_the_words_at_another_scale_than_the_papers(claim, make_study, gains, verdict, because):
    judgement = judge(claim, make_study(gains))
    assert (judgement.verdict, judgement.because, judgement.paper_verdict) == (verdict, because, "holds")
    if gains:
        assert judgement.best.verdict == judgement.last.verdict == verdict
        assert judgement.best.points.effect == pytest.approx(
            sum(map(sum, gains.values())) / sum(map(len, gains.values()))
        )


def test_two_tasks_are_shown_without_a_verdict(claim, make_study):
    judgement = judge(claim, make_study(study(1.0, 1.2) | {"rte": [-9.0]}))
    assert (judgement.verdict, judgement.because) == (UNDECIDED_HERE, "2 tasks of 3 with 3 seeds each")
    assert (
        judgement.best.points.effect == pytest.approx(1.1)
        and judgement.best.points.seeds[0] < 1.1 < judgement.best.points.seeds[1]
    )
    html = show([judgement], name="x").data
    assert "best +1.10 [" in html and "2 tasks of 3" in html and "MiniLM-L6, MRPC, SST-2, " in html
    assert "left out: 1" in html and "<li>rte: fewer than 2 seeds</li>" in html and "3 seeds a task" in html
    assert "MRPC +1.00, SST-2 +1.20" in html


@pytest.mark.parametrize(
    ("gains", "verdict"),
    [(study(1.0, 1.2, 1.4), REPRODUCED), (study(0.0, 0.1, 0.0), CONTRADICTED), (study(0.1, 0.3, 0.5), UNDECIDED)],
)
def test_the_words_at_the_papers_scale(claim, make_study, gains, verdict):
    def judged(**fields):
        records = make_study(gains, model="bert-base-uncased", **fields)
        return judge(claim, records).verdict

    budget = {"epochs": lambda task: paper_passes(task, "A")}
    assert judged(**budget, augmentation="tinybert") == verdict
    # As long, without the sentences that the paper adds; with them, and shorter.
    for fields in (budget, {"epochs": 2, "augmentation": "tinybert"}):
        assert judged(**fields) not in (REPRODUCED, CONTRADICTED, UNDECIDED)


def test_budget_a_of_another_task_is_not_the_papers_scale(claim, make_study):
    """Three passes are XTC's of MNLI and QQP; of RTE it is an augmented epoch, 58.6 of them."""
    records = make_study(study(1.0, 1.2, 1.4), model="bert-base-uncased", epochs=3)
    assert judge(claim, records).verdict == SAME
    lengths = {"mrpc": paper_passes("mrpc", "A"), "sst2": paper_passes("sst2", "B"), "rte": 3.0}
    records = make_study(study(1.0, 1.2, 1.4), model="bert-base-uncased", epochs=lengths.get)
    assert judge(claim, records).verdict == SAME


@pytest.mark.parametrize(
    ("fields", "own"),
    [
        ({}, True),
        ({"learning_rate": 1e-4}, False),
        ({"task": "squad-articles"}, False),
        ({"augmentation": "tinybert"}, False),
    ],
)
def test_the_scale_of_adaqat_is_its_rate_on_its_own_data(make_run, fields, own):
    record = make_run(80.0, **{"task": "sst2", "model": "bert-base-uncased", "learning_rate": 2e-5} | fields)
    evidence = SimpleNamespace(students=[record])
    judged = SimpleNamespace(model="bert-base-uncased", claim=claim_of("learned-keeps-glue"), evidence=evidence)
    assert _at_scale(judged) == own


def test_a_spread_at_the_papers_scale_is_undecided_there(make_run):
    claim, records = claim_of("seeds-move-average-little"), []
    for task in ("mrpc", "rte"):
        fields = {"task": task, "model": "bert-base-uncased"}
        teacher = make_run(90.0, **fields)
        fields |= {"epochs": paper_passes(task, "A"), "precision": "1-1-8", "layers": (1, 3, 5, 7, 9, 11)}
        fields |= {"stages": "one-stage", "teacher": teacher.experiment, "augmentation": "tinybert"}
        records += [teacher] + [make_run(78.0 + seed, seed=seed, **fields) for seed in (1, 2, 3)]
    judgement = judge(claim, records)
    assert (judgement.verdict, judgement.because) == (UNDECIDED, "2 tasks of 3 with 3 seeds each")


def test_no_worse_is_the_same_where_there_is_no_difference(make_study):
    claim = dataclasses.replace(claim_of("one-stage-beats-two-at-1e-4"), direction="not less")
    assert judge(claim, make_study(study(0.0, 0.1, -0.1))).verdict == SAME
    assert judge(claim, make_study(study(-0.5, -0.6, -0.5))).verdict == OPPOSITE


def test_a_verdict_that_holds_under_one_score_only(claim, make_study):
    gains = study(1.0, 1.2, 1.4)
    judgement = judge(claim, make_study(gains, last=study(0.0, 0.1, -0.1, spread=0.9)))
    assert (judgement.verdict, judgement.best.verdict) == (DEPENDS, SAME)
    assert judgement.last.verdict == UNDECIDED_HERE and not judgement.beyond
    assert judgement.because == "same here by the best score, undecided here by the last"
    assert judge(claim, make_study(gains, last=study(-1, -1, -1))).verdict == DEPENDS


def test_one_stage_against_three_at_1_bit_under_both_scores(make_run):
    """The score of the last stage alone made three stages collapse; the best of the whole plan does not."""
    claim, records = claim_of("one-stage-vs-three-1bit"), []
    for task in ("mrpc", "sst2", "stsb"):
        teacher = make_run(88.0, task=task)
        records.append(teacher)
        for stages, rates in (("one-stage", (78, 81, 79)), ("three-stage", (77, 80.8, 60))):
            for rate, best in zip((1e-4, 2e-4, 5e-4), rates, strict=True):
                for seed in (1, 2, 3) if rate == 2e-4 else (1,):
                    fields = {"task": task, "stages": stages, "learning_rate": rate, "seed": seed}
                    fields |= {"precision": "1-1-8", "teacher": teacher.experiment}
                    last = best + 0.01 * seed if stages == "one-stage" else best - 40
                    records.append(make_run(best + 0.01 * seed, last, **fields))
    judgement = judge(claim, records)
    assert judgement.best.points.effect == pytest.approx(0.2) and judgement.last.points.effect == pytest.approx(40.22)
    assert (judgement.verdict, judgement.best.verdict, judgement.last.verdict) == (SAME, SAME, SAME)
    worse = dataclasses.replace(claim, direction="greater", smallest_effect=1.0)
    judgement = judge(worse, records)
    assert (judgement.verdict, judgement.best.verdict, judgement.last.verdict) == (DEPENDS, NO_DIFFERENCE, SAME)


def test_a_long_scale_of_one_task_does_not_decide(claim, make_study, make_run):
    """Points and share of the lift have to agree: STS-B has 85 points of lift, MRPC 16.6."""
    gains = {"stsb": [6.0, 6.1, 6.2], "mrpc": [-1.0, -1.1, -0.9], "rte": [-1.0, -1.1, -0.9]}
    judgement = judge(claim, make_study(gains))
    assert judgement.best.points.seeds[0] > 0.3 > judgement.best.lift.effect
    lift = {"stsb": 85, "mrpc": 85 - 100 * 279 / 408, "rte": 85 - 100 * 146 / 277}
    shares = [100 * values[0] / lift[task] for task, values in gains.items()]
    assert judgement.best.lift.effect == pytest.approx(sum(shares) / 3, abs=0.2)
    assert judgement.verdict == UNDECIDED_HERE and judgement.best.points.agree == 1
    assert judgement.because == "decided in points, but not as a share of the lift"


def test_no_verdict_rests_on_one_task(claim, make_study):
    """MRPC and RTE have lifts of about 17 and 38 points, and one of them carries both units."""
    many = {"rte": [20.0, 20.1, 20.2], "mrpc": [0.1, 0.6, 0.4], "sst2": [-0.2, 0.9, 0.3]}
    judgement = judge(claim, make_study(many))
    assert judgement.best.verdict == judgement.last.verdict == SAME and judgement.verdict == UNDECIDED_HERE
    assert judgement.because.startswith("it rests on RTE: without it best +0.3 [-0.")
    assert judge(claim, make_study(many | {"mrpc": [1.0, 1.1, 1.2], "sst2": [1.0, 1.1, 0.9]})).verdict == SAME
    # Less than 0.3 in the mean of the others, and surely above zero.
    small = many | {"mrpc": [0.2, 0.2, 0.21], "sst2": [0.2, 0.2, 0.21]}
    assert judge(claim, make_study(small)).verdict == UNDECIDED_HERE


def test_a_claim_about_one_task_rests_on_it(claim, make_study):
    alone = dataclasses.replace(claim, least_tasks=1)
    assert judge(alone, make_study({"rte": [2.0, 2.1, 2.2]})).verdict == SAME


def test_also_beyond_these_examples(claim, make_study, monkeypatch):
    gains = study(3.0, 4.0, 5.0)
    assert judge(claim, make_study(gains)).best.points.both is None

    def judged(gains, errors):
        monkeypatch.setattr(examples, "_examples", lambda task: pd.DataFrame({"label": [0]}))
        influences = {"one-stage": +1, "two-stage": -1}
        noise = lambda r, score: errors * influences[r.experiment.stages] * (-1.0) ** pd.Series(range(408)).to_numpy()  # noqa: E731
        monkeypatch.setattr("xtcq_book.claims.evidence.influence", noise)
        return judge(claim, make_study(gains))

    near = judged(gains, 5.0)
    # Influences of 10 points on 408 examples, the same for all seeds, over three tasks: a standard error of 0.29.
    assert near.best.points.both[1] - near.best.points.effect == pytest.approx(1.96 * 10 / math.sqrt(408 * 3), rel=0.1)
    assert near.verdict == SAME and near.beyond
    far = judged(gains, 200.0)
    assert far.verdict == SAME and not far.beyond


def test_one_bit_at_half_the_depth_beside_one_bit_at_full_depth(make_run):
    """Other depths, and the 32-bit student that trains on for the control arm of another claim, get into no term."""
    records = []
    for task in ("mrpc", "rte", "sst2"):
        teacher = make_run(90.0, task=task)
        fields = {"task": task, "stages": "one-stage", "epochs": 18.0, "teacher": teacher.experiment}
        records.append(teacher)
        for layers, lost in ((None, 0.0), ((1, 3, 5), 2.0), ((2, 5), 9.0)):
            start = Experiment(**fields, layers=layers, learning_rate=1e-4)
            for rate, less in ((1e-4, 1.0), (2e-4, 0.0), (5e-4, 1.0)):
                own = fields | {"layers": layers, "learning_rate": rate}
                for seed in (1, 2, 3):
                    level = 86.0 - less + 0.01 * seed * len(task)
                    for precision, begin in (
                        ("1-1-8", start),
                        ("2-2-8", start),
                        ("32-32-32", None),
                        ("32-32-32", start),
                    ):
                        of_bits = lost if precision == "1-1-8" else 0.0
                        begin = None if layers is None else begin
                        records.append(make_run(level - of_bits, precision=precision, start=begin, seed=seed, **own))
    judgement = judge(claim_of("reduced-1bit-costs-more-than-at-full-depth"), records)
    # At full depth one bit loses 4 against the teacher, at half the depth 2 against 32 bits.
    assert judgement.verdict == OPPOSITE and judgement.evidence.gated == []
    assert judgement.best.points.effect == pytest.approx(-2.0, abs=0.2)
    assert {r.experiment.kept for r in judgement.evidence.students} == {None, (1, 3, 5)}
    # Both depths are settings of the claim about 2 bits, whose control arm the 32-bit students are that train on.
    judgement = judge(claim_of("reduced-2bit-within-one-point"), records)
    assert (judgement.verdict, judgement.control, len(judgement.evidence.settings)) == (SAME, pytest.approx(0.0), 6)


class TestControl:
    """Within one point of the teacher at 1 bit, with the 2-bit student for a control arm."""

    def records(self, make_run, one_bit, two_bits, epochs=18.0):
        records = []
        for task in ("mrpc", "sst2", "stsb"):
            teacher = make_run(88.0, task=task)
            records.append(teacher)
            for precision, lost in (("1-1-8", one_bit), ("2-2-8", two_bits)):
                if lost is None:
                    continue
                for rate, less in ((1e-4, 1), (2e-4, 0), (5e-4, 1)):
                    for seed in (1, 2, 3) if not less else (1,):
                        fields = {"task": task, "precision": precision, "learning_rate": rate, "seed": seed}
                        fields |= {"stages": "one-stage", "teacher": teacher.experiment, "epochs": epochs}
                        records.append(make_run(88.0 - lost - less + 0.05 * seed, **fields))
        return records

    @pytest.mark.parametrize(
        ("one_bit", "two_bits", "verdict"),
        [(0.2, 0.1, SAME), (3.0, 0.1, OPPOSITE), (3.0, 2.0, CANNOT), (0.2, 2.0, CANNOT), (3.0, None, CANNOT)],
    )
    def test_a_control_arm_has_to_keep_the_bound(self, make_run, one_bit, two_bits, verdict):
        judgement = judge(claim_of("one-bit-near-teacher"), self.records(make_run, one_bit, two_bits))
        assert judgement.verdict == verdict
        if two_bits == 2.0:
            assert judgement.control == pytest.approx(-1.9)
            assert judgement.because == "the control arm, at -1.9 points (last -1.9), misses the bound by itself"
        if two_bits is None:
            assert "control arm was not run" in judgement.because and len(judgement.evidence.gated) == 3

    def test_the_budget_that_the_claim_names_is_required(self, make_run):
        judgement = judge(claim_of("one-bit-near-teacher"), self.records(make_run, 3.0, 0.1, epochs=9.0))
        assert judgement.verdict == NOT_RUN

    def test_no_arm_can_be_named(self):
        judgement = judge(claim_of("learned-beats-q-bert"), [])
        assert judgement.verdict == CANNOT and "Q-BERT" in judgement.because


def test_what_passes_no_gate_cannot_be_tested(claim, make_study):
    judgement = judge(claim, make_study(study(0.5, 0.6, 0.7), level=52.0, teacher=54.0))
    assert (judgement.verdict, judgement.because) == (CANNOT, "nothing that was run passes the gates")
    assert len(judgement.evidence.gated) == 3


def test_a_spread_over_seeds(make_run):
    claim = claim_of("seeds-move-average-little")
    # The paper's own: population deviations of three seeds, as printed.
    printed = (0.09, 0.10, 0.04, 0.06, 0.05)
    alone = judge(claim, [])
    assert alone.paper_effect == pytest.approx(math.sqrt(1.5 * sum(d**2 for d in printed) / 5), abs=0.006)
    assert alone.paper_verdict == "holds" and alone.paper_interval[1] < 0.2
    budget = {task: paper_passes(task, "A") for task in ("mrpc", "rte", "sst2", "stsb")}

    def students(tasks, step):
        teachers = {task: make_run(90.0, task=task) for task in tasks}
        return [*teachers.values()] + [
            make_run(78.0 + seed * step, task=task, seed=seed, epochs=budget[task], precision=precision,
                     layers=layers, stages="one-stage", teacher=teachers[task].experiment)
            for task in tasks
            for precision in ("1-1-8", "2-2-8")
            for layers in ((1, 3, 5), (0, 2, 4))
            for seed in (1, 2, 3)
        ]  # fmt: skip

    # Every average moves by one point a seed: a deviation of 1, over eight tasks of 1 / sqrt(2).
    four = judge(claim, students(list(budget), 1.0))
    assert four.best.points.effect == pytest.approx(1 / math.sqrt(2)) and four.verdict == OPPOSITE
    assert judge(claim, students(list(budget), 0.1)).verdict == SAME
    two = judge(claim, students(list(budget)[:2], 1.0))
    assert (two.verdict, two.because) == (UNDECIDED_HERE, "2 tasks of 3 with 3 seeds each")


def test_what_is_computed_needs_no_records_and_no_scale(monkeypatch):
    claim = claim_of("size-12-layers-1bit")
    assert (claim.direction, claim.smallest_effect, claim.paper_effect()) == ("equal", 0.05, 32.0)
    for value, verdict in ((32.04, REPRODUCED), (31.94, CONTRADICTED)):
        monkeypatch.setitem(VALUES, claim.test.computed, lambda value=value: value)
        judgement = judge(claim, [])
        assert (judgement.verdict, judgement.best.points.effect) == (verdict, pytest.approx(value - 32.0))


def test_encoders_are_judged_apart(claim, make_study):
    ours = make_study(study(1.0, 1.2, 1.4))
    own = {"model": "bert-base-uncased", "epochs": lambda task: paper_passes(task, "A"), "augmentation": "tinybert"}
    theirs = make_study(study(0.0, 0.1, 0.0), **own)
    judgement = judge(claim, ours + theirs)
    assert (judgement.verdict, judgement.model) == (CONTRADICTED, "bert-base-uncased")
    # One task of the papers' encoder does not outweigh what can be judged.
    few = [record for record in theirs if record.experiment.task == "mrpc"]
    assert judge(claim, ours + few).model == "minilm-l6"


def test_the_verdict_follows_the_records_on_disk(folders, claim, make_study):
    def verdict():
        (judgement,) = (j for j in judge_all() if j.claim.id == claim.id)
        return judgement.verdict

    assert verdict() == NOT_RUN
    saved = [save_record(record) for record in make_study(study(1.0, 1.2, 1.4))]
    assert verdict() == SAME
    # A record of another method takes the place of none of these.
    for path in saved[:3]:
        path.unlink()
    assert verdict() == UNDECIDED_HERE


def test_as_data_and_as_a_table(claim, make_study):
    judgement = judge(claim, make_study(study(1.0, 1.2, 1.4) | {"cola": [-9.0]}))
    data = json.loads(json.dumps(as_data(judgement)))
    assert data["verdict"] == data["verdict_best"] == data["verdict_last"] == SAME
    assert data["points"]["best"]["effect"] == pytest.approx(1.2)
    assert data["points"]["best"]["interval"][0] < 1.2 < data["points"]["last"]["interval"][1]
    assert data["points"]["best"]["interval_with_examples"] is None and data["lift"]["best"]["same_sign"] == [3, 3]
    assert data["tasks"] == {"mrpc": [1, 2, 3], "rte": [1, 2, 3], "sst2": [1, 2, 3]}
    assert data["steps"] == [234, 345, 6315] and data["compute"] == ["fp32"] and data["mixed_compute"] == []
    assert data["gated"] == ["cola: fewer than 3 seeds"] and data["chapter"] == "kd-stages"
    assert (data["paper_verdict"], data["paper_holds"]) == ("holds", True)
    frame = to_frame([judgement])
    assert frame.loc[0, "paper"].startswith("+0.81 [+0.66, +0.95]") and frame.loc[0, "best"].startswith("+1.20 [")
    assert frame.loc[0, "scale"] == "MiniLM-L6, MRPC, RTE, SST-2, 234 to 6,315 steps, 3 seeds a task"
    found = counts([judgement])
    assert found.pop(SAME) == 1 and not any(found.values())


def test_a_claim_in_words_has_no_numbers(claim):
    stated = dataclasses.replace(claim, effect=Stated("XTC, Figure 5"))
    judgement = judge(stated, [])
    assert (judgement.paper_effect, judgement.paper_verdict, stated.source) == (None, "no numbers", "XTC, Figure 5")
    assert to_frame([judgement]).loc[0, "paper"] == "in words" and as_data(judgement)["paper_holds"] is None


def test_a_claim_leads_to_its_chapter(claim):
    html = show([judge(dataclasses.replace(claim, claim="a < b"), [])], name="x").data
    assert '<a href="kd-stages.html">' in html and "a &lt; b" in html
