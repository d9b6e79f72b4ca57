"""From start and end logits to answers in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

# As in BERT's own script (google-research/bert, run_squad.py, --max_answer_length).
MAX_ANSWER_PIECES = 30
# No answer is given where its score is above that of the best one by more than this; the default of BERT's script
# (--null_score_diff_threshold). Chosen beforehand: the best threshold for a development set would be fitted to it.
NO_ANSWER_THRESHOLD = 0.0


@dataclass(frozen=True)
class Window:
    """Where the word pieces of one window lie.

    Attributes:
        begin: position of the context's first piece in the sequence.
        offsets: first and last character, exclusive, of each of the context's pieces, [pieces, 2].
    """

    begin: int
    offsets: np.ndarray


def find_answers(
    starts: np.ndarray,
    ends: np.ndarray,
    windows: Sequence[Window],
    questions: Sequence[int],
    contexts: Sequence[str],
    unanswerable: bool,
) -> list[str]:
    """Find the best piece of text over all windows of each question.

    A candidate begins and ends in the context, begins not after its end, and has at most ``MAX_ANSWER_PIECES`` word
    pieces; its score is the sum of its two logits. Candidates are compared over windows by score. Every pair is looked
    at, not only those of the twenty best starts and ends that BERT's script combines.

    Where questions may be unanswerable, the score of no answer is that of [CLS] in the window where it is lowest: a
    question has no answer only if no window has one. It is compared after ``NO_ANSWER_THRESHOLD`` is taken off.

    Args:
        starts: start logits, [windows, word pieces]; values beyond a window's end are ignored.
        ends: end logits, likewise.
        windows: where each window's pieces lie.
        questions: index of each window's question in ``contexts``; every question has a window.
        contexts: the texts.
        unanswerable: whether "no answer" is a candidate.

    Returns:
        The answer to every question, "" for none.

    Raises:
        ValueError: a logit of a window is not finite.

    >>> import numpy as np
    >>> from xtcq.tasks.squad.answers import Window, find_answers
    >>> red_fox = Window(begin=1, offsets=np.array([[0, 3], [4, 7]]))  # after [CLS]
    >>> find_answers(np.array([[0, 1, 5]]), np.array([[0, 2, 3]]), [red_fox], [0], ["red fox"], unanswerable=False)
    ['fox']
    """
    texts, best = [""] * len(contexts), np.full(len(contexts), -np.inf)
    nothing = np.full(len(contexts), np.inf)
    for index, (window, question) in enumerate(zip(windows, questions, strict=True)):
        part = slice(window.begin, window.begin + len(window.offsets))
        start, end = starts[index, part].astype(np.float64), ends[index, part].astype(np.float64)
        null = float(starts[index, 0]) + float(ends[index, 0])
        if not np.isfinite([start.sum(), end.sum(), null]).all():
            raise ValueError(
                f"logits of window {index} hold values that are not finite; the model has diverged, try a lower "
                "learning rate"
            )
        nothing[question] = min(nothing[question], null)
        score, first, last = _best_span(start, end)
        if score > best[question]:
            best[question] = score
            texts[question] = contexts[question][window.offsets[first, 0] : window.offsets[last, 1]]
    if not unanswerable:
        return texts
    return ["" if none else text for text, none in zip(texts, nothing - NO_ANSWER_THRESHOLD > best, strict=True)]


def _best_span(start: np.ndarray, end: np.ndarray) -> tuple[float, int, int]:
    """Score, first and last piece of the best candidate of one window."""
    pieces, widths = len(start), min(len(start), MAX_ANSWER_PIECES)
    scores = np.full((widths, pieces), -np.inf)
    for width in range(widths):
        scores[width, : pieces - width] = start[: pieces - width] + end[width:]
    width, first = divmod(int(scores.argmax()), pieces)
    return float(scores[width, first]), first, first + width
