import pytest

from xtcq.study import Experiment, budgets, load_profile


def test_an_augmented_epoch_counts_as_many_passes_as_the_task_grew():
    # Table C.1: 218844 sentences of CoLA from 8551.
    assert budgets.paper_passes("cola", "A") == pytest.approx(218_844 / 8_551)
    assert budgets.paper_passes("cola", "C") == pytest.approx(12 * 218_844 / 8_551)
    assert budgets.paper_passes("mnli", "C") == 18.0


def test_a_length_is_named_after_its_budget():
    assert budgets.name_of("mrpc", 9.0) == "B"
    assert budgets.name_of("mrpc", budgets.paper_passes("mrpc", "C")) == "C"
    assert budgets.name_of("mrpc", 4.0) is None
    assert budgets.name_of("demo-pairs", 3.0) == "A"
    # Three passes are XTC's own of QQP, and 58.6 of RTE.
    assert budgets.own_name("qqp", 3.0) == budgets.own_name("rte", 145_865 / 2_490) == "A"
    assert budgets.own_name("rte", 3.0) is None and budgets.name_of("rte", 3.0) == "A"
    paper = load_profile("paper")
    student = paper.student("cola", budget="B", precision="1-1-8", stages="one-stage")
    assert student.budget == "B" == paper.budget_name(student)
    assert Experiment(task="cola", epochs=1, learning_rate=1e-4).budget is None
