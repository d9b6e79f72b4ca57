import dataclasses
import math

import pytest
from xtcq_book.claims.ledger import Effect, Rows
from xtcq_book.claims.ledger_file import load_claims
from xtcq_book.claims.sampling import BEYOND, OPEN, WITHIN, by_metric, differences


@pytest.fixture(scope="module")
def claim():
    return load_claims()[0]


# Table C.8, of RTE 277 examples, of MRPC 408, of MNLI-m 9,815.
@pytest.mark.parametrize(
    ("plus", "minus", "metric", "difference", "word"),
    [
        ("XTC-BERT6 | 32", "TinyBERT6 | 32", "RTE Acc", 72.2 - 71.8, WITHIN),  # one example
        ("XTC-BERT6 | 2", "TinyBERT6 | 2", "RTE Acc", 73.6 - 71.8, WITHIN),  # five
        ("XTC-BERT6 | 32", "TinyBERT6 | 32", "MRPC Acc", 85.5 - 87.3, OPEN),  # seven, and 4.7 points unpaired
        ("XTC-BERT6 | 32", "XTC-BERT4 | 1", "RTE Acc", 72.2 - 63.9, BEYOND),  # 7.7 points unpaired
        ("XTC-BERT6 | 2", "TinyBERT6 | 2", "MNLI-m Acc", 83.6 - 83.4, OPEN),  # twenty, and 1.0 points unpaired
        ("XTC-BERT6 | 2", "XTC-BERT4 | 1", "MNLI-m Acc", 83.6 - 82.0, BEYOND),
    ],
)
def test_what_other_examples_would_move(claim, plus, minus, metric, difference, word):
    sides = tuple((Rows((("xtc-c8", row),)),) for row in (plus, minus))
    found = differences([dataclasses.replace(claim, effect=Effect((metric,), (sides,)))]).iloc[0]
    assert (found["difference"], found["word"]) == (pytest.approx(difference), word)
    # Six heads in a row are the first to be rarer than one in twenty, both ways counted: 2 / 64.
    assert found["fewest"] == pytest.approx(600 / found["examples"])


def test_the_bound_of_two_sets_of_examples(claim):
    sides = tuple((Rows((("xtc-c8", row),)),) for row in ("XTC-BERT6 | 32", "TinyBERT6 | 32"))
    found = differences([dataclasses.replace(claim, effect=Effect(("RTE Acc",), (sides,)))]).iloc[0]
    variance = (72.2 * 27.8 + 71.8 * 28.2) / 277
    assert found["unpaired"] == pytest.approx(1.96 * math.sqrt(variance), abs=1e-3)


def test_every_difference_of_the_ledger_counts_once():
    found = differences(load_claims())
    assert len(found) > 400 and not found.duplicated(["metric", "plus", "minus"]).any()
    counted = by_metric(found)
    assert counted["differences"].sum() == len(found)
    assert (counted[[BEYOND, OPEN, WITHIN]].sum(axis=1) == counted["differences"]).all()
    assert counted["examples"].is_monotonic_increasing and counted.index[0] == "RTE Acc"
