import pytest

from xtcq.tasks.squad import normalize_answer, score_answer, score_answers


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("The Denver Broncos!", "denver broncos"),
        ("  two\t\nwords ", "two words"),
        ("U.S.", "us"),
        ("well-known", "wellknown"),
        ("$5.00", "500"),
        ("a", ""),
        ("an apple and the pear", "apple and pear"),
        ("theatre", "theatre"),  # an article only as a word
        ("the-the", "thethe"),  # punctuation goes first, so this is one word
        ("'a'", ""),
        ("don’t", "don’t"),  # not ASCII punctuation
        ("Ärzte", "ärzte"),
    ],
)
def test_normalization(text, normal):
    assert normalize_answer(text) == normal


@pytest.mark.parametrize(
    ("prediction", "gold", "exact", "f1"),
    [
        ("the Broncos", ["Broncos"], 1, 1),
        ("Denver Broncos", ["Broncos"], 0, 2 / 3),  # precision 1/2, recall 1
        ("Broncos", ["Denver Broncos", "The Denver Broncos team"], 0, 2 / 3),
        ("a b b", ["b b c"], 0, 4 / 5),  # "a" is an article: precision 1, recall 2/3
        ("b b", ["b"], 0, 2 / 3),  # a word counts as often as it is in both
        ("Panthers", ["Broncos", "Panthers"], 1, 1),  # the best gold answer
        ("x y", ["x", "x y z"], 0, 4 / 5),  # a best one for each metric
        ("Panthers", ["Broncos"], 0, 0),
        ("", ["Broncos"], 0, 0),
    ],
)
@pytest.mark.parametrize("unanswerable", [False, True])
def test_hand_cases_of_both_versions(prediction, gold, exact, f1, unanswerable):
    assert score_answer(prediction, gold, unanswerable) == (exact, pytest.approx(f1))


@pytest.mark.parametrize(
    ("prediction", "gold", "version1", "version2"),
    [
        ("", ["the"], (1, 0), (1, 1)),  # nothing is left of "the": v1.1 finds no common word
        ("a", ["an"], (1, 0), (1, 1)),
        ("x", ["the", "x"], (1, 1), (1, 1)),
        ("", ["the", "x"], (1, 0), (0, 0)),  # v2.0 leaves "the" out, so an answer is wanted
        ("the", ["x"], (0, 0), (0, 0)),
    ],
)
def test_answers_without_words_differ_by_version(prediction, gold, version1, version2):
    assert score_answer(prediction, gold, unanswerable=False) == version1
    assert score_answer(prediction, gold, unanswerable=True) == version2


@pytest.mark.parametrize(("prediction", "score"), [("", 1), ("the", 1), ("Broncos", 0)])
def test_no_answer_is_right_only_where_there_is_none(prediction, score):
    assert score_answer(prediction, [], unanswerable=True) == (score, score)


def test_means_are_in_per_cent():
    scores = score_answers(["x", "x y", "z"], [["x"], ["x"], ["x"]])
    assert scores == {"f1": pytest.approx(100 * (1 + 2 / 3) / 3), "exact_match": pytest.approx(100 / 3)}
    assert list(scores) == ["f1", "exact_match"]


def test_impossible_calls():
    with pytest.raises(ValueError, match="one answer a question, at least one; got 1 for 2"):
        score_answers(["x"], [["x"], ["x"]])
    with pytest.raises(ValueError, match="got 0 for 0"):
        score_answers([], [])
    with pytest.raises(ValueError, match="no gold answer, which only SQuAD v2.0 allows"):
        score_answers(["x"], [[]])
