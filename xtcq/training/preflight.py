"""What cannot be trained is said before work is spent on it."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from xtcq.checks import check_choice
from xtcq.outputs import CLASSES, MULTI_LABEL, REGRESSION, problem_type
from xtcq.preflight import HEADS, check_float32, check_labels, check_model, check_tokenizer, named, reads_pairs
from xtcq.quantization import check_unchanged
from xtcq.tasks import QuestionSpec, Task, TaskSpec
from xtcq.tasks.columns import check_columns, read_labels

_MUCH = 0.1


def check_training(
    student: PreTrainedModel,
    teacher: PreTrainedModel | None,
    tokenizer: PreTrainedTokenizerBase,
    spec: TaskSpec,
) -> None:
    """Refuse a training that cannot run to its end, or whose result would mean something else.

    What teacher and student must have in common is checked by ``DistillationLoss.check``.

    Raises:
        ValueError: a model is not what its configuration says, see ``check_model``, or not what ``quantize`` made of
            it, does not name its labels, is not in float32, has no values or some that are not finite, or has another
            head than the task; the student is frozen or has nothing to learn; the tokenizer does not fit; examples are
            longer than what a model reads, or pairs where it reads single texts; the student's outputs are not those of
            the task; or the teacher shares parameters with it, orders its classes otherwise, or was trained on another
            number of texts.
    """
    models: dict[str, Any] = {"student": student} if teacher is None else {"student": student, "teacher": teacher}
    for role, model in models.items():
        check_model(model, role)
        check_labels(model)
        check_unchanged(model)
        _check_whole(model, role)
        stock = type(model).__module__.startswith("transformers.")  # what head others' classes have is not known
        if stock and not type(model).__name__.endswith(HEADS[spec.head]):
            raise ValueError(
                f"the {role} is a {type(model).__name__}, and task {spec.name!r} needs one of transformers' "
                f"...{HEADS[spec.head]}: give the {role} the head of the task"
            )
    if any(getattr(module, "is_frozen", False) for module in student.modules()):
        raise ValueError(
            f"{type(student).__name__} is frozen: its weights are integers, which do not learn. Train the student as "
            "quantize returns it, and freeze it afterwards"
        )
    if not any(parameter.requires_grad for parameter in student.parameters()):
        raise ValueError(
            f"no parameter of {type(student).__name__} requires a gradient, so nothing would be learned: call "
            "student.requires_grad_(True)"
        )
    if not torch.is_grad_enabled():
        raise ValueError("gradients are switched off here, so nothing would be learned: leave torch.no_grad() first")
    check_tokenizer(tokenizer, student.config)
    if tokenizer.model_max_length < spec.max_length:
        raise ValueError(
            f"the tokenizer ends at {tokenizer.model_max_length} word pieces, and task {spec.name!r} trains on up to "
            f"{spec.max_length}: set tokenizer.model_max_length = {spec.max_length}, which a packed model is asked by"
        )
    for role, model in models.items():
        if spec.max_length > (positions := _positions(model.config)):
            raise ValueError(
                f"task {spec.name!r} has examples of up to {spec.max_length} word pieces and the {role} reads "
                f"{positions}: give the task max_length={positions} or less"
            )
    if spec.head == "classifier":
        ours = problem_type(student.config), student.config.num_labels
        task = (REGRESSION if spec.num_labels == 1 else CLASSES), spec.num_labels
        if ours != task:
            raise ValueError(
                f"the student has problem_type {ours[0]!r} with {ours[1]} labels and task {spec.name!r} "
                f"{task[0]!r} with {task[1]}: give a model of the task's kind"
                + ", or train with DistillationLoss in a loop of your own"
                * (ours[0] == MULTI_LABEL)
            )
    given = len(spec.columns)
    for role, model in models.items():
        if given == 2 and not reads_pairs(tokenizer, model.config):
            raise ValueError(
                f"task {spec.name!r} has pairs, whose second texts the tokenizer marks as type 1, and the {role} has "
                f"type_vocab_size {model.config.type_vocab_size}: take the tokenizer that it was trained with"
            )
    if teacher is not None and (known := getattr(teacher.config, "num_texts", given)) != given:
        raise ValueError(
            f"the teacher was trained on {known} texts an example, and task {spec.name!r} has {given}: give the task "
            "the teacher's text columns, or a teacher of this task"
        )
    if teacher is not None:
        _check_apart(student, teacher)


def _check_whole(model: nn.Module, role: str) -> None:
    """Refuse weights that nothing can be computed with."""
    if not isinstance(model, PreTrainedModel):
        raise ValueError(f"the {role} is a {named(model)}, expected a model of transformers")
    for name, value in {**model.state_dict(), **dict(model.named_parameters())}.items():
        plain = isinstance(value, Tensor) and type(value.data) is Tensor
        if isinstance(value, nn.Parameter):
            plain = plain and type(value) is nn.Parameter and value.is_floating_point()
        if not plain:
            raise ValueError(
                f"{name} of the {role} is a {type(value).__name__} ({getattr(value, 'dtype', value)}), which another "
                "library quantized or distributed: give the floating-point model, in plain tensors"
            )
    check_float32(model)
    for name, parameter in model.named_parameters():
        if parameter.is_meta:
            raise ValueError(
                f"{name} of the {role} is on the meta device and has no values: load the weights, or build the model "
                "outside torch.device('meta')"
            )
        if not torch.isfinite(parameter).all():
            raise ValueError(f"{name} of the {role} holds NaN or infinity: go back to an earlier checkpoint of it")


def _check_apart(student: PreTrainedModel, teacher: PreTrainedModel) -> None:
    """Refuse a teacher that would learn with its student, or that names its classes in another order."""
    ours, theirs = ({id(p): name for name, p in model.named_parameters()} for model in (student, teacher))
    if shared := ours.keys() & theirs.keys():
        raise ValueError(
            f"student and teacher share {len(shared)} parameters, {ours[min(shared, key=[*ours].index)]} first, so the "
            "teacher would change with its student: make the student of a copy, which reduce_layers(teacher, "
            f"range({teacher.config.num_hidden_layers})) gives"
        )
    names: list[Any] = [dict(model.config.id2label or {}) for model in (student, teacher)]
    if names[0] != names[1] and {*names[0].values()} == {*names[1].values()}:
        raise ValueError(
            f"the student's classes are {names[0]} and the teacher's {names[1]}, and logits are compared by number: "
            "give both the same order, as a student that is made of its teacher has it"
        )


def check_task(task: Task) -> None:
    """Refuse a table of one's own that a model cannot learn from, or be scored on; questions are not looked at.

    Raises:
        ValueError: a metric is none of the task's kind, a column is missing, or, with the row counted from 1, a text or
            a label is none.
    """
    spec = task.spec
    if isinstance(spec, QuestionSpec):
        return
    fit = ("pearson", "spearman") if spec.is_regression else ("accuracy", "matthews", *("f1",) * (spec.num_labels == 2))
    for metric in spec.metrics:
        check_choice(f"metric of task {spec.name!r} with {spec.num_labels} labels", metric, fit)
    for split, frame in {"train": task.train, **task.evaluation}.items():
        origin = f"{split!r} of task {spec.name!r}"
        check_columns(frame.columns, (*spec.columns, "label"), origin)
        for name in spec.columns:
            for row, value in enumerate(frame[name], 1):
                if not isinstance(value, str):
                    raise ValueError(f"{origin}: row {row} has {value!r} in {name!r}, expected a text")
        read_labels(frame["label"], spec.num_labels, origin)


def warn_of_texts(rows: Sequence[Sequence[int]], tokenizer: PreTrainedTokenizerBase, max_length: int) -> None:
    """Warn of encoded texts of which a model sees little: another tokenizer's, or longer than what is kept of them.

    Warns:
        UserWarning: more than a tenth of the word pieces are unknown, or of the examples as long as can be.
    """
    pieces = [piece for row in rows for piece in row]
    unknown = pieces.count(tokenizer.unk_token_id) / len(pieces)
    if tokenizer.unk_token_id is not None and unknown > _MUCH:
        warnings.warn(
            f"of {len(pieces):,} word pieces {unknown:.0%} are unknown to the tokenizer: ".replace("%", " %")
            + "give the one that the model was trained with; it may write words in capitals otherwise, or know another "
            "language",
            stacklevel=3,
        )
    cut = sum(len(row) >= max_length for row in rows)
    if cut > _MUCH * len(rows):
        warnings.warn(
            f"{cut:,} of {len(rows):,} examples fill all {max_length} word pieces, and what is beyond is cut: raise "
            "max_length, as far as the model reads",
            stacklevel=3,
        )


def _positions(config: Any) -> int:
    """Word pieces that a model reads at most: RoBERTa numbers them from the one after its padding token's number."""
    return config.max_position_embeddings - (config.pad_token_id + 1 if config.model_type == "roberta" else 0)
