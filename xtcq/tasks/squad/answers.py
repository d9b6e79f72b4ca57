"""From start and end logits to answers in words."""

import heapq
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
        begin: Position of the context's first piece in the sequence.
        offsets: First and last character, exclusive, of each of the context's pieces, [pieces, 2].
    """

    begin: int
    offsets: np.ndarray


@dataclass(frozen=True)
class Answer:
    """A candidate.

    Attributes:
        text: The words; "" says that the question has no answer.
        score: Start logit plus end logit.
        start: First character in the context.
        end: Last character in the context, exclusive.
    """

    text: str
    score: float
    start: int = 0
    end: int = 0


def find_answers(
    starts: np.ndarray,
    ends: np.ndarray,
    windows: Sequence[Window],
    questions: Sequence[int],
    contexts: Sequence[str],
    unanswerable: bool,
    n_best: int = 1,
) -> list[list[Answer]]:
    """Find the best pieces of text over all windows of each question.

    A candidate begins and ends in the context, begins not after its end, and has at most `MAX_ANSWER_PIECES` word
    pieces; its score is the sum of its two logits. Candidates are compared over windows by score. Every pair is
    looked at, not only those of the twenty best starts and ends that BERT's script combines.

    Where questions may be unanswerable, the score of no answer is that of [CLS] in the window where it is lowest: a
    question has no answer only if no window has one. It is compared after `NO_ANSWER_THRESHOLD` is taken off.

    Args:
        starts: Start logits, [windows, word pieces]; values beyond a window's end are ignored.
        ends: End logits, likewise.
        windows: Where each window's pieces lie.
        questions: Index of each window's question in `contexts`; every question has a window.
        contexts: The texts.
        unanswerable: Whether "no answer" is a candidate.
        n_best: Candidates a question.

    Returns:
        For every question at most `n_best` different answers, the best first.

    Raises:
        ValueError: If a logit of a window is not finite.
    """
    spans: list[dict[tuple[int, int], float]] = [{} for _ in contexts]
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
        for score, first, last in _best_spans(start, end, n_best):
            # Windows overlap, so the same words may come twice.
            span = int(window.offsets[first, 0]), int(window.offsets[last, 1])
            spans[question][span] = max(score, spans[question].get(span, -np.inf))
    found = []
    for context, scores, null in zip(contexts, spans, nothing, strict=True):
        answers = [Answer(context[first:last], score, first, last) for (first, last), score in scores.items()]
        if unanswerable:
            answers.append(Answer("", float(null) - NO_ANSWER_THRESHOLD))
        found.append(heapq.nlargest(n_best, answers, key=lambda answer: answer.score))
    return found


def _best_spans(start: np.ndarray, end: np.ndarray, count: int) -> list[tuple[float, int, int]]:
    """Score, first and last piece of the best candidates of one window."""
    pieces, widths = len(start), min(len(start), MAX_ANSWER_PIECES)
    scores = np.full((widths, pieces), -np.inf)
    for width in range(widths):
        scores[width, : pieces - width] = start[: pieces - width] + end[width:]
    flat = scores.ravel()
    best = [flat.argmax()] if count == 1 else np.argsort(-flat, kind="stable")[:count]
    chosen = [(float(flat[i]), *divmod(int(i), pieces)) for i in best if flat[i] > -np.inf]
    return [(score, first, first + width) for score, width, first in chosen]
