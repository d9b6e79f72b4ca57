"""Layer reduction: a shallower student cut out of its teacher (XTC, Tables C.5 to C.7)."""

from __future__ import annotations

import copy
from collections.abc import Sequence

from torch import nn
from transformers import PreTrainedModel

SELECTIONS = ("skip", "top", "bottom")


def select_layers(selection: str, teacher_layers: int, student_layers: int) -> tuple[int, ...]:
    """List the teacher layers that a student of a given depth keeps.

    ``skip`` keeps evenly spaced layers: 12 to 6 is 1, 3, ..., 11 and 12 to 5 is 2, 4, ..., 10, the lists of XTC's
    public configuration (DeepSpeedExamples, ``compression/bert/config/XTC/ds_config_layer_reduction_fp16.json``;
    DeepSpeed, ``docs/_pages/config-json.md`` L1803). No list for 4 layers was published; the same rule gives 2, 5, 8,
    11.

    Args:
        selection: ``"skip"``, ``"top"`` (the last layers) or ``"bottom"`` (the first).
        teacher_layers: depth of the teacher.
        student_layers: depth of the student, from 1 to the teacher's.

    Returns:
        0-based indices in rising order.

    Raises:
        ValueError: for an unknown selection or an impossible depth.
    """
    if not 1 <= student_layers <= teacher_layers:
        raise ValueError(
            f"a student of {student_layers} layers cannot be cut from {teacher_layers}: ask for 1 to {teacher_layers}."
        )
    if selection == "top":
        return tuple(range(teacher_layers - student_layers, teacher_layers))
    if selection == "bottom":
        return tuple(range(student_layers))
    if selection == "skip":
        if 2 * student_layers > teacher_layers:
            # XTC keeps half of the layers at most; its rule would take them one after another here, and skip the top.
            return tuple((i + 1) * teacher_layers // student_layers - 1 for i in range(student_layers))
        stride = teacher_layers // student_layers
        # Layers that do not divide evenly are left out in equal parts at both ends.
        offset = (teacher_layers - stride * student_layers) // 2
        return tuple((i + 1) * stride - 1 + offset for i in range(student_layers))
    raise ValueError(f"layer selection {selection!r} is unknown: use one of {', '.join(SELECTIONS)}.")


def check_layers(keep: Sequence[int], depth: int) -> tuple[int, ...]:
    """Refuse layers that a model of a given depth does not have, or that are not in order.

    Args:
        keep: 0-based layers.
        depth: number of layers of the model that they are taken from.

    Returns:
        The layers as a tuple.

    Raises:
        ValueError: if the list is empty, unsorted, repeats a layer or names one that does not exist.
    """
    keep = tuple(keep)
    rising = all(a < b for a, b in zip(keep, keep[1:], strict=False))
    if not keep or not rising or keep[0] < 0 or keep[-1] >= depth:
        raise ValueError(
            f"layers to keep {list(keep)} must be strictly rising 0-based indices below the teacher's {depth} layers."
        )
    return keep


def reduce_layers(teacher: PreTrainedModel, keep: Sequence[int]) -> PreTrainedModel:
    """Copy a model with only some of its encoder layers; everything else is kept as it is.

    Args:
        teacher: a BERT model, bare or with a head; left unchanged.
        keep: 0-based layers to keep, strictly increasing.

    Returns:
        A new model whose ``config.num_hidden_layers`` is ``len(keep)``.

    Raises:
        ValueError: if the list is empty, unsorted, repeats a layer or names one that does not exist, or if the model
            is quantized.
    """
    keep = check_layers(keep, teacher.config.num_hidden_layers)
    if hasattr(teacher, "quant_config"):
        raise ValueError(f"{type(teacher).__name__} is quantized: reduce the floating-point model, then quantize")
    config = copy.deepcopy(teacher.config)
    config.num_hidden_layers = len(keep)
    student = type(teacher)(config)
    # The deeper state dict is renumbered rather than the module copied: a module that has recorded its hidden states
    # carries hooks that can be neither copied nor pickled.
    new_index = {old: new for new, old in enumerate(keep)}
    state = {}
    for name, value in teacher.state_dict().items():
        head, found, tail = name.partition("encoder.layer.")
        if found:
            old, _, rest = tail.partition(".")
            if int(old) not in new_index:
                continue
            name = f"{head}{found}{new_index[int(old)]}.{rest}"
        state[name] = value
    student.load_state_dict(state, strict=True)
    return _like(student, teacher)


def _like(student: PreTrainedModel, teacher: nn.Module) -> PreTrainedModel:
    first = next(teacher.parameters())
    return student.to(device=first.device, dtype=first.dtype).train(teacher.training)
