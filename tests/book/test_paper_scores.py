import math

import pytest
from xtcq_book.arithmetic import table
from xtcq_book.paper_scores import GLUE_NUMBERS, PAPER_TEACHER, glue_average, paper_score


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        (("xtc-c3", "Budget-A | Three-Stage | 5e-4", "stsb"), 84.4),
        (("xtc-c2", "Budget-A | One-Stage | 2e-5", "mrpc", "f1"), 88.8),
        ((*PAPER_TEACHER, "stsb", "spearman"), 89.6),
        ((*PAPER_TEACHER, "mnli", "accuracy_mm"), 85.6),
        (("adaqat-t2", "BERT_BASE | FP32", "squad1", "exact_match"), 81.5),
        (("adaqat-t2", "BERT_BASE | FP32", "squad1"), 88.7),
        # Table 3 of AdaQAT-BERT prints one number for QQP and does not say of which measure.
        (("adaqat-t3", "BERT_BASE | FP32", "qqp"), 91.39),
        (("adaqat-t3", "BERT_BASE | FP32", "qqp", "f1"), math.nan),
        (("xtc-c2", "Budget-C | One-Stage | 2e-5", "demo-pairs"), math.nan),
        (("xtc-c2", "Budget-D | One-Stage | 2e-5", "cola"), math.nan),
    ],
)
def test_a_printed_score(place, expected):
    assert paper_score(*place) == pytest.approx(expected, abs=0, nan_ok=True)


@pytest.mark.parametrize("row", table("xtc-c2").rows)
def test_the_average_is_the_papers(row):
    scores = {
        task: {metric: paper_score("xtc-c2", row, task, metric) for metric in names}
        for task, names in GLUE_NUMBERS.items()
    }
    # The nine numbers are rounded to 0.1, as XTC rounded them before it took their mean.
    assert glue_average(scores | {"mrpc": scores["mrpc"] | {"f1": 0.0}}) == pytest.approx(
        table("xtc-c2").value(row, "Avg."), abs=0.0051
    )
    del scores["cola"]
    assert glue_average(scores) == pytest.approx(table("xtc-c2").value(row, "Avg. w/o CoLA"), abs=0.0051)
