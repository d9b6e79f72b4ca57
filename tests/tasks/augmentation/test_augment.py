import pandas as pd
import pytest

from xtcq.tasks.augmentation import Augmentation, Neighbours, augment

SETTINGS = Augmentation(copies=6, candidates=2)


@pytest.fixture
def source():
    words = ["cat", "dog", "bird", "red", "blue", "green"]
    vectors = [[1, 0], [1, 0.1], [1, 0.2], [0, 1], [0.1, 1], [0.2, 1]]
    return Neighbours(words, pd.DataFrame(vectors).to_numpy())


@pytest.fixture
def pairs():
    texts = {"a": ["red cat", "the 42", "Dog."], "b": ["a blue bird", "green dog", ""]}
    return pd.DataFrame(texts | {"label": [1, 0, 1]})


def rows(frame):
    return [tuple(row) for row in frame.itertuples(index=False)]


def test_originals_come_once_and_one_sentence_changes_at_a_time(source, pairs, piece_tokenizer):
    result = rows(augment(pairs, ("a", "b"), source, piece_tokenizer, SETTINGS))
    originals = rows(pairs)
    assert [row for row in result if row in originals] == originals
    assert len(set(result)) == len(result)
    for a, b, label in result:
        origin = next(o for o in originals if a == o[0] or b == o[1])
        assert label == origin[2]
    # Six tries for each sentence; nothing to replace in "the 42" and in "".
    first = [row for row in result if row[0] == "red cat" or row[1] == "a blue bird"]
    assert 3 < len(first) <= 1 + 2 * 6
    assert {row[0] for row in result if row[1] == ""} <= {"Dog.", "Cat.", "Bird."}


def test_replacements_are_candidates(source, pairs, piece_tokenizer):
    everything = Augmentation(copies=50, candidates=1, probability=1.0)
    result = augment(pairs.head(1), ("a",), source, piece_tokenizer, everything)
    # With certainty each word becomes its one candidate: the nearest of cat is dog, of red blue.
    assert result["a"].tolist() == ["red cat", "blue dog"]


def test_a_row_depends_on_its_seed_and_place_alone(source, pairs, piece_tokenizer):
    full = augment(pairs, ("a", "b"), source, piece_tokenizer, SETTINGS)
    again = augment(pairs, ("a", "b"), source, piece_tokenizer, SETTINGS)
    pd.testing.assert_frame_equal(full, again)
    head = augment(pairs.head(1), ("a", "b"), source, piece_tokenizer, SETTINGS)
    pd.testing.assert_frame_equal(full.head(len(head)), head)
    other = augment(pairs, ("a", "b"), source, piece_tokenizer, Augmentation(copies=6, candidates=2, seed=1))
    assert rows(other) != rows(full)


def test_probability_is_that_of_a_word(source, piece_tokenizer):
    frame = pd.DataFrame({"a": ["cat " * 2000], "label": [0]})
    settings = Augmentation(copies=1, probability=0.3, candidates=1)
    new = augment(frame, ("a",), source, piece_tokenizer, settings)["a"][1]
    assert new.split().count("dog") / 2000 == pytest.approx(0.3, abs=0.04)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"copies": 0}, "copies is 0, expected an integer of at least 1"),
        ({"candidates": 0}, "candidates is 0, expected an integer"),
        ({"probability": 0.0}, "probability is 0.0, expected a number above 0 and at most 1"),
        ({"probability": 1.2}, "probability is 1.2, expected"),
    ],
)
def test_impossible_settings(fields, message):
    with pytest.raises(ValueError, match=message):
        Augmentation(**{"copies": 1} | fields)
