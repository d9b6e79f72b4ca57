import numpy as np
import pytest

from xtcq.tasks.squad.answers import MAX_ANSWER_PIECES, Window, find_answers

CONTEXT = "aa bb cc dd ee ff"
OFFSETS = np.array([(3 * i, 3 * i + 2) for i in range(6)])


def search(starts, ends, windows, questions=None, unanswerable=False, contexts=(CONTEXT,)):
    questions = [0] * len(windows) if questions is None else questions
    return find_answers(np.array(starts, float), np.array(ends, float), windows, questions, contexts, unanswerable)


@pytest.fixture
def window():
    """[CLS] question [SEP] and six words."""
    return Window(3, OFFSETS)


def logits(length=10, **at):
    values = np.full(length, -5.0)
    for name, value in at.items():
        values[int(name[1:])] = value
    return values


def test_answers_have_a_longest_length():
    offsets = np.array([(2 * i, 2 * i + 1) for i in range(40)])
    context = " ".join("x" * 40)
    start, end = logits(41, _1=9), logits(41)
    for last, expected in ((MAX_ANSWER_PIECES, MAX_ANSWER_PIECES), (MAX_ANSWER_PIECES + 1, 1)):
        end[:] = -5.0
        end[last], end[1] = 9, 0
        (found,) = search([start], [end], [Window(1, offsets)], contexts=[context])
        assert len(found.split()) == expected


def test_every_question_has_its_own_windows(window):
    found = search(
        [logits(_3=1), logits(_4=1)],
        [logits(_3=1), logits(_5=1)],
        [window, window],
        [1, 0],
        contexts=[CONTEXT, CONTEXT.upper()],
    )
    assert found == ["bb cc", "AA"]


def test_the_best_is_that_of_a_search_of_all_pairs(window):
    """Of all windows, begun before it ends, and never in the question or the padding."""
    rng = np.random.default_rng(0)
    for _ in range(100):
        start, end = rng.normal(size=(2, 2, 10))
        later = Window(3, OFFSETS[2:])
        scores = {}
        for index, one in enumerate((window, later)):
            for i in range(len(one.offsets)):
                for j in range(i, len(one.offsets)):
                    span = CONTEXT[one.offsets[i, 0] : one.offsets[j, 1]]
                    scores[span] = max(scores.get(span, -np.inf), start[index, 3 + i] + end[index, 3 + j])
        assert search(start, end, [window, later]) == [max(scores, key=scores.get)]


@pytest.mark.parametrize(("cls", "text"), [(0.9, "aa"), (1.0, "aa"), (1.1, "")])
def test_no_answer_must_beat_the_best_one(window, cls, text):
    start = logits(_3=1, _0=cls)
    assert search([start], [start], [window], unanswerable=True)[0] == text
    assert search([start], [start], [window])[0] == "aa"  # never where every question has an answer


def test_no_answer_must_hold_in_every_window(window):
    sure, unsure = logits(_3=1, _0=9), logits(_3=1, _0=-3)
    assert search([sure, sure], [sure, sure], [window, window], unanswerable=True)[0] == ""
    assert search([sure, unsure], [sure, unsure], [window, window], unanswerable=True)[0] == "aa"


def test_a_model_that_diverged_is_named(window):
    with pytest.raises(ValueError, match="logits of window 1 hold values that are not finite; the model has diverged"):
        search([logits(), logits(_4=np.nan)], [logits(), logits()], [window, window])
    # Beyond a window anything may stand.
    assert search([logits(_9=np.nan)], [logits(_9=np.inf)], [window])
