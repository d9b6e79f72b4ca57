import math

import pytest

from xtcq.checks import EMPTY, check_choice, check_integer, check_positive, text_faults


@pytest.mark.parametrize("value", [1, 8])
def test_an_integer_at_either_bound_is_returned(value):
    assert check_integer("bits", value, 1, 8) == value


@pytest.mark.parametrize("value", [0, 9, True, 2.0, "2", None])
def test_what_is_no_integer_within_the_bounds_is_refused_by_name_and_value(value):
    with pytest.raises(ValueError, match=rf"bits is {value!r}, expected an integer from 1 to 8; use fewer"):
        check_integer("bits", value, 1, 8, "; use fewer")


def test_an_integer_without_an_upper_bound_may_be_large():
    assert check_integer("steps", 10**12, 1) == 10**12
    with pytest.raises(ValueError, match="steps is 0, expected an integer of at least 1"):
        check_integer("steps", 0, 1)


def test_a_positive_number_becomes_a_float():
    assert (found := check_positive("epochs", 3)) == 3 and isinstance(found, float)


@pytest.mark.parametrize("value", [0, -1.0, True, math.inf, math.nan, "1", None])
def test_what_is_no_positive_number_is_refused(value):
    with pytest.raises(ValueError, match=rf"epochs is {value!r}, expected a positive number"):
        check_positive("epochs", value)


def test_a_choice_is_one_of_several():
    assert check_choice("counts", "cycles", ("cycles", "crossings")) == "cycles"
    with pytest.raises(ValueError, match="counts is 'other', expected one of 'cycles', 'crossings'"):
        check_choice("counts", "other", ("cycles", "crossings"))


def test_what_a_tokenizer_cannot_read():
    faults = dict(text_faults(["good", None, 3.0, "", "\n", "caf\u00e9 \U0001f600", "caf\udce9", "\u200b ", "\x01"]))
    assert set(faults) == {1, 2, 3, 4, 6, 7, 8} and faults[1] == "is no text" and "UTF-8" in faults[6]
    assert not list(text_faults(["\U0001fae8"])), "younger than the Unicode of some Python"
    assert faults[7] == faults[8] == EMPTY and "UTF-8" in dict(text_faults(["\udce9"]))[0]
