import dataclasses
import math
from functools import cache

import pytest
from xtcq_book.claims.ledger import load_claims
from xtcq_book.claims.paper import BEYOND, OPEN, WITHIN, Effect, by_metric, differences


@cache
def ledger():
    return {claim.id: claim for claim in load_claims()}


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
        ("reduced-1bit-costs-more-than-at-full-depth", (83.44 - 83.95) + 1.62),
        ("lora-helps-short-budget", ((81.09 - 80.81) + (82.31 - 82.14)) / 2),
        ("continuing-helps-1bit", ((81.63 - 81.34) + (80.23 - 79.96)) / 2),
        ("two-bit-first-is-worse", ((80.60 - 81.34) + (79.31 - 79.96)) / 2),
        ("larger-teacher-helps-less-with-lora", (0.31 + 0.32) / 2 - 0.11),
        # Nine numbers in the tables, of which MNLI's two and QQP's are the same run.
        ("augmentation-helps-1bit", 9 / 6 * ((82.38 - 81.61) + (83.44 - 82.78)) / 2),
        ("seeds-move-average-little", (0.09 + 0.10 + 0.04 + 0.06 + 0.05) / 5),  # judged by the pooled estimate, below
        ("distillation-helps-uniform-widths", 0.9),
        ("distillation-helps-learned-widths", 0.7),
        ("learned-beats-uniform", ((81.07 - 81.58) + (88.71 - 89.00) + (75.2 - 75.0)) / 3),
        ("one-stage-loses-to-two-at-2e-5", -0.61),
        ("five-layers-as-good-as-six", -0.12),
        ("lora-helps-more-when-short", ((0.28 - 0.22) + (0.17 + 0.10)) / 2),
        ("embeddings-at-2-bits-beside-8-bits", 0.94),
        ("position-table-is-not-sensitive", -0.16),
        ("learned-keeps-squad", ((81.07 - 81.5) + (88.71 - 88.7) + (75.2 - 74.5) + (77.9 - 77.7)) / 4),
        ("learned-saves-cola", 58.02 - 47.8),
    ],
)
def test_the_papers_effects(name, effect):
    assert ledger()[name].paper_effect() == pytest.approx(effect, abs=0.015)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"metrics": ("Acc",)}, "print the metric 'Acc', and one is expected"),
        ({"plus": ["xtc-c2 / Budget-D | One-Stage | 1e-4"]}, "xtc-c2 has no row 'Budget-D"),
        ({"plus": ["xtc-c2 / *"]}, "36 rows '[*]' of xtc-c2"),
    ],
)
def test_a_row_or_metric_that_is_not_printed(change, message):
    claim = ledger()["one-stage-beats-two-at-1e-4"]
    effect = dataclasses.replace(claim.effect, **change)
    with pytest.raises(ValueError, match=f"claim 'one-stage-beats-two-at-1e-4': .*{message}"):
        dataclasses.replace(claim, effect=effect).paper_effect()


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
def test_what_other_examples_would_move(plus, minus, metric, difference, word):
    found = differences([Effect([metric], [f"xtc-c8 / {plus}"], [f"xtc-c8 / {minus}"])]).iloc[0]
    assert (found["difference"], found["word"]) == (pytest.approx(difference), word)
    # Six heads in a row are the first to be rarer than one in twenty, both ways counted: 2 / 64.
    assert found["fewest"] == pytest.approx(600 / found["examples"])


def test_the_bound_of_two_sets_of_examples():
    effect = Effect(["RTE Acc"], ["xtc-c8 / XTC-BERT6 | 32"], ["xtc-c8 / TinyBERT6 | 32"])
    found = differences([effect]).iloc[0]
    variance = (72.2 * 27.8 + 71.8 * 28.2) / 277
    assert found["unpaired"] == pytest.approx(1.96 * math.sqrt(variance), abs=1e-3)


def test_every_difference_of_the_ledger_counts_once():
    found = differences(claim.effect for claim in load_claims())
    assert len(found) > 400 and not found.duplicated(["metric", "plus", "minus"]).any()
    counted = by_metric(found)
    assert counted["differences"].sum() == len(found)
    assert (counted[[BEYOND, OPEN, WITHIN]].sum(axis=1) == counted["differences"]).all()
    assert counted["examples"].is_monotonic_increasing and counted.index[0] == "RTE Acc"
