"""Packed models that classify text with integer arithmetic."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime
from tokenizers import Tokenizer

from xtcq.checks import text_faults
from xtcq.deploy.prepared import INPUTS, prepare

if TYPE_CHECKING:  # a single text waits for no table
    import pandas as pd

# Tokens that are run at once: what an operator writes is still in the processor's caches when the next one reads it.
AT_ONCE = 1024


class TruncationWarning(UserWarning):
    """A text was longer than what the model reads, and lost its end."""


@dataclass(frozen=True)
class Predictions:
    """What a model says of some rows.

    Attributes:
        logits: float32 [rows, labels]; [rows, 1] for regression.
        names: of the labels; empty for regression.
        cut: indices of the rows that were longer than what the model reads.
        multi_label: whether a row may have any number of labels, not one alone.
    """

    logits: np.ndarray
    names: tuple[str, ...]
    cut: tuple[int, ...]
    multi_label: bool = False

    @property
    def probabilities(self) -> np.ndarray:
        """Softmax of the logits, [rows, labels]; for labels that do not exclude each other, a sigmoid each.

        Raises:
            ValueError: the model is a regression, which has none.
        """
        if not self.names:
            raise ValueError("a regression model gives values, no probabilities: read .values")
        if self.multi_label:
            return np.exp(-np.logaddexp(0, -self.logits))
        odds = np.exp(self.logits - self.logits.max(1, keepdims=True))
        return odds / odds.sum(1, keepdims=True)

    @property
    def values(self) -> list[str] | list[tuple[str, ...]] | list[float]:
        """The most probable label of every row; all of at least one half if several may hold; a regression's value."""
        if not self.names:
            return self.logits[:, 0].tolist()
        if self.multi_label:
            return [tuple(name for name, held in zip(self.names, row, strict=True) if held) for row in self.logits >= 0]
        return [self.names[index] for index in self.logits.argmax(1)]

    def to_frame(self) -> pd.DataFrame:
        """Return ``prediction`` and, unless it is a regression, the ``probability`` of that label, one row each.

        Where several labels may hold, ``prediction`` names them all with ", " between, and ``probability_LABEL`` of
        every label follows.
        """
        import pandas as pd

        if self.multi_label:
            columns = dict(zip(probability_columns(self.names, True), self.probabilities.T, strict=True))
            values: list[Any] = list(self.values)
            return pd.DataFrame({"prediction": [", ".join(held) for held in values]} | columns)
        frame = pd.DataFrame({"prediction": self.values})
        return frame.assign(probability=self.probabilities.max(1)) if self.names else frame


def probability_columns(names: tuple[str, ...], multi_label: bool) -> tuple[str, ...]:
    """Return the columns of ``Predictions.to_frame`` that follow ``prediction``; all hold float32."""
    if multi_label:
        return tuple(f"probability_{name}" for name in names)
    return ("probability",) if names else ()


class Runtime:
    """A packed classifier or regressor in onnxruntime, on the CPU.

    It computes what the frozen model computes, with activations as trained; ``export_onnx`` says how near they come.

    Args:
        folder: what ``save_packed`` wrote, with a tokenizer. Every file is checked against its digest.
        weights: "int8" or "matmulnbits", see ``xtcq.deploy.export.export_onnx``.
        threads: of onnxruntime; all physical cores by default.

    Attributes:
        names: of the labels; empty for regression.
        num_texts: of a row, 1 or 2; None where the model does not say it, and both are answered.
        max_length: word pieces that it reads.
        digest: of the packed model and of the graph that was made of it: with another one, it may be another model.

    Errors and warnings are those of ``xtcq.deploy.prepared.prepare``.
    """

    def __init__(self, folder: str | Path, weights: str = "int8", threads: int | None = None) -> None:
        """Load and compile."""
        prepared = prepare(folder, weights)
        self.names, self.multi_label, self.num_texts = prepared.names, prepared.multi_label, prepared.num_texts
        self.max_length, self.digest = prepared.max_length, prepared.digest
        self._shares_scales = prepared.shares_scales
        self._pad_token_id = prepared.pad_token_id
        self._tokenizer = Tokenizer.from_str(prepared.tokenizer)
        self._tokenizer.enable_truncation(self.max_length, direction=prepared.truncation_side)
        options, providers = session_options(threads), ["CPUExecutionProvider"]
        self.session = onnxruntime.InferenceSession(prepared.graph, options, providers=providers)

    def logits(self, inputs: Mapping[str, np.ndarray]) -> np.ndarray:
        """Run one batch; a large one in parts, unless its rows depend on each other.

        Args:
            inputs: ``input_ids``, ``attention_mask`` and ``token_type_ids``, integers [batch, tokens].

        Returns:
            float32 [batch, labels].

        Raises:
            ValueError: inputs that are no integers, or below zero.
        """
        for name in INPUTS:
            given = np.asarray(inputs[name])
            least = given.min(initial=0) if given.dtype.kind in "iub" else given.dtype
            if least != 0:
                raise ValueError(f"{name} holds {least}, expected integers from 0: give what the tokenizer returns")
        batch = {name: np.asarray(inputs[name], np.int64) for name in INPUTS}
        parts = [batch] if self._shares_scales else in_parts(batch)
        return np.concatenate([self.session.run(["logits"], part)[0] for part in parts])

    def check_texts(self, given: int) -> None:
        """Refuse, by a ValueError, pairs for a model of single texts, and single texts for one of pairs."""
        if self.num_texts not in (None, given):
            raise ValueError(
                "the model reads single texts, and pairs were given: leave out the second texts"
                if given == 2
                else "the model reads pairs of texts, and one text was given: give the second by pairs, --pair or "
                "--pair-column"
            )

    def predict(self, texts: Sequence[str], pairs: Sequence[str] | None = None, batch_size: int = 32) -> Predictions:
        """Classify texts, or pairs of texts.

        Rows are batched by length, so that short ones are not padded to long ones. Models whose activations share one
        scale per tensor (recipe "ternarybert") give a row values that depend, a little, on its batch.

        Args:
            texts: one per row.
            pairs: the second text of every row, if the model was trained on pairs.
            batch_size: rows that are run together.

        Raises:
            ValueError: no sequence, no texts, a text that is empty or no text, as many pairs as texts are not there,
                pairs for a model of single texts or none for one of pairs, or batch_size below 1.

        Warns:
            TruncationWarning: rows are longer than ``max_length`` word pieces; what is beyond is cut, as in training.
        """
        for column in (texts, pairs):
            if isinstance(column, str):
                raise ValueError("expected a sequence of texts, found one: write [text]")
            # A list of a table or a dictionary is one of its names, and a set has no order.
            if isinstance(column, Mapping | Set | Iterator) or hasattr(column, "columns"):
                found = type(column).__name__
                raise ValueError(f"expected a sequence of texts, found a {found}: give a list, or one column")
        self.check_texts(1 if pairs is None else 2)
        if len(texts) == 0:
            raise ValueError("there are no texts: give at least one")
        if pairs is not None and len(pairs) != len(texts):
            raise ValueError(f"there are {len(texts)} texts and {len(pairs)} pairs: give one pair to every text")
        if batch_size < 1:
            raise ValueError(f"batch_size is {batch_size}, expected at least 1")
        texts, pairs = list(texts), None if pairs is None else list(pairs)  # of a Series by position
        for role, column in (("texts", texts), ("pairs", pairs or [])):
            for row, fault in text_faults(column):
                raise ValueError(f"{role}[{row}] is {column[row]!r}, expected a text that is not empty: it {fault}")
        given = texts if pairs is None else list(zip(texts, pairs, strict=True))
        encodings = self._tokenizer.encode_batch(given)
        cut = tuple(row for row, one in enumerate(encodings) if one.overflowing)
        if cut:
            warnings.warn(
                f"{len(cut)} of {len(texts)} rows are longer than the model's {self.max_length} word pieces and were "
                f"cut, the first of them row {cut[0]}",
                TruncationWarning,
                stacklevel=2,
            )
        order = np.argsort([len(one) for one in encodings], kind="stable")
        logits = np.empty((len(texts), max(len(self.names), 1)), np.float32)
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            batch = [encodings[row] for row in rows]
            for one in batch:
                one.pad(len(batch[-1]), pad_id=self._pad_token_id)
            inputs = zip(*((one.ids, one.attention_mask, one.type_ids) for one in batch), strict=True)
            logits[rows] = self.logits(dict(zip(INPUTS, map(np.array, inputs), strict=True)))
        return Predictions(logits, self.names, cut, self.multi_label)


def in_parts(batch: Mapping[str, np.ndarray]) -> list[dict[str, np.ndarray]]:
    """Split a batch, arrays [rows, tokens], into parts of at most ``AT_ONCE`` tokens, or of one row."""
    rows, tokens = next(iter(batch.values())).shape
    count = -(-rows // max(1, AT_ONCE // max(1, tokens)))
    if count < 2:  # a short text does not wait for what it does not need
        return [dict(batch)]
    split = zip(*(np.array_split(values, count) for values in batch.values()), strict=True)
    return [dict(zip(batch, part, strict=True)) for part in split]


def session_options(threads: int | None) -> onnxruntime.SessionOptions:
    """Options of an onnxruntime session: its threads, all physical cores by default, and errors alone in its log."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = threads or 0, 3  # errors
    return options


def predict_text(runtime: Runtime, text: str, pair: str | None, as_json: bool) -> str:
    """Classify one text, or pair of texts, and return a line to print: label and probability, or the value.

    Where several labels may hold, the line has every label with its probability. With ``as_json``, it is an object of
    ``prediction`` and, unless the model is a regression, the ``probabilities`` of all labels. Errors and warnings are
    those of ``Runtime.predict``.
    """
    predictions = runtime.predict([text], None if pair is None else [pair])
    (value,) = predictions.values
    if not runtime.names:
        return json.dumps({"prediction": value}) if as_json else f"{value:.4f}"
    odds = dict(zip(runtime.names, predictions.probabilities[0].tolist(), strict=True))
    if as_json:
        found: dict[str, Any] = {"prediction": value}
        if not runtime.multi_label:
            found["probability"] = max(odds.values())
        return json.dumps(found | {"probabilities": odds})
    if runtime.multi_label:
        return "  ".join(f"{name} {probability:.4f}" for name, probability in odds.items())
    return f"{value}  {max(odds.values()):.4f}"
