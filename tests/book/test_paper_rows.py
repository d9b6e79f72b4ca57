import dataclasses

import pytest
from xtcq_book import paper_rows, paper_tables
from xtcq_book.paper_scores import paper_score

from xtcq.pretrained import PUBLISHED
from xtcq.study import load_profile


@pytest.fixture
def mini():
    return load_profile("mini")


@pytest.fixture
def paper():
    return load_profile("paper")


def test_minilm_is_matched_by_the_share_of_its_layers(mini):
    found = {depth: paper_rows.depth(mini.reduced("rte", depth)) for depth in (1, 2, 3, 5)}
    assert found == {1: 2, 2: 4, 3: 6, 5: 10}
    assert paper_rows.depth(mini.teacher("rte")) == paper_rows.depth(mini.student("rte", stages="one-stage")) == 12
    # 5 of 6 layers are 10 of 12, which XTC does not have; nor has it any row that 1 of 6 stands beside.
    rows = [paper_rows.small(mini.small("rte", depth, "2-2-8", learning_rate=2e-5)) for depth in (5, 3, 2, 1)]
    assert rows == [None, ("xtc-c8", "XTC-BERT6 | 2"), ("xtc-c8", "XTC-BERT4 | 2"), None]


def test_a_share_that_is_no_whole_number_of_layers(mini, monkeypatch):
    monkeypatch.setitem(PUBLISHED, "minilm-l6", dataclasses.replace(PUBLISHED["minilm-l6"], layers=8))
    assert paper_rows.depth(mini.reduced("rte", 3)) is None
    assert paper_rows.depth(mini.reduced("rte", 2)) == 3


@pytest.mark.parametrize(
    ("precision", "budget", "row"),
    [
        ("1-1-8", "C", ("xtc-c2", "Budget-C | Three-Stage | 2e-5")),
        ("2-2-8", "B", ("xtc-c3", "Budget-B | Three-Stage | 2e-5")),
        ("2-2-8", "short", ("xtc-c3", "Budget-A | Three-Stage | 2e-5")),
        ("32-32-32", "A", None),
        ("1-1-4", "A", None),
    ],
)
def test_the_row_of_the_plans_of_stages(mini, precision, budget, row):
    fields = {"precision": precision, "stages": "three-stage", "learning_rate": 2e-5, "budget": budget}
    assert paper_rows.stages(mini)(mini.student("rte", **fields)) == row
    assert paper_rows.stages(mini)(mini.student("rte", **fields, layers=(1, 3, 5))) is None


def test_the_best_of_the_papers_rates_at_full_depth(mini):
    student = mini.student("rte", precision="1-1-8", stages="two-stage", budget="B")
    best = paper_rows.stages(mini, [5e-4, 2e-5, 1e-4])
    assert best(student) == ("xtc-c2", "Budget-B | Two-Stage | Best (above)")
    assert paper_rows.stages(mini, [1e-4, 5e-4])(student) is None


def test_the_label_says_whose_budget_stands_beside(mini):
    label = paper_rows.budget_label(mini)
    found = [label(mini.student("qqp", stages="one-stage", budget=budget)) for budget in ("short", "A", "C")]
    assert found == ["short (paper: A)", "A", "C"]
    # Two of six layers stand beside four of twelve, which XTC trained for Budget-C alone.
    assert [label(mini.small("qqp", 2, "1-1-8", budget=name)) for name in ("A", "C")] == ["A (paper: C)", "C"]


def test_the_label_of_a_length_that_is_a_budget_of_other_tasks_alone(mini, paper):
    # Without added sentences, 3 passes over RTE's 2,490 are far from an epoch over 145,865.
    student = mini.student("rte", stages="one-stage", budget="A")
    assert paper_rows.budget_label(mini)(student) == "3 passes (paper: A)"
    assert paper_rows.budget_label(paper)(paper.student("rte", stages="one-stage", budget="A")) == "A"


def test_added_sentences_at_full_depth_alone(mini):
    row = paper_rows.augmentation(mini)
    fields = {"precision": "1-1-8", "stages": "one-stage", "learning_rate": 5e-4}
    assert row(mini.student("rte", **fields)) == ("xtc-c4", "Budget-A | One-Stage | 5e-4")
    assert row(mini.student("rte", **fields, augmentation="neighbours")) == ("xtc-c2", "Budget-A | One-Stage | 5e-4")
    assert row(mini.small("rte", 3, "1-1-8", learning_rate=5e-4)) is None


def test_full_precision_students_at_the_printed_rate(mini):
    assert paper_rows.rates(mini.reduced("rte", 2, learning_rate=1e-4)) == ("xtc-c5", "Skip-BERT4 | 1e-4")
    assert paper_rows.rates(mini.reduced("rte", 3, "top")) is None
    chosen = [mini.reduced("rte", 3, name, learning_rate=5e-5) for name in ("skip", "top", "bottom")]
    assert [paper_rows.selections(e) for e in chosen] == [("xtc-c6", f"{n}-6") for n in ("Skip", "Top", "Bottom")]
    staged = [mini.reduced("rte", 3, stages=f"{n}-stage", learning_rate=5e-5) for n in ("one", "two", "three")]
    assert [paper_rows.plans(e) for e in staged] == [("xtc-c7", f"Skip-BERT6 | {n}") for n in ("One", "Two", "Three")]
    # The captions of C.6 and C.7 print 5e-5.
    other = mini.reduced("rte", 3, learning_rate=1e-4)
    assert paper_rows.selections(other) is None and paper_rows.plans(other) is None
    assert paper_rows.selections(mini.reduced("rte", 2, learning_rate=5e-5)) is None
    assert paper_rows.plans(mini.student("rte", stages="one-stage", learning_rate=5e-5)) is None


def test_small_quantized_students(mini):
    assert paper_rows.small(mini.reduced("rte", 3, learning_rate=5e-4)) == ("xtc-c5", "Skip-BERT6 | 5e-4")
    # Nothing says at which rate the rows of six layers were trained; those of four were at 2e-5.
    assert paper_rows.small(mini.small("rte", 3, "1-1-8", learning_rate=5e-4)) == ("xtc-c8", "XTC-BERT6 | 1")
    assert paper_rows.small(mini.small("rte", 2, "1-1-8", learning_rate=5e-4)) is None
    assert paper_rows.small(mini.student("rte", precision="1-1-8", stages="one-stage")) is None
    assert paper_rows.small(mini.small("rte", 3, "1-1-8", lora_rank=1)) is None


def test_low_rank_terms_at_the_same_rate(mini):
    row = paper_rows.lora(mini)
    fields = {"learning_rate": 5e-4, "budget": "B"}
    assert row(mini.small("rte", 3, "1-1-8", lora_rank=8, **fields)) == ("xtc-c11", "Budget-B | Y (DIM=8) | 5e-4")
    assert row(mini.small("rte", 3, "2-2-8", **fields)) == ("xtc-c12", "Budget-B | N | 5e-4")
    assert row(mini.small("rte", 2, "2-2-8", **fields)) is None
    assert row(mini.small("rte", 2, "2-2-8", lora_rank=1, learning_rate=2e-5)) == ("xtc-c13", "Four | 2 | Y")
    assert row(mini.small("rte", 2, "2-2-8", lora_rank=8, learning_rate=2e-5)) is None
    best = paper_rows.lora(mini, [5e-5, 1e-4, 5e-4])
    assert best(mini.small("rte", 3, "1-1-8", lora_rank=1)) == ("xtc-c9", "Budget-A | Y (DIM=1)")
    assert best(mini.small("rte", 3, "2-2-8", budget="B")) == ("xtc-c10", "Budget-B | N")
    assert best(mini.small("rte", 2, "1-1-8")) is None
    assert paper_rows.lora(mini, [5e-4])(mini.small("rte", 3, "1-1-8", lora_rank=1)) is None


def test_students_that_go_on_beside_those_of_the_papers_rate_depth_and_rank(paper):
    first = paper.small("rte", 5, "2-2-8", learning_rate=2e-5)
    assert paper_rows.continued(paper.small("rte", 5, "2-2-8", learning_rate=5e-4)) is None
    again = [paper.small("rte", 5, "1-1-8", start=first, lora_rank=rank) for rank in (1, 8)]
    assert [paper_rows.continued(e) for e in again] == [("xtc-c14", "2-bit SkipBERT5 | 1-bit+LoRa1"), None]
    six = paper.small("rte", 6, "1-1-8", learning_rate=2e-5)
    assert paper_rows.continued(six) is None
    assert paper_rows.continued(paper.small("rte", 6, "1-1-8", start=six)) is None


def test_two_teachers_and_their_difference(mini):
    fields = {"precision": "1-1-8", "stages": "one-stage", "lora_rank": 1}
    by_small = mini.student("rte", teacher=mini.reduced("rte", 3), **fields)
    assert paper_rows.teacher_size(by_small) == ("xtc-c15", "1-bit | Y | Skip-BERT6")
    by_large = mini.small("rte", 3, "2-2-8")
    assert paper_rows.teacher_size(by_large) == ("xtc-c15", "2-bit | N | BERTbase")
    assert paper_rows.teacher_difference(by_large) == ("xtc-c15", "2-bit | N | Difference")
    assert paper_rows.teacher_size(mini.student("rte", teacher=mini.reduced("rte", 2), **fields)) is None
    assert paper_rows.teacher_difference(mini.small("rte", 2, "2-2-8")) is None
    assert paper_rows.teacher_size(mini.teacher("rte")) is None


def test_seeds_at_the_printed_rate_and_plan(mini):
    fields = {"stages": "three-stage", "learning_rate": 2e-5}
    student = mini.small("rte", 3, "2-2-8", **fields)
    assert paper_rows.seeds(student) == ("xtc-c17", "SkipBERT6 | Budget-B | Three | Ave. above")
    assert paper_score(*paper_rows.seeds(student, "std above"), "rte") == 0.3
    assert paper_rows.seeds(mini.small("rte", 3, "1-1-8", **fields))[0] == "xtc-c16"
    assert paper_rows.seeds(mini.small("rte", 3, "1-1-8", **fields | {"learning_rate": 5e-4})) is None
    assert paper_rows.seeds(mini.small("rte", 3, "1-1-8", learning_rate=2e-5)) is None
    assert paper_rows.seeds(mini.small("rte", 2, "1-1-8", **fields)) is None
    assert paper_rows.seeds(mini.reduced("rte", 3, **fields)) is None


@pytest.mark.parametrize("field", [{"recipe": "binarybert"}, {"lora_rank": 1}])
def test_another_scheme_of_the_same_bits_has_no_row(mini, field):
    student = mini.student("rte", precision="1-1-8", stages="two-stage", learning_rate=2e-5, **field)
    assert paper_rows.stages(mini)(student) is None


def test_widths_that_were_learned(paper):
    assert paper_rows.learned(paper.learned("rte")) == ("adaqat-t4", "RTE")
    assert paper_score(*paper_rows.learned(paper.learned("mnli")), "mnli", "accuracy_mm") == 84.38


def test_every_printed_row_finds_back_from_its_experiment(paper):
    """Those that do not are BERT-base itself, and full-precision students that C.8 repeats from C.5 or from nowhere."""
    back = {
        **dict.fromkeys(("xtc-c2", "xtc-c3"), paper_rows.stages(paper)),
        **dict.fromkeys(("xtc-c11", "xtc-c12", "xtc-c13"), paper_rows.lora(paper)),
        "xtc-c4": paper_rows.augmentation(paper),
        "xtc-c5": paper_rows.rates,
        "xtc-c6": paper_rows.selections,
        "xtc-c7": paper_rows.plans,
        "xtc-c8": paper_rows.small,
        "xtc-c14": paper_rows.continued,
        "xtc-c15": paper_rows.teacher_size,
    }
    elsewhere = {}
    for table, row_of in back.items():
        for cell in paper_tables.cells(table, tasks=["qqp"]):
            if cell.kind == "experiment" and (row := row_of(cell.experiments[0])) != (table, cell.row):
                elsewhere[table, cell.row] = row
    whole = {("xtc-c8", f"XTC-BERT{depth} | 32"): ("xtc-c5", f"Skip-BERT{depth} | 1e-4") for depth in (5, 4)}
    none = [("xtc-c5", "BERT-base | n/a"), ("xtc-c6", "BERT-base fp32"), ("xtc-c8", "XTC-BERT6 | 32")]
    assert elsewhere == whole | dict.fromkeys(none)
