import dataclasses
import json

import pytest

from xtcq.study import Experiment
from xtcq.study.budgets import paper_passes
from xtcq.study.claims import (
    CONTRADICTED,
    INCONCLUSIVE,
    NOT_TESTED,
    REPRODUCED,
    counts,
    interval,
    judge,
    judge_all,
    paper_effects,
)
from xtcq.study.claims_table import as_data, show, to_frame
from xtcq.study.ledger_file import load_claims
from xtcq.study.records import save_record


@pytest.fixture
def claim():
    """Greater by 0.3 at a learning rate of 1e-4."""
    return next(claim for claim in load_claims() if claim.id == "one-stage-beats-two-at-1e-4")


@pytest.fixture
def records(make_record):
    """A factory of Records in which one stage is better than two by given points, one pair a task."""

    def build(gains, model="minilm-l6", tasks=("mrpc", "rte", "cola", "sst2")):
        students = []
        for task, gain in zip(tasks, gains, strict=False):
            teacher = Experiment(task=task, model=model, epochs=3, learning_rate=1e-4)
            fields = {"task": task, "model": model, "precision": "1-1-8", "teacher": teacher}
            students += [make_record(70.0 + gain, stages="one-stage", **fields)]
            students += [make_record(70.0, stages="two-stage", **fields)]
        return students

    return build


# From the papers' own averages, by hand.
@pytest.mark.parametrize(
    ("name", "effect"),
    [
        ("one-stage-vs-two-1bit", ((82.38 - 81.59) + (82.98 - 82.57) + (83.44 - 83.20)) / 3),
        ("one-stage-vs-three-2bit", ((83.83 - 83.81) + (84.10 - 83.96)) / 2),
        ("high-rate-breaks-two-stages", ((6.03 - 0.69) + (4.04 - 0.89) + (3.97 - 1.00) + (2.65 - 0.64)) / 4),
        ("longer-budget-helps-1bit", 83.44 - 82.38),
        ("longer-budget-closes-gap-of-bits", (82.98 - 82.38) - (84.10 - 83.83)),
        ("two-bit-keeps-teacher", 84.10 - 83.95),
        ("skip-beats-top", 83.27 - 82.08),
        ("no-pretraining-vs-tinybert", (2.5 + 0.0 + 0.6 - 0.5 + 0.3 + 0.1 + 2.9 + 0.2 + 0.6) / 9),
        ("reduced-1bit-costs-more-than-at-full-depth", (83.44 - 83.95) - (-1.62 - 1.84 - 2.06) / 3),
        ("lora-helps-short-budget", ((81.09 - 80.81) + (82.31 - 82.14)) / 2),
        ("continuing-helps-1bit", ((81.63 - 81.34) + (80.23 - 79.96)) / 2),
        ("two-bit-first-is-worse", ((80.60 - 81.34) + (79.31 - 79.96)) / 2),
        ("larger-teacher-helps-less-with-lora", (0.31 + 0.32) / 2 - 0.11),
        ("augmentation-helps-1bit", ((82.38 - 81.61) + (83.44 - 82.78)) / 2),
        ("seeds-move-average-little", (0.09 + 0.10 + 0.04 + 0.06 + 0.05) / 5),
        ("distillation-helps-adaqat", (1.3 + 0.9 + 1.2 + 0.7) / 4),
        ("learned-beats-uniform", (0.3 + 0.2 + 0.2 + 0.0) / 4),
        ("learned-keeps-squad", ((81.07 - 81.5) + (88.71 - 88.7) + (75.2 - 74.5) + (77.9 - 77.7)) / 4),
        ("learned-saves-cola", 58.02 - 47.8),
    ],
)
def test_the_papers_effects(name, effect):
    claim = next(claim for claim in load_claims() if claim.id == name)
    values = list(paper_effects(claim).values())
    assert sum(values) / len(values) == pytest.approx(effect, abs=0.015)


def test_the_papers_tables_support_their_claims_but_for_one():
    judged = [judge(claim, []) for claim in load_claims()]
    unsupported = {j.claim.id for j in judged if not j.claim.holds_at(j.paper_effect)}
    # XTC (B.4) says that the larger teacher helps particularly at 1 bit; on average over its four tasks it hardly does.
    assert unsupported == {"larger-teacher-helps-1bit-most"}


@pytest.mark.parametrize(
    ("gains", "verdict"),
    [
        ((), NOT_TESTED),
        ((1.0, 1.2), INCONCLUSIVE),  # two pairs
        ((1.0, 1.2, 1.4), REPRODUCED),
        ((-1.0, 0.1, 0.2), CONTRADICTED),
        ((-1.0, 0.1, 2.0), INCONCLUSIVE),  # the interval holds the threshold
    ],
)
def test_the_verdict(claim, records, gains, verdict):
    judgement = judge(claim, records(gains))
    assert judgement.verdict == verdict
    assert judgement.pairs == len(gains)
    assert judgement.our_effect == (pytest.approx(sum(gains) / len(gains)) if gains else None)


def test_seeds_of_one_task_decide_nothing(claim, records, make_record):
    students = [
        make_record(record.best["accuracy"], **{**record.experiment.to_dict(), "teacher": teacher, "seed": seed})
        for record in records((1.0,))
        for teacher in [record.experiment.teacher]
        for seed in (1, 2, 3, 4)
    ]
    judgement = judge(claim, students)
    assert (judgement.pairs, judgement.verdict) == (4, INCONCLUSIVE)
    assert judgement.scale == "minilm-l6; mrpc; 3 epochs; seeds 1, 2, 3, 4"


def test_a_spread_of_an_average_over_few_tasks_decides_nothing(make_record):
    claim = next(claim for claim in load_claims() if claim.id == "seeds-move-average-little")
    budget = {task: paper_passes(task, "A") for task in ("mrpc", "rte", "cola", "sst2")}

    def students(tasks):
        return [
            make_record(70.0 + seed / 100, task=task, seed=seed, epochs=budget[task], precision=precision,
                        layers=layers, stages="one-stage",
                        teacher=Experiment(task=task, epochs=3, learning_rate=1e-4))
            for task in tasks
            for precision in ("1-1-8", "2-2-8")
            for layers in ((1, 3, 5), (0, 2, 4))
            for seed in (42, 111, 222)
        ]  # fmt: skip

    # Averages of 70.42, 71.11 and 72.22 over the tasks, in every configuration.
    four = judge(claim, students(list(budget)))
    assert (four.pairs, four.verdict) == (4, CONTRADICTED)
    assert four.our_effect == pytest.approx(0.741, abs=1e-3)
    three = judge(claim, students(list(budget)[:3]))
    assert (three.pairs, three.our_effect, three.verdict) == (4, pytest.approx(four.our_effect), INCONCLUSIVE)


def test_encoders_are_judged_apart(claim, records):
    ours, theirs = records((1.0, 1.2, 1.4, 1.6)), records((-1.0, -1.2, -1.4), model="bert-base-uncased")
    judgement = judge(claim, ours + theirs)
    assert judgement.verdict == CONTRADICTED and judgement.scale.startswith("bert-base-uncased; cola, mrpc, rte;")
    # Two pairs of the papers' encoder do not outweigh what can be judged.
    assert judge(claim, ours + theirs[:4]).scale.startswith("minilm-l6")


def test_the_verdict_follows_the_records_on_disk(folders, claim, records):
    def verdict():
        (judgement,) = (j for j in judge_all() if j.claim.id == claim.id)
        return judgement.verdict

    assert verdict() == NOT_TESTED
    saved = [save_record(record) for record in records((1.0, 1.2, 1.4))]
    assert verdict() == REPRODUCED
    worse = json.loads(saved[0].read_text())
    worse["best"] = dict.fromkeys(worse["best"], 60.0)
    saved[0].write_text(json.dumps(worse))
    assert verdict() == INCONCLUSIVE
    for path in saved[:2]:
        path.unlink()
    assert verdict() == INCONCLUSIVE  # two pairs are left


def test_the_interval_of_a_mean():
    low, high = interval([1.0, 2.0, 3.0, 4.0])
    assert 1.0 <= low < 2.5 < high <= 4.0
    assert interval([1.0, 2.0, 3.0, 4.0]) == (low, high)
    assert interval([2.0, 2.0, 2.0]) == (2.0, 2.0)
    assert interval([1.0, 2.0]) is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"metrics": ("Acc",)}, "print the metric 'Acc', and one is expected"),
        ({"row": "Budget-D | One-Stage | 1e-4"}, "xtc-c2 has no row 'Budget-D"),
        ({"row": "*"}, "36 rows '[*]' of xtc-c2"),
    ],
)
def test_a_row_or_metric_that_is_not_printed(claim, change, message):
    (plus, minus), *_ = claim.effect.cases
    if row := change.pop("row", None):
        plus = (dataclasses.replace(plus[0], cells=(("xtc-c2", row),)),)
    effect = dataclasses.replace(claim.effect, cases=((plus, minus),), **change)
    with pytest.raises(ValueError, match=f"claim 'one-stage-beats-two-at-1e-4': .*{message}"):
        paper_effects(dataclasses.replace(claim, effect=effect))


def test_as_data_and_as_a_table(claim, records):
    judgement = judge(claim, records((1.0, 1.2, 1.4)))
    data = json.loads(json.dumps(as_data(judgement)))
    assert data["our_effect"] == pytest.approx(1.2) and data["interval"][0] < 1.2 < data["interval"][1]
    assert (data["pairs"], data["chapter"], data["paper_holds"]) == (3, "kd-stages", True)
    frame = to_frame([judgement])
    assert frame.loc[0, "paper"].startswith("+0.81 [") and frame.loc[0, "ours"].startswith("+1.20 [")
    assert counts([judgement]) == {REPRODUCED: 1, CONTRADICTED: 0, INCONCLUSIVE: 0, NOT_TESTED: 0}


def test_only_a_written_chapter_is_linked(claim):
    planned = dataclasses.replace(claim, id="planned", chapter="no-such-chapter", claim="a < b")
    html = show([judge(claim, []), judge(planned, [])], name="x").to_html()
    assert '<a href="kd-stages.html">' in html and "no-such-chapter.html" not in html
    assert "a &lt; b" in html
    assert as_data(judge(planned, []))["chapter"] is None
