import pytest
from xtcq_book import columns

from xtcq.study import Experiment, load_profile


@pytest.fixture
def mini():
    return load_profile("mini")


def test_each_column_reads_its_own_field(mini):
    fields = {"precision": "2-4-8", "stages": "three-stage", "learning_rate": 5e-4, "lora_rank": 8, "seed": 7}
    student = mini.student("sst2", augmentation="neighbours", **fields)
    assert {name: label(student) for name, label in columns.COLUMNS.items()} == {
        "task": "SST-2",
        "encoder": "minilm-l6",
        "layers": "all 6",
        "recipe": "xtc",
        "W-E-A": "2-4-8",
        "bits": 2,
        "W-A": "2-8",
        "T-K-P": "4-32-32",
        "LoRA rank": 8,
        "plan": "three-stage",
        "learning rate": 5e-4,
        "seed": 7,
        "epochs": student.epochs,
        "planned steps": 1000,
        "augmentation": "neighbours",
        "teacher": "all 6",
        "begun with": "teacher",
        "widths": "uniform 2-8",
        "exploration": "paper",
        "learns from": "distillation",
    }
    assert columns.COLUMNS["teacher"](student.teacher) == "none"
    assert columns.COLUMNS["learns from"](student.teacher) == "labels"


def test_an_exploration_is_named_by_what_it_does_otherwise(mini):
    found = [mini.learned("mrpc", **changed) for changed in ({}, {"order": "published", "paired": False})]
    assert [columns.exploration(e) for e in found] == ["paper", "published order, unpaired"]
    assert [columns.widths(e) for e in found] == ["learned for all"] * 2


@pytest.mark.parametrize(
    ("kept", "label"),
    [
        (None, "all 6"),
        ((1, 3, 5), "skip 3"),
        ((2, 5), "skip 2"),
        ((3, 4, 5), "top 3"),
        ((4, 5), "top 2"),
        ((0, 1, 2), "bottom 3"),
        ((0, 2, 5), "layers 0, 2, 5"),
    ],
)
def test_layers_are_named_by_how_they_were_chosen(mini, kept, label):
    assert columns.layers(mini.student("mrpc", stages="one-stage", layers=kept)) == label


def test_layers_are_counted_in_the_pre_trained_encoder(mini):
    half = mini.reduced("mrpc", 3)
    # Its teacher's layers 0 and 2 are 1 and 5 of the encoder: what `skip` would choose of three is not meant.
    student = mini.student("mrpc", stages="one-stage", teacher=half, layers=(0, 2))
    assert columns.layers(student) == "layers 1, 5"
    assert columns.layers(mini.student("mrpc", stages="one-stage", teacher=half)) == "skip 3"
    assert columns.layers(load_profile("paper").reduced("mrpc", 6)) == "skip 6"
    assert columns.layers(load_profile("paper").teacher("mrpc")) == "all 12"


def test_the_teachers_layers_are_not_the_students(mini):
    reduced = mini.reduced("mrpc", 3)
    assert columns.COLUMNS["teacher"](reduced) == "all 6"
    by_small = mini.student("mrpc", stages="one-stage", precision="1-1-8", teacher=reduced, start=reduced)
    assert (columns.COLUMNS["teacher"](by_small), columns.layers(by_small)) == ("skip 3", "skip 3")


def test_the_layers_of_a_teacher_with_another_encoder():
    teacher = load_profile("paper").teacher("mrpc")
    student = Experiment(
        task="mrpc", epochs=3, learning_rate=1e-4, model="tinybert-l6", stages="one-stage", teacher=teacher
    )
    assert (columns.COLUMNS["teacher"](student), columns.layers(student)) == ("all 12", "all 6")


def test_what_a_student_began_with(mini):
    two_bit = mini.small("mrpc", 3, precision="2-2-8")
    one_bit = mini.small("mrpc", 3, precision="1-1-8", start=two_bit)
    begun = [columns.start(experiment) for experiment in (mini.reduced("mrpc", 3), two_bit, one_bit)]
    assert begun == ["teacher", "32-bit", "2-bit"]


@pytest.mark.parametrize(
    ("value", "text"),
    [(2e-5, "2e-5"), (1e-4, "1e-4"), (2.5e-4, "2.5e-4"), (0.0005, "5e-4"), (8, "8"), ("skip 3", "skip 3")],
)
def test_values_are_written_as_the_papers_print_them(value, text):
    assert columns.as_text(value) == text
