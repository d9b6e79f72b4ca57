import dataclasses
import re

import pytest
from xtcq_book.claims.judge import CANNOT, NOT_RUN, SAME, judge, judge_all
from xtcq_book.claims.ledger import load_claims
from xtcq_book.claims.table import as_data, chapter, headline, show, to_frame

from xtcq.study.records import save_record


def _ids(html):
    return re.findall(r'<strong id="([^"]+)">', html)


@pytest.mark.parametrize("name", ["kd-stages", "lora", "seeds"])
def test_a_chapter_shows_its_own_claims_in_the_ledgers_order(folders, name):
    html = chapter(name).data
    assert _ids(html) == [claim.id for claim in load_claims() if claim.chapter == name] != []
    assert html.count(f"<strong>{NOT_RUN}") + html.count(f"<strong>{CANNOT}") == len(_ids(html))
    # Styles of two tables of one page must not meet.
    assert f'<table id="T_{name}">' in html


def test_pages_judge_by_the_records_on_disk(folders, make_study):
    gains = {task: [0.9, 1.2, 1.5] for task in ("mrpc", "rte", "sst2")}
    for record in make_study(gains, epochs=2):
        save_record(record)
    html = chapter("kd-stages").data
    row = html[html.index('id="one-stage-beats-two-at-1e-4"') :].split("</tr>")[0]
    assert f"<strong>{SAME}</strong>" in row and "best +1.20 [" in row and "3 seeds a task" in row
    # The Records bear on none of another chapter's claims.
    assert f"<strong>{SAME}" not in chapter("lora").data
    # The landing page says at which scale, in the sentence that counts and in that of every claim.
    lines = headline(judge_all()).split("\n")
    at = "MiniLM-L6, MRPC, RTE, SST-2, 156 to 4,210 steps, 3 seeds a task"
    assert f"with {at}: 1 same here" in lines[0]
    assert lines[1].count("<li>") == 1 and f"Same here, {at}: +1.2 [" in lines[1]
    assert '<a href="executed/kd-stages.html">' in lines[1]
    # What is computed stands last, and names what does not hold.
    assert "9 contradicted" in lines[2] and lines[2].count("<li>") == 9
    assert (
        '<a href="executed/cost.html">Read as the size of a file, BERT-base at 1 bit' in lines[2]
        and "Computed: 24.2." in lines[2]
    )
    assert len(lines) == 3


def test_an_open_verdict_with_an_interval_is_on_the_landing_page_with_its_reason(folders, make_study):
    for record in make_study({task: [-9.0, 0.5, 9.0] for task in ("mrpc", "rte", "sst2")}, epochs=2):
        save_record(record)
    (line,) = (
        line
        for line in headline(judge_all()).split("\n")
        if "Undecided here, with enough seeds for an interval</strong>" in line
    )
    assert "points; paper" in line and "3 seeds a task" in line and "(" in line and "not run" not in line


def claim_of(name):
    (claim,) = (claim for claim in load_claims() if claim.id == name)
    return claim


def test_widths_that_a_search_ended_with_are_bits_and_have_no_score(make_run):
    claim, records = claim_of("learned-weights-near-2-bits"), []
    for task in ("mrpc", "rte", "sst2"):
        teacher = make_run(90.0, task=task)
        fields = {"task": task, "recipe": "adaqat", "precision": "4-4-4", "stages": "one-stage", "adaqat": {}}
        records.append(teacher)
        for seed, bits in ((1, 2.0), (2, 2.1), (3, 2.2)):
            found = {"in_regime": True, "mean_weights": bits}
            records.append(make_run(80.0, seed=seed, teacher=teacher.experiment, exploration=found, **fields))
    judgement = judge(claim, records)
    assert judgement.verdict == SAME and as_data(judgement)["unit"] == "bits"
    row = to_frame([judgement]).loc[0]
    assert row["best"].startswith("+2.10 [") and row["best"].endswith("] bits") and row["last"] == "–"
    html = show([judgement], name="x").data
    assert "best +" not in html and "last +" not in html and "labels" not in html
    assert "] bits; paper" in headline([judgement]) and "points" not in headline([judgement])
    # A search that freezes an oscillating width higher, or weighs it otherwise, is not the paper's.
    for change in ({"counts": "crossings"}, {"pressure": "bitops"}):
        other = [r for r in records if r.experiment.adaqat is None] + [
            dataclasses.replace(
                r, experiment=dataclasses.replace(r.experiment, adaqat=r.experiment.adaqat.__class__(**change))
            )
            for r in records
            if r.experiment.adaqat
        ]
        assert judge(claim, other).verdict == NOT_RUN


def test_a_best_without_stored_predictions_is_said(make_run):
    claim = claim_of("learned-beats-uniform")
    records = []
    for task in ("mrpc", "rte", "sst2"):
        teacher = make_run(90.0, task=task)
        records.append(teacher)
        for seed in (1, 2, 3):
            fields = {"task": task, "recipe": "adaqat", "stages": "one-stage", "seed": seed}
            fields |= {"teacher": teacher.experiment}
            learned = make_run(80.0, precision="4-4-4", adaqat={}, exploration={"in_regime": True}, **fields)
            late = [learned.history[1]]  # the first evaluation came before its widths were fixed
            records.append(dataclasses.replace(learned, history=late))
            records.append(make_run(82.0, 79.0, precision="2-4-4", **fields))
    judgement = judge(claim, records)
    assert judgement.best.points.effect == judgement.last.points.effect == pytest.approx(1.0)
    html = show([judgement], name="x").data
    assert "no predictions at the best shared step (mrpc, rte, sst2)" in html
    assert as_data(judgement)["best_at_shared_steps"] == ["mrpc", "rte", "sst2"]
