"""SQuAD's two metrics, exact match and F1 over words, as its official evaluation scripts define them.

The scripts of v1.1 and v2.0 (``evaluate-v1.1.py`` and ``evaluate-v2.0.py``, distributed with the data set) differ where
an answer has no word left after normalization, such as "The": v2.0 disregards such a gold answer and counts two empty
answers as equal, v1.1 gives them an exact match and an F1 of 0.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence

_PUNCTUATION = str.maketrans("", "", string.punctuation)
_ARTICLES = re.compile(r"\b(a|an|the)\b")


def normalize_answer(text: str) -> str:
    """Reduce an answer to what is compared.

    That is the text in lower case, without ASCII punctuation, then without the words "a", "an" and "the", its words
    joined by single blanks. Punctuation goes without a trace, so "well-known" becomes one word.
    """
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def score_answer(prediction: str, gold: Sequence[str], unanswerable: bool) -> tuple[float, float]:
    """Score one answer by the gold answer that it fits best, for each metric.

    Args:
        prediction: the answer; "" says that there is none.
        gold: texts of the gold answers.
        unanswerable: whether the rules are those of SQuAD v2.0, where ``gold`` may be empty.

    Returns:
        Exact match, 0 or 1, and F1 between 0 and 1.

    Raises:
        ValueError: if there is no gold answer and the rules are those of v1.1.
    """
    truths = [normalize_answer(text) for text in gold]
    if unanswerable:
        truths = [truth for truth in truths if truth] or [""]
    if not truths:
        raise ValueError("a question has no gold answer, which only SQuAD v2.0 allows: use a task of v2.0")
    answer = normalize_answer(prediction)
    return float(answer in truths), max(_f1(answer, truth, unanswerable) for truth in truths)


def score_answers(
    predictions: Sequence[str], gold: Sequence[Sequence[str]], unanswerable: bool = False
) -> dict[str, float]:
    """Score the answers to all questions.

    Args:
        predictions: one answer a question; "" says that there is none.
        gold: texts of the gold answers of every question.
        unanswerable: whether the rules are those of SQuAD v2.0.

    Returns:
        ``f1`` and ``exact_match``, means over the questions, in per cent.

    Raises:
        ValueError: if there is no question, not one answer a question, or a question without gold answer in v1.1.

    >>> from xtcq.tasks import score_answers
    >>> score_answers(["the red fox"], [["a red fox", "fox"]])
    {'f1': 100.0, 'exact_match': 100.0}
    """
    if not gold or len(predictions) != len(gold):
        raise ValueError(f"expected one answer a question, at least one; got {len(predictions)} for {len(gold)}")
    scores = [score_answer(*pair, unanswerable) for pair in zip(predictions, gold, strict=True)]
    exact, f1 = (100.0 * sum(values) / len(scores) for values in zip(*scores, strict=True))
    return {"f1": f1, "exact_match": exact}


def _f1(answer: str, truth: str, unanswerable: bool) -> float:
    found, wanted = answer.split(), truth.split()
    if unanswerable and not (found and wanted):
        return float(found == wanted)
    common = (Counter(found) & Counter(wanted)).total()
    if common == 0:
        return 0.0
    precision, recall = common / len(found), common / len(wanted)
    return 2 * precision * recall / (precision + recall)
