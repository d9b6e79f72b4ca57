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
    """The questions of one split as ``[CLS] question [SEP] part of the context [SEP]``; one window is one example.

    A context is cut into windows that fill ``spec.max_length`` and overlap by ``spec.stride`` word pieces. The label of
    a window is the first and the last piece of the question's first answer; a window that does not hold the whole
    answer, and a question without one, has the label [CLS], position 0, for both. Windows are in the order of the
    questions, those of one question from left to right.

    Args:
        frame: questions with the columns ``question``, ``context`` and ``answers``, as
            ``xtcq.tasks.squad.data.checked_questions`` returns them.
        spec: the task.
        tokenizer: a fast BERT tokenizer.

    Raises:
        ValueError: if a question is so long that a window has no more of its context than two windows share, or a
            context has no word piece.
    """

    def __init__(self, frame: pd.DataFrame, spec: QuestionSpec, tokenizer: PreTrainedTokenizerBase) -> None:
        self._spec = spec
        self._contexts = frame["context"].tolist()
        self._gold = [list(answers["text"]) for answers in frame["answers"]]
        # Where each window's word pieces lie in its context, and the row of its question.
        self._windows: list[Window] = []
        self.questions: list[int] = []
        questions = frame["question"].tolist()
        # [CLS] and two [SEP] are the rest of a sequence; windows must advance by at least one piece.
        longest = spec.max_length - spec.stride - 4
        lengths = [len(ids) for ids in tokenizer(questions, add_special_tokens=False)["input_ids"]]
        if (most := max(lengths)) > longest:
            row = lengths.index(most)
            raise ValueError(
                f"question {row} of task {spec.name!r} has {most} word pieces, expected at most {longest} for "
                f"sequences of {spec.max_length} that overlap by {spec.stride}; shorten it: {questions[row][:80]!r}"
            )
        inputs: dict[str, list[np.ndarray]] = {name: [] for name in _INPUTS}
        for first in range(0, len(frame), _CHUNK):
            encoding = tokenizer(
                questions[first : first + _CHUNK],
                self._contexts[first : first + _CHUNK],
                truncation="only_second",
                max_length=spec.max_length,
                stride=spec.stride,
                return_overflowing_tokens=True,
                return_offsets_mapping=True,
                return_token_type_ids=True,
                return_attention_mask=True,
            )
            for index, row in enumerate(encoding["overflow_to_sample_mapping"]):
                self.questions.append(first + row)
                self._windows.append(_window(encoding, index, first + row))
                for name, values in inputs.items():
                    values.append(np.array(encoding[name][index], np.int32))
        answers = frame["answers"].tolist()
        labels = [_positions(window, answers[row]) for window, row in zip(self._windows, self.questions, strict=True)]
        starts, ends = (list(column) for column in zip(*labels, strict=True))
        super().__init__({**inputs, "start_positions": starts, "end_positions": ends})

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
        answers = find_answers(starts, ends, self._windows, self.questions, self._contexts, unanswerable)
        return score_answers(answers, self._gold, unanswerable), answers


def _window(encoding: BatchEncoding, index: int, row: int) -> Window:
    sequences = encoding.sequence_ids(index)
    if 1 not in sequences:
        raise ValueError(f"the context of question {row} has no word piece: remove the question")
    begin = sequences.index(1)
    return Window(begin, np.array(encoding["offset_mapping"][index][begin : len(sequences) - 1], np.int32))


def _positions(window: Window, answers: dict[str, list[Any]]) -> tuple[int, int]:
    """Positions of the first answer's first and last word piece in a window, or of [CLS]."""
    if not len(answers["text"]):
        return _CLS, _CLS
    offsets, start = window.offsets, int(answers["answer_start"][0])
    end = start + len(answers["text"][0])
    if start < offsets[0, 0] or end > offsets[-1, 1]:
        return _CLS, _CLS
    # The pieces that have a character of the answer: an answer may begin or end inside a piece.
    inside = np.flatnonzero((offsets[:, 1] > start) & (offsets[:, 0] < end))
    if not inside.size:
        return _CLS, _CLS
    return window.begin + int(inside[0]), window.begin + int(inside[-1])
