"""A teacher whose outputs are computed once an example, however often the student sees it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import PreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutput

from xtcq.distillation import DistillationLoss
from xtcq.tasks.dataset import EncodedDataset

# Bytes for the runs of a machine together; each of those side by side has its share.
LIMIT = 4 * 2**30


class RememberedTeacher:
    """Called like the teacher; returns what the loss reads of its output, remembered where it fits.

    A teacher in evaluation mode makes the same of an example in every epoch, within rounding: other padding and other
    sentences around it only change the order of sums. Remembered outputs are all computed at the first call, in
    batches that depend on nothing but the examples, so that a resumed run meets the same ones. The shortest examples
    come first, for they save most per byte; those that no longer fit go through the teacher every time.

    An example of t tokens takes 4 t (H h + a n t) bytes in float32, for H hidden states of h features and a layers of
    n heads whose scores are compared: 0.15 MB at 11 tokens and 1.4 MB at 52 for MiniLM's six layers.

    Args:
        teacher: a classifier in evaluation mode, on the CPU.
        loss: what the outputs are for; its layer map says which layers are kept.
        examples: those of the training set, padded on the right by `collate`.
        collate: makes a batch of a list of examples.
        limit: bytes that may be kept.
    """

    def __init__(
        self,
        teacher: PreTrainedModel,
        loss: DistillationLoss,
        examples: EncodedDataset,
        collate: Callable[[list[dict[str, Any]]], dict[str, Tensor]],
        limit: int = LIMIT,
    ) -> None:
        self._teacher, self._examples, self._collate = teacher, examples, collate
        self._limit = limit
        layer_map = loss.layer_map
        self._wanted = {
            "hidden_states": sorted({layer for _, layer in layer_map.hidden}) if "hidden" in loss.terms else [],
            "attentions": sorted({layer for _, layer in layer_map.attention}) if "attention" in loss.terms else [],
        }
        self._rows: dict[tuple[bytes, ...], dict[str, Tensor]] | None = None

    @torch.no_grad()
    def __call__(self, attention_mask: Tensor, **inputs: Any) -> SequenceClassifierOutput:
        """Return logits, and tuples of layers with None for those that the loss does not read and zeros as padding."""
        inputs = {name: value for name, value in inputs.items() if isinstance(value, Tensor)}
        if self._rows is None:
            self._rows = self._shortest(list(inputs))
        keys = _keys(attention_mask, inputs)
        missing = [i for i, key in enumerate(keys) if key not in self._rows]
        made: dict[int, dict[str, Tensor]] = {}
        if missing:
            batch = {name: value[missing] for name, value in inputs.items()}
            made = dict(zip(missing, self._outputs(attention_mask[missing], batch), strict=True))
        rows = [made[i] if i in made else self._rows[key] for i, key in enumerate(keys)]
        rooms = (attention_mask.size(1) - attention_mask.sum(dim=1)).tolist()
        output = SequenceClassifierOutput(logits=torch.stack([row["logits"] for row in rows]))
        for name, layers in self._wanted.items():
            if layers:
                padded = [_widened(name, row[name], room) for row, room in zip(rows, rooms, strict=True)]
                by_layer = dict(zip(layers, torch.stack(padded, dim=1), strict=True))
                output[name] = tuple(by_layer.get(layer) for layer in range(layers[-1] + 1))
        return output

    def _shortest(self, names: list[str]) -> dict[tuple[bytes, ...], dict[str, Tensor]]:
        """The outputs of as many examples as the limit allows."""
        kept: dict[tuple[bytes, ...], dict[str, Tensor]] = {}
        size = 0
        order = sorted(range(len(self._examples)), key=self._examples.lengths.__getitem__)
        for start in range(0, len(order), 32):
            batch = self._collate([self._examples[i] for i in order[start : start + 32]])
            mask, inputs = batch["attention_mask"], {name: batch[name] for name in names}
            for key, row in zip(_keys(mask, inputs), self._outputs(mask, inputs), strict=True):
                size += sum(value.nbytes for value in row.values())
                if size > self._limit:
                    return kept
                kept[key] = row
        return kept

    def _outputs(self, mask: Tensor, inputs: dict[str, Tensor]) -> list[dict[str, Tensor]]:
        """Every example's logits, hidden states [layers, tokens, hidden], scores [layers, heads, tokens, tokens]."""
        asked = {f"output_{name}": bool(layers) for name, layers in self._wanted.items()}
        output = self._teacher(**inputs, attention_mask=mask, **asked)
        rows = [{"logits": logits.clone()} for logits in output.logits]
        rooms = (mask.size(1) - mask.sum(dim=1)).tolist()
        for name, layers in self._wanted.items():
            if layers:
                stacked = torch.stack([output[name][layer] for layer in layers], dim=1)
                for row, value, room in zip(rows, stacked, rooms, strict=True):
                    row[name] = _widened(name, value, -room)
        return rows


def _widened(name: str, value: Tensor, by: int) -> Tensor:
    """A copy with so many more tokens, or less."""
    return F.pad(value, (0, 0, 0, by) if name == "hidden_states" else (0, by, 0, by))


def _keys(mask: Tensor, inputs: dict[str, Tensor]) -> list[tuple[bytes, ...]]:
    """What tells an example from others: its inputs without padding."""
    lengths = mask.sum(dim=1).tolist()
    return [tuple(value[i, :n].numpy().tobytes() for value in inputs.values()) for i, n in enumerate(lengths)]
