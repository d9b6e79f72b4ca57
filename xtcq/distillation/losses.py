"""The three distillation terms of XTC (Appendix B.1) and their sum over a layer map.

The same terms are equations 8 to 10 of AdaQAT-BERT, both inherited from TernaryBERT. Padding carries no information, so
it is left out of every mean; the public codes either keep it (DeepSpeedExamples ``compression/bert/util.py`` L175-224,
where masked scores near -10000 still differ) or set it to zero but divide by it (TernaryBERT ``quant_task_glue.py``
L386-399).

A batch without a single real token has nothing to teach: its hidden and attention terms and their gradients are 0, not
the 0/0 that would turn every weight into NaN. It is not refused, since looking for it would halt a GPU in every layer.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from functools import reduce

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PretrainedConfig
from transformers.utils import ModelOutput

from xtcq.checks import check_choice
from xtcq.distillation.layers import LayerMap
from xtcq.outputs import CLASSES, MULTI_LABEL, REGRESSION, problem_type
from xtcq.quantization import ATTENTION_NAME, compute_dtype

# What a student can learn from its teacher.
TERMS = ("hidden", "attention", "logits")


def _wide(x: Tensor) -> Tensor:
    """Half precision as float32: squares and sums of small differences need its digits."""
    return x.to(compute_dtype(x.dtype))


def _check_shapes(what: str, student: Tensor, teacher: Tensor, mask: Tensor, expected: torch.Size) -> None:
    if student.shape != teacher.shape:
        raise ValueError(f"{what} of shape {(*student.shape,)} and {(*teacher.shape,)}: expected two of one shape")
    if mask.shape != expected:
        raise ValueError(
            f"the mask has shape {(*mask.shape,)} for {what} of shape {(*student.shape,)}, expected {(*expected,)}: "
            "give the tokenizer's attention_mask, not extended"
        )


def hidden_loss(student: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
    """Mean squared difference of two hidden states over the real tokens.

    L_hidden = MSE(H_S, H_T) (XTC, Appendix B.1).

    Args:
        student: ``[batch, tokens, hidden]``.
        teacher: same shape.
        mask: ``[batch, tokens]``, 1 for a real token and 0 for padding.

    Returns:
        A scalar; 0 where no token is real.

    Raises:
        ValueError: other shapes, which would be broadcast to another mean.

    >>> import torch
    >>> from xtcq import hidden_loss
    >>> teacher = torch.zeros(1, 3, 2)
    >>> student = torch.tensor([[[1.0, 1.0], [2.0, 2.0], [9.0, 9.0]]])
    >>> float(hidden_loss(student, teacher, torch.tensor([[1, 1, 0]])))
    2.5
    """
    _check_shapes("hidden states", student, teacher, mask, student.shape[:2])
    per_token = F.mse_loss(_wide(student), _wide(teacher), reduction="none").mean(dim=-1)
    mask = mask.to(per_token.dtype)
    return (per_token * mask).sum() / mask.sum().clamp(min=1)


def attention_loss(student: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
    """Mean squared difference of two score tensors over heads and pairs of real tokens.

    L_att = 1/h sum_i MSE(A_S^i, A_T^i) (XTC, Appendix B.1), on the scores before softmax, as in TernaryBERT and in
    XTC's public code (DeepSpeedExamples ``compression/bert/huggingface_transformer/modeling_bert.py`` L325-331).

    Args:
        student: attention scores ``[batch, heads, tokens, tokens]``, without the padding mask added.
        teacher: same shape.
        mask: ``[batch, tokens]``, 1 for a real token and 0 for padding.

    Returns:
        A scalar; 0 where no token is real.

    Raises:
        ValueError: other shapes, which would be broadcast to another mean.

    >>> import torch
    >>> from xtcq import attention_loss
    >>> teacher = torch.zeros(1, 2, 3, 3)
    >>> student = torch.ones(1, 2, 3, 3)
    >>> float(attention_loss(student, teacher, torch.tensor([[1, 1, 0]])))
    1.0
    """
    _check_shapes("attention scores", student, teacher, mask, student.shape[::3])
    per_pair = F.mse_loss(_wide(student), _wide(teacher), reduction="none").mean(dim=1)
    mask = mask.to(per_pair.dtype)
    real_pairs = mask.unsqueeze(2) * mask.unsqueeze(1)
    return (per_pair * real_pairs).sum() / real_pairs.sum().clamp(min=1)


def logit_loss(student: Tensor, teacher: Tensor, problem_type: str | None = None) -> Tensor:
    """Soft cross-entropy of the student's class probabilities to the teacher's, or MSE for regression.

    L_logit = CE(p_S, p_T) (XTC, Appendix B.1), temperature 1. XTC's public code averages over the classes too, which
    divides this value by their number (DeepSpeedExamples ``compression/bert/util.py`` L68-71). Labels that do not
    exclude each other have a probability each, and the mean of their binary cross-entropies is taken, as in the loss on
    labels of transformers' ``BertForSequenceClassification``.

    Args:
        student: ``[batch, classes]``.
        teacher: same shape.
        problem_type: what the logits mean, by transformers' names; ``xtcq.outputs.problem_type(model.config)`` reads
            it from a model.

    Returns:
        A scalar, the mean over the batch.

    Raises:
        ValueError: the problem type is unknown or not given: numbers alone do not say it, and the loss of classes would
            teach nothing of labels that may all hold at once.

    >>> import torch
    >>> from xtcq import logit_loss
    >>> undecided, sure = torch.tensor([[0.0, 0.0]]), torch.tensor([[30.0, 0.0]])
    >>> round(float(logit_loss(undecided, sure, "single_label_classification")), 4)  # log 2
    0.6931
    >>> round(float(logit_loss(undecided, sure, "multi_label_classification")), 4)  # log 2 for both
    0.6931
    """
    student, teacher = _wide(student), _wide(teacher)
    check_choice("problem_type of the logits", problem_type, (CLASSES, MULTI_LABEL, REGRESSION))
    if problem_type == REGRESSION:
        return F.mse_loss(student, teacher)
    if problem_type == MULTI_LABEL:
        return F.binary_cross_entropy_with_logits(student, teacher.sigmoid())
    return F.cross_entropy(student, teacher.softmax(dim=-1))


def position_loss(student: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
    """Soft cross-entropy of the student's distribution over positions to the teacher's, both ``[batch, tokens]``.

    The logit term of question answering, for the start or the end of an answer: the mean over the batch, where real
    tokens alone have a part. AdaQAT-BERT's public code takes the softmax over padding too and divides by the number of
    positions (cgernigon/AdaQAT ``quant_task_squad.py``).
    """
    student, teacher, padding = _wide(student), _wide(teacher), mask == 0
    lowest = torch.finfo(student.dtype).min
    log_student = student.masked_fill(padding, lowest).log_softmax(dim=-1)
    target = teacher.masked_fill(padding, lowest).softmax(dim=-1)
    # Zero times the logarithm of nothing would be no number.
    return -(target * log_student).masked_fill(padding, 0).sum(dim=-1).mean()


def output_loss(student: ModelOutput, teacher: ModelOutput, mask: Tensor, problem_type: str | None = None) -> Tensor:
    """Logit term of whatever head two outputs have: of start and end positions the mean, as in the loss on labels."""
    if "start_logits" not in student:
        return logit_loss(student["logits"], teacher["logits"], problem_type)
    sides = [position_loss(student[name], teacher[name], mask) for name in ("start_logits", "end_logits")]
    return torch.stack(sides).mean()


class DistillationLoss(nn.Module):
    """Sum, with weight 1 each, of the chosen terms over a layer map.

    Args:
        terms: some of ``"hidden"``, ``"attention"``, ``"logits"``.
        layer_map: the pairs that the hidden and attention terms run over.
        problem_type: as in ``logit_loss``; needed for the logits of a classifier or a regression.

    Raises:
        ValueError: if there is no term, or one is unknown.

    >>> import torch
    >>> from xtcq import DistillationLoss, LayerMap
    >>> from transformers.utils import ModelOutput
    >>> loss = DistillationLoss(("hidden", "logits"), LayerMap.uniform(1, 2), "single_label_classification")
    >>> student = ModelOutput(logits=torch.zeros(1, 2), hidden_states=(torch.zeros(1, 3, 4),) * 2)
    >>> teacher = ModelOutput(logits=torch.zeros(1, 2), hidden_states=(torch.ones(1, 3, 4),) * 3)
    >>> total, parts = loss(student, teacher, torch.ones(1, 3))
    >>> {name: round(float(part), 4) for name, part in parts.items()}
    {'hidden': 2.0, 'logits': 0.6931}
    """

    def __init__(self, terms: Iterable[str], layer_map: LayerMap, problem_type: str | None = None) -> None:
        super().__init__()
        self.problem_type = problem_type
        self.terms = tuple(terms)
        unknown = [term for term in self.terms if term not in TERMS]
        if unknown or not self.terms:
            raise ValueError(f"distillation terms {list(self.terms)} must be one or more of {', '.join(TERMS)}.")
        self.layer_map = layer_map
        self._checked = False

    def check(self, student: PretrainedConfig, teacher: PretrainedConfig) -> None:
        """Refuse a teacher that this student cannot imitate, by the two configurations: before a loop of your own.

        Raises:
            ValueError: naming the sizes that differ, or the pair of layers that does not exist; scores are compared and
                one of the two hands out none; or the logits of the two do not mean what this loss takes them for.
        """
        for name in ("vocab_size", "type_vocab_size"):
            ours, theirs = getattr(student, name, None), getattr(teacher, name, None)  # not all have types
            if None not in (ours, theirs) and ours != theirs:
                raise ValueError(
                    f"the teacher has {name}={theirs} and the student {name}={ours}, and both read the same tokens: "
                    "take a teacher with the student's vocabulary, such as the model that the student was made of"
                )
        sizes = {"num_labels": "logits", "hidden_size": "hidden", "num_attention_heads": "attention"}
        for name, term in sizes.items():
            ours, theirs = getattr(student, name), getattr(teacher, name)
            if term in self.terms and ours != theirs:
                raise ValueError(
                    f"the teacher has {name}={theirs} and the student {name}={ours}: the {term} term compares them "
                    "element by element. Take a teacher of the same family and task, or leave that term out."
                )
        self.layer_map.check(student.num_hidden_layers, teacher.num_hidden_layers)
        for role, config in (("student", student), ("teacher", teacher)):
            if "attention" in self.terms and config._attn_implementation != ATTENTION_NAME:
                raise ValueError(
                    f"the {role}'s attention function is {config._attn_implementation!r}, which hands out no scores: "
                    "call use_score_attention(model)"
                )
            if "logits" in self.terms and (stated := problem_type(config)) != self.problem_type:
                raise ValueError(
                    f"the {role} has problem_type {stated!r}, and its logits would be compared as those of "
                    f"{self.problem_type!r}: give two models of one kind, and DistillationLoss problem_type={stated!r}"
                )

    def forward(self, student: ModelOutput, teacher: ModelOutput, mask: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Compute the loss of one batch.

        Args:
            student: output with ``logits`` (or ``start_logits`` and ``end_logits``) and, where a term needs them,
                ``hidden_states`` and ``attentions``.
            teacher: the same, computed without gradient.
            mask: ``[batch, tokens]``, 1 for a real token.

        Returns:
            The sum to differentiate, and each term's detached value by name.

        Raises:
            ValueError: if hidden states or attentions are missing or empty; ``sdpa`` returns none, and a loss that
                loops over nothing would be silently zero. The layer map names a layer that there is not. At the first
                batch, if attentions are probabilities, as the implementation ``eager`` returns them, and not scores;
                or the mask is none of zeros and ones.
        """
        parts, pairs = {}, self.layer_map
        if not self._checked and not torch.compiler.is_compiling():
            _check_values(student, teacher, mask, self.terms)
            self._checked = True
        if "hidden" in self.terms:
            parts["hidden"] = _over_layers("hidden_states", pairs.hidden, hidden_loss, student, teacher, mask)
        if "attention" in self.terms:
            parts["attention"] = _over_layers("attentions", pairs.attention, attention_loss, student, teacher, mask)
        if "logits" in self.terms:
            parts["logits"] = output_loss(student, teacher, mask, self.problem_type)
        return reduce(torch.add, parts.values()), {name: value.detach() for name, value in parts.items()}


@torch.no_grad()
def _check_values(student: ModelOutput, teacher: ModelOutput, mask: Tensor, terms: Collection[str]) -> None:
    """Refuse what has the right shape and another meaning; it takes a reading of the device, so it is done once."""
    masked = {"hidden", "attention"} & set(terms) or "start_logits" in student
    if masked and not ((mask == 0) | (mask == 1)).all():
        raise ValueError(
            f"the mask has values from {float(mask.min()):g} to {float(mask.max()):g}, expected 1 for a real token and "
            "0 for padding: give the tokenizer's attention_mask"
        )
    for role, output in (("student", student), ("teacher", teacher)) if "attention" in terms else ():
        for given in output.get("attentions") or ():
            # Layers that no pair names may hand out none. With dropout, rows of probabilities have a sum of one in the
            # mean alone.
            if given is not None and given.min() >= 0 and abs(given.float().sum(-1).mean() - 1) < 0.1:
                raise ValueError(
                    f"the {role}'s attentions are probabilities, and the attention term compares the scores before "
                    "softmax: call xtcq.use_score_attention(model), in place of attn_implementation='eager'"
                )


def _over_layers(
    field: str,
    pairs: Sequence[tuple[int, int]],
    loss: Callable[[Tensor, Tensor, Tensor], Tensor],
    student: ModelOutput,
    teacher: ModelOutput,
    mask: Tensor,
) -> Tensor:
    for role, output in (("student", student), ("teacher", teacher)):
        if not getattr(output, field, None):
            raise ValueError(
                f"the {role} returned no {field}. Call it with output_{field}=True, and with the attention "
                f"implementation that returns scores: xtcq.quantization.use_score_attention(model)."
            )
    ours, theirs = getattr(student, field), getattr(teacher, field)
    for s, t in pairs:
        if not (0 <= s < len(ours) and 0 <= t < len(theirs)):
            raise ValueError(
                f"the layer map has the pair (student {s}, teacher {t}) for {field}, and there are {len(ours)} and "
                f"{len(theirs)}: see LayerMap.uniform and LayerMap.kept"
            )
    if not pairs:
        raise ValueError(f"the layer map has no pair for {field}: leave its term out, or name pairs")
    return torch.stack([loss(ours[s], theirs[t].detach(), mask) for s, t in pairs]).sum()
