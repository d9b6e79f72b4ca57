"""Questions and contexts to word pieces; a context that is too long becomes several overlapping windows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from transformers import BatchEncoding, PreTrainedTokenizerBase

from xtcq.tasks.dataset import EncodedDataset
from xtcq.tasks.spec import QuestionSpec
from xtcq.tasks.squad.answers import Window, find_answers
from xtcq.tasks.squad.metrics import score_answers

_CLS = 0
_INPUTS = ("input_ids", "token_type_ids", "attention_mask")
# Questions that the tokenizer sees at once: its offsets are Python tuples, which take gigabytes for all of SQuAD.
_CHUNK = 1000


class EncodedQuestions(EncodedDataset):
    """Windows of the questions of one split; one window is one example.

    Args:
        inputs: inputs of the model by name, one array a window.
        windows: where each window's word pieces lie in its context.
        questions: position in the frame of every window's question, rising.
        frame: the questions.
        spec: the task.
    """

    def __init__(
        self,
        inputs: dict[str, list[np.ndarray]],
        windows: list[Window],
        questions: list[int],
        frame: pd.DataFrame,
        spec: QuestionSpec,
    ) -> None:
        spans = [_first_span(answers) for answers in frame["answers"]]
        positions = [_positions(window, spans[row]) for window, row in zip(windows, questions, strict=True)]
        starts, ends = (list(column) for column in zip(*positions, strict=True))
        super().__init__({**inputs, "start_positions": starts, "end_positions": ends})
        self.windows, self.questions = windows, questions
        self._spec = spec
        self._contexts = frame["context"].tolist()
        self._gold = [list(answers["text"]) for answers in frame["answers"]]

    def evaluate(
        self, predictions: tuple[np.ndarray, np.ndarray], labels: Any = None
    ) -> tuple[dict[str, float], list[str]]:
        """Find the best answer to every question, see ``xtcq.tasks.squad.answers.find_answers``, and score them.

        Args:
            predictions: start and end logits of all windows, [windows, word pieces] each; what lies beyond a window's
                end is padding and is ignored.
            labels: positions, which decide nothing: answers are held against the questions' gold texts.

        Returns:
            The metrics, and one text a question, empty where there is no answer.

        Raises:
            ValueError: there are not as many logits as windows and word pieces, or one is not finite.
        """
        starts, ends = (np.asarray(logits) for logits in predictions)
        if not starts.shape == ends.shape or len(starts) != len(self) or starts.shape[1] < max(self.lengths):
            raise ValueError(
                f"task {self._spec.name!r} expects start and end logits of shape ({len(self)}, at least "
                f"{max(self.lengths)}); got {starts.shape} and {ends.shape}"
            )
        unanswerable = self._spec.unanswerable
        answers = find_answers(starts, ends, self.windows, self.questions, self._contexts, unanswerable)
        return score_answers(answers, self._gold, unanswerable), answers


def encode_questions(frame: pd.DataFrame, spec: QuestionSpec, tokenizer: PreTrainedTokenizerBase) -> EncodedQuestions:
    """Encode the questions of one split as ``[CLS] question [SEP] part of the context [SEP]``.

    A context is cut into windows that fill ``spec.max_length`` and overlap by ``spec.stride`` word pieces. The label of
    a window is the first and the last piece of the question's first answer; a window that does not hold the whole
    answer, and a question without one, has the label [CLS], position 0, for both.

    Args:
        frame: questions with the columns ``question``, ``context`` and ``answers``, as
            ``xtcq.tasks.squad.data.checked_questions`` returns them.
        spec: the task.
        tokenizer: a fast BERT tokenizer.

    Returns:
        The windows in the order of the questions, those of one question from left to right.

    Raises:
        ValueError: if a question is so long that a window has no more of its context than two windows share, or a
            context has no word piece.
    """
    questions = frame["question"].tolist()
    # [CLS] and two [SEP] are the rest of a sequence; windows must advance by at least one piece.
    longest = spec.max_length - spec.stride - 4
    lengths = [len(ids) for ids in tokenizer(questions, add_special_tokens=False)["input_ids"]]
    if (most := max(lengths)) > longest:
        row = lengths.index(most)
        raise ValueError(
            f"question {row} of task {spec.name!r} has {most} word pieces, expected at most {longest} for sequences of "
            f"{spec.max_length} that overlap by {spec.stride}; shorten it: {questions[row][:80]!r}"
        )
    inputs: dict[str, list[np.ndarray]] = {name: [] for name in _INPUTS}
    windows: list[Window] = []
    rows: list[int] = []
    for first in range(0, len(frame), _CHUNK):
        encoding = tokenizer(
            questions[first : first + _CHUNK],
            frame["context"].iloc[first : first + _CHUNK].tolist(),
            truncation="only_second",
            max_length=spec.max_length,
            stride=spec.stride,
            padding=False,
            return_overflowing_tokens=True,
            return_offsets_mapping=True,
            return_token_type_ids=True,
            return_attention_mask=True,
        )
        for index, row in enumerate(encoding["overflow_to_sample_mapping"]):
            rows.append(first + row)
            windows.append(_window(encoding, index, rows[-1]))
            for name, values in inputs.items():
                values.append(np.array(encoding[name][index], np.int32))
    return EncodedQuestions(inputs, windows, rows, frame, spec)


def _window(encoding: BatchEncoding, index: int, row: int) -> Window:
    sequences = encoding.sequence_ids(index)
    if 1 not in sequences:
        raise ValueError(f"the context of question {row} has no word piece: remove the question")
    begin = sequences.index(1)
    return Window(begin, np.array(encoding["offset_mapping"][index][begin : len(sequences) - 1], np.int32))


def _first_span(answers: dict[str, list[Any]]) -> tuple[int, int] | None:
    """First and last character, exclusive, of the first answer."""
    if not len(answers["text"]):
        return None
    start = int(answers["answer_start"][0])
    return start, start + len(answers["text"][0])


def _positions(window: Window, span: tuple[int, int] | None) -> tuple[int, int]:
    """Positions of an answer's first and last word piece in a window, or of [CLS]."""
    offsets = window.offsets
    if span is None or span[0] < offsets[0, 0] or span[1] > offsets[-1, 1]:
        return _CLS, _CLS
    # The pieces that have a character of the answer: an answer may begin or end inside a piece.
    inside = np.flatnonzero((offsets[:, 1] > span[0]) & (offsets[:, 0] < span[1]))
    if not inside.size:
        return _CLS, _CLS
    return window.begin + int(inside[0]), window.begin + int(inside[-1])
