import pytest

from xtcq.quantization import Precision


@pytest.mark.parametrize(
    ("text", "embeddings", "expected"),
    [
        ("2-4-4", None, (2, (4, 32, 32), 4)),
        ("1-1-8", None, (1, (1, 32, 32), 8)),
        ("32-32-32", None, (32, (32, 32, 32), 32)),
        ("2-4", "4-32-4", (2, (4, 32, 4), 4)),
        ("2-4 4-32-4", None, (2, (4, 32, 4), 4)),
        (" 8-8  2-2-2 ", None, (8, (2, 2, 2), 8)),
        ("2-4-8", "4-8-8", (2, (4, 8, 8), 8)),
    ],
)
def test_parse(text, embeddings, expected):
    precision = Precision.parse(text, embeddings)
    assert (precision.weights, precision.embeddings, precision.activations) == expected
    assert precision.token == expected[1][0]


@pytest.mark.parametrize("text", ["2-4-4", "1-1-8", "32-32-32", "2-4 4-32-4", "8-8 2-2-2", "2-4 4-4-32"])
def test_text_comes_back(text):
    assert str(Precision.parse(text)) == text
    assert Precision.parse(str(Precision.parse(text))) == Precision.parse(text)


def test_three_numbers_and_tables_that_say_the_same_are_one_value():
    assert str(Precision.parse("2-4", embeddings="4-32-32")) == "2-4-4"
    assert hash(Precision.parse("2-4 4-32-32")) == hash(Precision.parse("2-4-4"))


@pytest.mark.parametrize(
    ("text", "embeddings", "message"),
    [
        ("2-4", None, r"'2-4' does not say how embeddings are stored: write W-E-A such as '1-1-8', or W-A with T-K-P"),
        ("2", None, r"'2' is not understood: write W-E-A such as '2-4-4'"),
        ("2-4-4-4", None, "is not understood"),
        ("2,4,4", None, "is not understood"),
        ("2-4", "4-4", "is not understood"),
        ("2-4 4-4-4", "4-4-4", "is not understood"),
        ("2-4-4", "8-32-4", r"gives the token embedding 4 bits and 8 bits: write W-A with T-K-P, '2-4 8-32-4'"),
        ("9-4-4", None, r"weights precision is 9, expected an integer from 1 to 8, or 32 to leave it"),
        ("0-4-4", None, "weights precision is 0"),
        ("2-16-4", None, "token embedding precision is 16"),
        ("2-4 4-9-4", None, "segment embedding precision is 9"),
        ("2-4 4-4-0", None, "position embedding precision is 0"),
        ("2-4-1", None, "activations precision is 1, expected an integer from 2 to 8, or 32"),
    ],
)
def test_parse_errors(text, embeddings, message):
    with pytest.raises(ValueError, match=message):
        Precision.parse(text, embeddings)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((2, 4, 4), r"embeddings is 4, expected three bit-widths \(token, segment, position\)"),
        ((2, (4, 4), 4), r"embeddings is \(4, 4\), expected three"),
        ((2.0, (4, 4, 4), 4), r"weights precision is 2\.0"),
        ((True, (4, 4, 4), 4), "weights precision is True"),
    ],
)
def test_constructor_errors(arguments, message):
    with pytest.raises(ValueError, match=message):
        Precision(*arguments)
