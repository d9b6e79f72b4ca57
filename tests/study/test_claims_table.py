import re

import pytest

from xtcq.study.claims import CANNOT, NOT_RUN, SAME, judge_all
from xtcq.study.claims_table import chapter, headline
from xtcq.study.ledger_file import load_claims
from xtcq.study.records import save_record


def _ids(html):
    return re.findall(r'<strong id="([^"]+)">', html)


@pytest.mark.parametrize("name", ["kd-stages", "lora", "seeds"])
def test_a_chapter_shows_its_own_claims_in_the_ledgers_order(folders, name):
    html = chapter(name).to_html()
    assert _ids(html) == [claim.id for claim in load_claims() if claim.chapter == name] != []
    assert html.count(f"<strong>{NOT_RUN}") + html.count(f"<strong>{CANNOT}") == len(_ids(html))
    # Styles of two tables of one page must not meet.
    assert f'<table id="T_{name}">' in html


def test_pages_judge_by_the_records_on_disk(folders, make_study):
    gains = {task: [0.9, 1.2, 1.5] for task in ("mrpc", "rte", "sst2")}
    for record in make_study(gains, epochs=2):
        save_record(record)
    html = chapter("kd-stages").to_html()
    row = html[html.index('id="one-stage-beats-two-at-1e-4"') :].split("</tr>")[0]
    assert f"<strong>{SAME}</strong>" in row and "best +1.20 [" in row and "3 seeds a task" in row
    # The Records bear on none of another chapter's claims.
    assert f"<strong>{SAME}" not in chapter("lora").to_html()
    # The landing page says at which scale, in the sentence that counts and in that of every claim.
    lines = headline(judge_all()).split("\n")
    at = "minilm-l6, MRPC, RTE, SST-2, 156 to 4,210 steps, 3 seeds a task"
    assert f"with {at}: 1 same here" in lines[0] and "can be computed: " in lines[0]
    assert lines[1].count("<li>") == 1 and f"Same here, {at}: +1.2 [" in lines[1]
    assert '<a href="executed/kd-stages.html">' in lines[1]
    assert len(lines) == 2
