import re

import pytest

from xtcq.study import Experiment
from xtcq.study.claims import NOT_TESTED, REPRODUCED, judge_all
from xtcq.study.claims_table import chapter, headline
from xtcq.study.ledger_file import load_claims
from xtcq.study.records import save_record


def _ids(html):
    return re.findall(r'<strong id="([^"]+)">', html)


@pytest.mark.parametrize("name", ["kd-stages", "lora", "seeds"])
def test_a_chapter_shows_its_own_claims_in_the_ledgers_order(folders, name):
    html = chapter(name).to_html()
    assert _ids(html) == [claim.id for claim in load_claims() if claim.chapter == name] != []
    assert html.count(NOT_TESTED) == len(_ids(html))
    # Styles of two tables of one page must not meet.
    assert f'<table id="T_{name}">' in html


def test_a_chapter_judges_by_the_records_on_disk(folders, make_record):
    for task, gain in (("mrpc", 1.0), ("rte", 1.2), ("cola", 1.4)):
        teacher = Experiment(task=task, epochs=3, learning_rate=1e-4)
        fields = {"task": task, "precision": "1-1-8", "teacher": teacher}
        save_record(make_record(70.0 + gain, stages="one-stage", **fields))
        save_record(make_record(70.0, stages="two-stage", **fields))
    html = chapter("kd-stages").to_html()
    row = html[html.index('id="one-stage-beats-two-at-1e-4"') :].split("</tr>")[0]
    assert f"<strong>{REPRODUCED}</strong>" in row and "+1.20 [" in row and "pairs: 3" in row
    # The Records bear on none of another chapter's claims.
    assert REPRODUCED not in chapter("lora").to_html()
    # The landing page names what was decided, and leads to its chapter.
    lines = headline(judge_all()).split("\n")
    assert "1 reproduced, 0 contradicted" in lines[0]
    assert lines[1].count("<li>") == 1 and "here +1.2 [+1.0, +1.4]" in lines[1]
    assert '<a href="executed/kd-stages.html">' in lines[1]
    assert lines[2] == "<p><strong>Contradicted</strong>: none.</p>"
