import numpy as np
import pandas as pd
import pytest

from xtcq.tasks.columns import check_texts, read_labels


@pytest.mark.parametrize("space", [" ", "\u200b"])
def test_rows_without_text_are_refused_left_out_or_kept(space):
    frame = pd.DataFrame({"text": ["a", None, space, "b"], "kind": [0, 1, 1, 0]})
    with pytest.raises(
        ValueError, match="it: row 2 has no text .* 2 rows in all: leave them out, or choose by on_empty"
    ):
        check_texts(frame, ["text"], ["kind"], "it")
    with pytest.warns(UserWarning, match="it: 2 of 4 rows have no text and were left out"):
        assert check_texts(frame, ["text"], ["kind"], "it", "skip")["text"].tolist() == ["a", "b"]
    with pytest.warns(UserWarning, match="2 of 4 rows have no text and were kept"):
        assert check_texts(frame, ["text"], ["kind"], "it", "empty")["text"].tolist() == ["a", "", space, "b"]
    with pytest.raises(ValueError, match="on_empty is 'drop', expected one of 'error', 'skip', 'empty'"):
        check_texts(frame, ["text"], ["kind"], "it", "drop")


@pytest.mark.parametrize(
    ("value", "message"), [(7, "row 2 has 7 in 'text', expected a text"), ("caf\udce9", "a text that is no Unicode")]
)
def test_what_is_no_text_is_refused_whatever_happens_to_empty_rows(value, message):
    with pytest.raises(ValueError, match=message):
        check_texts(pd.DataFrame({"text": ["a", value]}, dtype=object), ["text"], [], "it", "skip")


def test_the_wanted_columns_are_kept():
    frame = pd.DataFrame({"text": ["a", "NA", "b"], "kind": [0, 1, 1]})
    found = check_texts(frame.assign(more=1).iloc[::-1], ["text"], ["kind"], "it")
    assert list(found.columns) == ["text", "kind"] and list(found.index) == [0, 1, 2]
    assert found["text"].tolist() == frame["text"].tolist()[::-1]


def test_a_table_without_rows_is_refused():
    with pytest.raises(ValueError, match="it has no rows: give at least one example of each class"):
        check_texts(pd.DataFrame({"text": [], "kind": []}), ["text"], ["kind"], "it")


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
