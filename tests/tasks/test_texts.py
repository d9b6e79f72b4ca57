import pandas as pd
import pytest

from xtcq.tasks.texts import check_texts


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
