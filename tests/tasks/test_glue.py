import pytest

from xtcq.tasks import TASKS, task_spec

# XTC, Table C.1: training rows without data augmentation, development rows, batch size.
TABLE_C1 = {
    "cola": (8551, [1043], 16),
    "mnli": (392702, [9815, 9832], 32),
    "mrpc": (3668, [408], 32),
    "qnli": (104743, [5463], 32),
    "qqp": (363846, [40430], 32),
    "rte": (2490, [277], 32),
    "sst2": (67349, [872], 32),
    "stsb": (5749, [1500], 32),
}


@pytest.mark.parametrize("name", TABLE_C1)
def test_sizes_and_lengths_are_those_of_xtc(name):
    spec = task_spec(name)
    train, evaluation, batch_size = TABLE_C1[name]
    assert spec.rows["train"] == train
    assert [spec.rows[split] for split in spec.evaluation_splits] == evaluation
    assert spec.batch_size == batch_size
    assert spec.max_length == (64 if name in ("cola", "sst2") else 128)
    assert not spec.synthetic


def test_evaluation_splits_of_mnli_start_with_the_matched_one():
    assert task_spec("mnli").evaluation_splits == ("validation_matched", "validation_mismatched")


def test_primary_metrics_are_the_ones_of_the_average():
    primary = {name: task_spec(name).primary_metric for name in TABLE_C1}
    assert primary.pop("cola") == "matthews"
    assert primary.pop("stsb") == "pearson"
    assert set(primary.values()) == {"accuracy"}
    assert task_spec("mrpc").metrics == task_spec("qqp").metrics == ("accuracy", "f1")


def test_specs_are_hashable_values():
    assert len({task_spec(name) for name in TASKS}) == len(TASKS) == 16


def test_an_unknown_task_is_answered_with_the_known_ones():
    with pytest.raises(ValueError, match=r"unknown task 'wnli'.*cola, mnli, .*demo-acceptability"):
        task_spec("wnli")
