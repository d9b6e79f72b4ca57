"""Training plans: lists of stages, each one schedule of its own (XTC, Appendix B.1 and Figure 4)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from xtcq.checks import check_positive
from xtcq.distillation.losses import TERMS

_LABELS = ("labels",)


@dataclass(frozen=True)
class Stage:
    """One call of the trainer: a loss, a length, and a learning-rate schedule that starts anew.

    Attributes:
        name: shown in records and figures.
        terms: ``("labels",)`` for plain fine-tuning, otherwise distillation terms.
        epochs: passes over the training set, fractions allowed.
        lr_factor: peak learning rate of this stage over the experiment's.
        explores: whether bit-widths are learned in this stage; it learns from the labels then, since distillation
            would interfere (AdaQAT-BERT, section 3.3.1).

    >>> from xtcq import Stage
    >>> Stage("logits", ("logits",), epochs=3).distils
    True
    """

    name: str
    terms: tuple[str, ...]
    epochs: float
    lr_factor: float = 1.0
    explores: bool = False

    def __post_init__(self) -> None:
        """Refuse impossible values, each by its name."""
        if not self.terms or set(self.terms).difference(_LABELS, TERMS):
            raise ValueError(
                f"stage {self.name!r}: terms {list(self.terms)} must be one or more of {', '.join(_LABELS + TERMS)}."
            )
        if "labels" in self.terms and len(self.terms) > 1:
            raise ValueError(
                f"stage {self.name!r}: 'labels' is plain fine-tuning and cannot be mixed with distillation."
            )
        if self.explores and self.distils:
            raise ValueError(
                f"stage {self.name!r}: terms {list(self.terms)} distil, and bit-widths are explored with ('labels',); "
                "distil in the stages after it."
            )
        for field, value in (("epochs", self.epochs), ("lr_factor", self.lr_factor)):
            check_positive(f"stage {self.name!r}: {field}", value)

    @property
    def distils(self) -> bool:
        """Whether the stage needs a teacher."""
        return self.terms != _LABELS


def finetune(epochs: float) -> list[Stage]:
    """Plain fine-tuning on the labels, for ``epochs`` passes over the training set.

    >>> from xtcq import finetune
    >>> finetune(3)
    [Stage(name='fine-tune', terms=('labels',), epochs=3, lr_factor=1.0, explores=False)]
    """
    return [Stage("fine-tune", _LABELS, epochs)]


def one_stage(epochs: float) -> list[Stage]:
    """1S-KD: hidden states, attention and logits together in one stage of ``epochs`` passes over the training set.

    >>> from xtcq import one_stage
    >>> one_stage(18)[0].terms
    ('hidden', 'attention', 'logits')
    """
    return [Stage("hidden+attention+logits", TERMS, epochs)]


def two_stage(epochs: float) -> list[Stage]:
    """2S-KD: hidden states and attention at 2.5 times the learning rate, then logits.

    XTC compares its plans at one training cost; how that cost is shared among the stages is not printed in the
    appendix. Here the stages share the ``epochs``, passes over the training set, equally.

    >>> from xtcq import two_stage
    >>> [(stage.name, stage.epochs, stage.lr_factor) for stage in two_stage(18)]
    [('hidden+attention', 9.0, 2.5), ('logits', 9.0, 1.0)]
    """
    return [
        Stage("hidden+attention", ("hidden", "attention"), epochs / 2, lr_factor=2.5),
        Stage("logits", ("logits",), epochs / 2),
    ]


def three_stage(epochs: float) -> list[Stage]:
    """3S-KD: 2S-KD with a transition in the middle that uses all three terms.

    Each stage has a third of the ``epochs``, passes over the training set, and only the first the factor 2.5 on the
    learning rate.

    >>> from xtcq import three_stage
    >>> [stage.name for stage in three_stage(18)]
    ['hidden+attention', 'hidden+attention+logits', 'logits']
    """
    return [
        Stage("hidden+attention", ("hidden", "attention"), epochs / 3, lr_factor=2.5),
        Stage("hidden+attention+logits", TERMS, epochs / 3),
        Stage("logits", ("logits",), epochs / 3),
    ]


def explore_then_refine(refine: Callable[[float], list[Stage]], epochs: float, share: float = 0.5) -> list[Stage]:
    """AdaQAT's two phases: bit-widths are explored on the labels, then kept while another plan trains the weights.

    The exploration ends when all widths are frozen, or with its share. The refinement is as long either way, so that
    students whose widths froze early are not trained longer with them. The exploration's learning rate decays over all
    of its epochs, however many it takes.

    Args:
        refine: plan of the second phase; ``one_stage`` is AdaQAT-BERT's, Equations 8 to 10.
        epochs: passes over the training set of both phases together.
        share: part of it that exploration may use; the rest is the refinement's.

    >>> from xtcq import explore_then_refine, one_stage
    >>> [(stage.name, stage.epochs) for stage in explore_then_refine(one_stage, 6, share=0.25)]
    [('explore', 1.5), ('hidden+attention+logits', 4.5)]
    """
    return [Stage("explore", _LABELS, epochs * share, explores=True), *refine(epochs * (1 - share))]


PLANS: dict[str, Callable[[float], list[Stage]]] = {
    "finetune": finetune,
    "one-stage": one_stage,
    "two-stage": two_stage,
    "three-stage": three_stage,
}
