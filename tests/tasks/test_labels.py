import numpy as np
import pandas as pd
import pytest

from xtcq.tasks.labels import read_labels


def test_labels_of_a_text_file_are_numbers_again():
    classes = read_labels(pd.Series(["2", "0", "1.0"]), 3, "it")
    assert classes.tolist() == [2, 0, 1] and classes.dtype == np.int64
    numbers = read_labels(pd.Series(["-0.5", "1e3"]), 1, "it")
    assert numbers.tolist() == [-0.5, 1000.0] and numbers.dtype == np.float64


@pytest.mark.parametrize("value", [-0.1, 5.1, np.inf, None, "x"])
def test_numbers_out_of_their_range_are_refused(value):
    with pytest.raises(ValueError, match="it: row 2 has the label .* in 'score', expected a number from 0 to 5: corr"):
        read_labels(pd.Series([1.0, value], name="score"), 1, "it", 0, 5)


@pytest.mark.parametrize("dtype", [object, "category", "str"])
def test_classes_by_the_names_of_the_classifier(dtype):
    values = pd.Series(["no", "yes", "no"], dtype=dtype)
    assert read_labels(values, 2, "it", names={0: "yes", 1: "no"}).tolist() == [1, 0, 1]
    assert read_labels(pd.Series([1, 0]), 2, "it", names={0: "yes", 1: "no"}).tolist() == [1, 0]
    with pytest.raises(ValueError, match="row 1 has the label 'no' .* given by labels=model.config.id2label"):
        read_labels(values, 2, "it")


@pytest.mark.parametrize(
    ("values", "names", "message"),
    [
        (["no", "maybe"], {0: "yes", 1: "no"}, "row 1 has the label 'no' .* or all of 'yes', 'no'"),
        ([0, 1], {0: 1, 1: 0}, "holds numbers, and .* names classes by numbers"),
        (
            [0, 1],
            {0: "a", 1: "a"},
            "labels is .* expected a name of its own for each of 0 to 1: give model.config.id2label",
        ),
        ([0, 1], {0: "a"}, "expected a name of its own"),
        (["a", "b"], ["a", "b"], r"labels is \['a', 'b'\], expected a name of its own"),
    ],
)
def test_names_that_do_not_say_which_class_it_is(values, names, message):
    with pytest.raises(ValueError, match=message):
        read_labels(pd.Series(values, name="kind"), 2, "it", names=names)


def test_names_that_are_integers():
    assert read_labels(pd.Series(["10", "20"]), 2, "it", names={0: 20, 1: 10}).tolist() == [1, 0]
