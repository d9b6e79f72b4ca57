"""Which student layer imitates which teacher layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class LayerMap:
    """Pairs of (student index, teacher index) for the hidden-state and the attention terms.

    Hidden index 0 is the output of the embeddings and index ``i`` the output of layer ``i - 1``, so a model of ``L``
    layers has hidden indices ``0..L`` and attention indices ``0..L-1``.

    Attributes:
        hidden: pairs for the hidden states.
        attention: pairs for the attention scores.
    """

    hidden: tuple[tuple[int, int], ...]
    attention: tuple[tuple[int, int], ...]

    @classmethod
    def uniform(cls, student_layers: int, teacher_layers: int) -> LayerMap:
        """Every k-th teacher layer, k = teacher layers / student layers.

        The rule of TinyBERT, which XTC's public code follows when no layer was removed (DeepSpeedExamples,
        ``compression/bert/util.py`` L206-209): attention of student layer ``i`` learns from teacher layer
        ``i k + k - 1``, hidden state ``i`` from ``i k``.

        Args:
            student_layers: number of layers of the student, at least 1.
            teacher_layers: number of layers of the teacher, a multiple of ``student_layers``.

        Returns:
            The map.

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

        Args:
            keep: 0-based teacher layers, strictly increasing.

        Returns:
            The map.

        Raises:
            ValueError: if ``keep`` is empty, negative, repeated or unsorted.
        """
        keep = tuple(keep)
        if not keep or keep[0] < 0 or any(a >= b for a, b in zip(keep, keep[1:], strict=False)):
            raise ValueError(f"kept layers {list(keep)} must be one or more 0-based indices in strictly rising order.")
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
