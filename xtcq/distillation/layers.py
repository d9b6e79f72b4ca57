"""Which layers a student is cut out of, and which of its layers imitates which (XTC, Tables C.5 to C.7)."""

from __future__ import annotations

import copy
import operator
from collections.abc import Sequence
from dataclasses import dataclass

from transformers import PreTrainedModel

from xtcq.checks import check_choice, check_integer
from xtcq.preflight import check_model
from xtcq.quantization import find_encoder

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

    >>> from xtcq import select_layers
    >>> select_layers("skip", 12, 5)
    (2, 4, 6, 8, 10)
    """
    check_choice("layer selection", selection, SELECTIONS)
    check_integer("depth of the student", student_layers, 1, teacher_layers, ", since it is cut from its teacher")
    if selection == "top":
        return tuple(range(teacher_layers - student_layers, teacher_layers))
    if selection == "bottom":
        return tuple(range(student_layers))
    if 2 * student_layers > teacher_layers:
        # XTC keeps half of the layers at most; its rule would take them one after another here, and skip the top.
        return tuple((i + 1) * teacher_layers // student_layers - 1 for i in range(student_layers))
    stride = teacher_layers // student_layers
    # Layers that do not divide evenly are left out in equal parts at both ends.
    offset = (teacher_layers - stride * student_layers) // 2
    return tuple((i + 1) * stride - 1 + offset for i in range(student_layers))


def check_layers(keep: Sequence[int], depth: int | None = None) -> tuple[int, ...]:
    """Return 0-based layers as a tuple; refuse those that a model, of ``depth`` layers if that is known, does not have.

    Raises:
        ValueError: if it is no list of integers, empty, unsorted, repeats a layer or names one that does not exist.
    """
    try:
        keep = tuple(map(operator.index, keep))
    except TypeError as error:
        raise ValueError(f"layers to keep are {keep!r}, expected a list of 0-based indices ({error})") from error
    rising = all(a < b for a, b in zip(keep, keep[1:], strict=False))
    if not keep or not rising or keep[0] < 0 or (depth is not None and keep[-1] >= depth):
        below = "" if depth is None else f" below the teacher's {depth} layers"
        raise ValueError(f"layers to keep {list(keep)} must be strictly rising 0-based indices{below}.")
    return keep


def reduce_layers(teacher: PreTrainedModel, keep: Sequence[int]) -> PreTrainedModel:
    """Copy a model with only some of its encoder layers; everything else is kept as it is.

    Args:
        teacher: a model with one encoder that ``quantize`` knows, bare or with a head; left unchanged.
        keep: 0-based layers to keep, strictly increasing.

    Returns:
        A new model whose ``config.num_hidden_layers`` is ``len(keep)``.

    Raises:
        ValueError: as ``check_layers``, or if the model is quantized, has another encoder, or has parts that its
            configuration does not give, or is not what that says, see ``xtcq.preflight.check_model``.

    >>> from xtcq import reduce_layers, select_layers
    >>> from transformers import BertConfig, BertModel
    >>> sizes = {"vocab_size": 50, "hidden_size": 8, "num_attention_heads": 2, "intermediate_size": 16}
    >>> student = reduce_layers(BertModel(BertConfig(num_hidden_layers=4, **sizes)), select_layers("skip", 4, 2))
    >>> len(student.encoder.layer)
    2
    """
    check_model(teacher, "teacher")
    _, encoder = find_encoder(teacher)
    keep = check_layers(keep, len(encoder.encoder.layer))
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
    try:
        student.load_state_dict(state, strict=True)
    except RuntimeError as error:
        raise ValueError(
            f"{type(teacher).__name__} has parts that its configuration does not give, and a smaller one is built from "
            f"that: cut the layers of a copy by hand, and set config.num_hidden_layers ({error})"
        ) from error
    student.to(device=teacher.device, dtype=teacher.dtype)  # type: ignore[call-arg]  # transformers wraps the method
    return student.train(teacher.training)


@dataclass(frozen=True)
class LayerMap:
    """Pairs of (student index, teacher index) for the hidden-state and the attention terms.

    Hidden index 0 is the output of the embeddings and index ``i`` the output of layer ``i - 1``, so a model of ``L``
    layers has hidden indices ``0..L`` and attention indices ``0..L-1``.

    Attributes:
        hidden: pairs for the hidden states.
        attention: pairs for the attention scores.

    >>> from xtcq import LayerMap, select_layers
    >>> LayerMap.kept(select_layers("skip", 12, 2))
    LayerMap(hidden=((0, 4), (1, 6), (2, 12)), attention=((0, 5), (1, 11)))
    """

    hidden: tuple[tuple[int, int], ...]
    attention: tuple[tuple[int, int], ...]

    @classmethod
    def uniform(cls, student_layers: int, teacher_layers: int) -> LayerMap:
        """Every k-th teacher layer, k = teacher layers / student layers.

        The rule of TinyBERT, which XTC's public code follows when no layer was removed (DeepSpeedExamples,
        ``compression/bert/util.py`` L206-209): attention of student layer ``i`` learns from teacher layer
        ``i k + k - 1``, hidden state ``i`` from ``i k``.

        Raises:
            ValueError: if the teacher's depth is not a multiple of the student's.
        """
        if student_layers < 1 or teacher_layers < 1 or teacher_layers % student_layers:
            raise ValueError(
                f"no uniform layer map from {student_layers} student layers to {teacher_layers} teacher layers: the "
                "teacher's depth must be a positive multiple of the student's. Name the kept layers instead: "
                "LayerMap.kept([...])."
            )
        k = teacher_layers // student_layers
        return cls(
            hidden=tuple((i, i * k) for i in range(student_layers + 1)),
            attention=tuple((i, i * k + k - 1) for i in range(student_layers)),
        )

    @classmethod
    def kept(cls, keep: Sequence[int]) -> LayerMap:
        """A student made of the teacher's layers ``keep`` learns from exactly those layers.

        Follows XTC's public code (DeepSpeedExamples, ``compression/bert/util.py`` L201-204): hidden state ``i + 1``
        learns from the output of layer ``keep[i]``, and the student's embeddings from hidden state ``keep[0] - 1``.
        For a student that keeps layer 0 the reference reads index -1, the teacher's *last* hidden state; here the
        embeddings then learn from the embeddings.

        Raises:
            ValueError: if ``keep``, 0-based layers, is empty, negative, repeated or unsorted.
        """
        keep = check_layers(keep)
        return cls(
            hidden=((0, max(keep[0] - 1, 0)), *((i + 1, layer + 1) for i, layer in enumerate(keep))),
            attention=tuple(enumerate(keep)),
        )

    def check(self, student_layers: int, teacher_layers: int) -> None:
        """Raise a ValueError if a pair points outside one of the two models."""
        for kind, pairs, extra in (("hidden", self.hidden, 1), ("attention", self.attention, 0)):
            for student, teacher in pairs:
                if not (0 <= student < student_layers + extra and 0 <= teacher < teacher_layers + extra):
                    raise ValueError(
                        f"the {kind} pair (student {student}, teacher {teacher}) does not exist between a student of "
                        f"{student_layers} and a teacher of {teacher_layers} layers. Use LayerMap.uniform or "
                        "LayerMap.kept with layers that both models have."
                    )
