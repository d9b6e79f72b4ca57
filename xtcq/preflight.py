"""What cannot go through is said before work is spent on it: models, tokenizers and tasks that a later step refuses."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from transformers import (
    BertForQuestionAnswering,
    BertForSequenceClassification,
    BertModel,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from xtcq.checks import check_choice

if TYPE_CHECKING:  # tasks load pandas, which nobody needs for a quantizer
    from xtcq.tasks import TaskSpec

CLASSES = "single_label_classification"
MULTI_LABEL = "multi_label_classification"
REGRESSION = "regression"

PACKABLE: tuple[type[PreTrainedModel], ...] = (BertModel, BertForSequenceClassification, BertForQuestionAnswering)


def problem_type(config: PretrainedConfig) -> str:
    """Return what the outputs of a sequence classifier mean, by transformers' names.

    A configuration that does not say it means classes, or a regression where it has one label, as in transformers'
    ``BertForSequenceClassification``.

    Args:
        config: of the model, with ``problem_type`` and ``num_labels``.

    Returns:
        ``"single_label_classification"`` (softmax), ``"multi_label_classification"`` (a sigmoid each) or
        ``"regression"`` (one number).

    Raises:
        ValueError: the kind is unknown, a regression has several outputs, or there is a single class to choose from.

    >>> from transformers import BertConfig
    >>> from xtcq.preflight import problem_type
    >>> problem_type(BertConfig(num_labels=1)), problem_type(BertConfig(num_labels=3))
    ('regression', 'single_label_classification')
    """
    stated, labels = getattr(config, "problem_type", None), int(config.num_labels or 0)
    if stated is None:
        return REGRESSION if labels == 1 else CLASSES
    check_choice("problem_type of the configuration", stated, (CLASSES, MULTI_LABEL, REGRESSION))
    if stated == REGRESSION and labels > 1:
        raise ValueError(
            f"the configuration has problem_type 'regression' with {labels} outputs, expected one: xtcq compresses "
            "regressions of a single number, so give each output a model of its own"
        )
    if stated == CLASSES and labels == 1:
        raise ValueError(
            "the configuration has problem_type 'single_label_classification' with 1 label, which is always the "
            "answer: set config.problem_type to 'regression', or to 'multi_label_classification' for a yes or no"
        )
    return stated


def check_float32(model: nn.Module) -> None:
    """Refuse a model whose parameters are in another format than float32, which transformers loads as it was saved.

    Raises:
        ValueError: naming the first such parameter and its format.

    >>> import torch
    >>> from xtcq.preflight import check_float32
    >>> check_float32(torch.nn.Linear(2, 2).half())  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    ValueError: weight of Linear is torch.float16, expected torch.float32: call model.float() ...
    """
    for name, parameter in model.named_parameters():
        if parameter.is_floating_point() and parameter.dtype != torch.float32:
            raise ValueError(
                f"{name} of {type(model).__name__} is {parameter.dtype}, expected torch.float32: call model.float() "
                "before quantize, or load the checkpoint with dtype=torch.float32"
            )


def check_packable(model: nn.Module) -> None:
    """Refuse a model that ``save_packed`` cannot write. A class is known by identity: its name says not what it does.

    Raises:
        ValueError: naming the class and those that can be packed.

    >>> import torch
    >>> from xtcq.preflight import check_packable
    >>> check_packable(torch.nn.Linear(2, 2))  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    ValueError: torch.nn.modules.linear.Linear cannot be packed: use transformers' BertModel, ...
    """
    kind = type(model)
    if kind not in PACKABLE:
        raise ValueError(
            f"{kind.__module__}.{kind.__qualname__} cannot be packed: use transformers' "
            f"{', '.join(known.__name__ for known in PACKABLE)}"
        )


def check_integer_graph(config: Any) -> None:
    """Refuse a configuration that has no graph of integers; one that is not there has nothing to refuse.

    Raises:
        ValueError: another activation function than GELU and ReLU, or a decoder.

    >>> from transformers import BertConfig
    >>> from xtcq.preflight import check_integer_graph
    >>> check_integer_graph(BertConfig(hidden_act="silu"))
    Traceback (most recent call last):
        ...
    ValueError: hidden_act is 'silu' and is_decoder is False, and integer inference has encoders with 'gelu' or 'relu'
    """
    activation, decoder = getattr(config, "hidden_act", "gelu"), getattr(config, "is_decoder", False)
    if activation not in ("gelu", "relu") or decoder:
        raise ValueError(
            f"hidden_act is {activation!r} and is_decoder is {decoder}, and integer inference has encoders with "
            "'gelu' or 'relu'"
        )


def check_labels(model: nn.Module) -> None:
    """Refuse names of labels that do not tell the outputs of a classifier apart.

    Raises:
        ValueError: there are more or fewer names than outputs, their numbers are not 0, 1, ..., or two are equal.

    >>> from transformers import BertConfig, BertForSequenceClassification
    >>> from xtcq.preflight import check_labels
    >>> config = BertConfig(vocab_size=9, hidden_size=4, num_hidden_layers=1, num_attention_heads=1)
    >>> config.id2label = {0: "good", 1: "good"}
    >>> check_labels(BertForSequenceClassification(config))
    Traceback (most recent call last):
        ...
    ValueError: config.id2label is {0: 'good', 1: 'good'}, expected a name of its own for each of 0 to 1: correct it
    """
    if not isinstance(model, BertForSequenceClassification):
        return
    names: dict[Any, Any] = dict(model.config.id2label or {})
    outputs = model.classifier.out_features
    if sorted(names) != list(range(outputs)) or len({str(name) for name in names.values()}) < outputs:
        raise ValueError(
            f"config.id2label is {names!r}, expected a name of its own for each of 0 to {outputs - 1}: correct it"
        )


def warn_late(model: nn.Module) -> None:
    """Warn of what ``quantize`` can do with a model and a later step cannot.

    Warns:
        UserWarning: it cannot be packed, or has no graph of integers.
    """
    reasons = []
    checks: tuple[tuple[Callable[[Any], None], Any], ...] = (
        (check_packable, model),
        (check_integer_graph, getattr(model, "config", None)),
    )
    for check, what in checks:
        try:
            check(what)
        except ValueError as error:
            reasons.append(str(error))
    if reasons:
        warnings.warn(f"this model can be trained and frozen, but: {'; '.join(reasons)}", stacklevel=3)


def check_tokenizer(tokenizer: PreTrainedTokenizerBase, config: PretrainedConfig) -> None:
    """Refuse a tokenizer whose output a model cannot read.

    Args:
        tokenizer: of the model.
        config: of the model.

    Raises:
        ValueError: it has numbers beyond the model's table of tokens, no padding token, or pads on the left, which
            moves every word to another position.

    >>> from tokenizers import Tokenizer, models
    >>> from transformers import BertConfig, PreTrainedTokenizerFast
    >>> from xtcq.preflight import check_tokenizer
    >>> words = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.WordLevel({"[PAD]": 0, "good": 7})))
    >>> check_tokenizer(words, BertConfig(vocab_size=5))  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    ValueError: the tokenizer numbers 'good' as 7, and the model's table of tokens ends at 4: ...
    """
    token, highest = max(tokenizer.get_vocab().items(), key=lambda item: item[1])
    if highest >= config.vocab_size:
        raise ValueError(
            f"the tokenizer numbers {token!r} as {highest}, and the model's table of tokens ends at "
            f"{config.vocab_size - 1}: call model.resize_token_embeddings({highest + 1}) before quantize and train the "
            "new rows, or take the tokenizer that the model was trained with"
        )
    if tokenizer.pad_token_id is None:
        raise ValueError("the tokenizer has no padding token, which batches need: set tokenizer.pad_token")
    if tokenizer.padding_side != "right":
        raise ValueError(
            f"the tokenizer pads on the {tokenizer.padding_side}, where the words of a short text get the positions "
            "of later ones: set tokenizer.padding_side = 'right'"
        )


def check_training(
    student: PreTrainedModel,
    teacher: PreTrainedModel | None,
    tokenizer: PreTrainedTokenizerBase,
    spec: TaskSpec,
) -> None:
    """Refuse a training that cannot run to its end, or whose result would mean something else.

    What teacher and student must have in common is checked by ``DistillationLoss.check``.

    Args:
        student: the model to train.
        teacher: the model to imitate, if there is one.
        tokenizer: of both.
        spec: of the task.

    Raises:
        ValueError: the student is frozen, has nothing to learn or is not in float32; the tokenizer does not fit;
            examples are longer than what a model reads; or the student's outputs are not those of the task.
    """
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
    check_float32(student)
    check_tokenizer(tokenizer, student.config)
    for role, model in (("student", student), ("teacher", teacher)):
        if model is not None and spec.max_length > (positions := _positions(model.config)):
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


def _positions(config: Any) -> int:
    """Word pieces that a model reads at most: RoBERTa numbers them from the one after its padding token's number."""
    return config.max_position_embeddings - (config.pad_token_id + 1 if config.model_type == "roberta" else 0)
