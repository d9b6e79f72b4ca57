"""What cannot go through is said before work is spent on it: models, tokenizers and tasks that a later step refuses."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator, Sequence
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

_MUCH = 0.1

# Ends of the names of transformers' classes that have the head of a task, see ``TaskSpec.head``.
_HEADS = {"classifier": "ForSequenceClassification", "questions": "ForQuestionAnswering"}

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


def check_model(model: nn.Module, role: str = "model") -> None:
    """Refuse a model whose parts are not those that its configuration describes.

    Whatever reads the configuration later, a loss, a layer map or a packed model, takes it at its word.

    Args:
        model: a transformers model. Of another module, which has no configuration, only a wrapper is refused.
        role: what to call it in a message.

    Raises:
        ValueError: it is wrapped, or has another number of layers, positions, tokens or outputs than its configuration
            says.

    >>> from transformers import BertConfig, BertModel
    >>> from xtcq.preflight import check_model
    >>> model = BertModel(BertConfig(vocab_size=9, hidden_size=4, num_hidden_layers=2, num_attention_heads=1))
    >>> model.encoder.layer = model.encoder.layer[:1]
    >>> check_model(model)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    ValueError: the model's configuration says num_hidden_layers 2, and it has 1: ...
    """
    for inner in ("module", "_orig_mod"):  # of DataParallel, of torch.compile
        if isinstance(wrapped := getattr(model, inner, None), PreTrainedModel):
            raise ValueError(
                f"the {role} is wrapped in {type(model).__name__}: give {role}.{inner}, the {type(wrapped).__name__} "
                "itself"
            )
    if not isinstance(model, PreTrainedModel):
        return
    for name, stated, found in _sizes(model):
        if stated != found:
            raise ValueError(
                f"the {role}'s configuration says {name} {stated}, and it has {found}: change both together, as "
                "reduce_layers does for layers and resize_token_embeddings for tokens"
            )


def _sizes(model: PreTrainedModel) -> Iterator[tuple[str, int, int]]:
    """What a configuration says and what the model has, of each part that is easily replaced."""
    encoder: Any = model.base_model
    if isinstance(layers := getattr(getattr(encoder, "encoder", None), "layer", None), nn.ModuleList):
        yield "num_hidden_layers", model.config.num_hidden_layers, len(layers)
    for part, name in (("word_embeddings", "vocab_size"), ("position_embeddings", "max_position_embeddings")):
        if isinstance(table := getattr(getattr(encoder, "embeddings", None), part, None), nn.Embedding):
            yield name, getattr(model.config, name), table.num_embeddings
    if isinstance(head := getattr(model, "classifier", None), nn.Linear):
        yield "num_labels", int(model.config.num_labels or 0), head.out_features


def check_packable(model: nn.Module) -> None:
    """Refuse a model that ``save_packed`` cannot write, because its class would not be built like it again.

    A class is known by identity, since its name says not what it does, and so is every module that is not quantized.

    Raises:
        ValueError: naming the class or the module, and what can be packed.

    >>> import torch
    >>> from xtcq.preflight import check_packable
    >>> check_packable(torch.nn.Linear(2, 2))
    Traceback (most recent call last):
        ...
    ValueError: torch.nn.modules.linear.Linear cannot be packed: use transformers' own BertModel, \
BertForSequenceClassification or BertForQuestionAnswering
    """
    kind = type(model)
    if kind not in PACKABLE:
        known = [one.__name__ for one in PACKABLE]
        raise ValueError(
            f"{_named(model)} cannot be packed: use transformers' own {', '.join(known[:-1])} or {known[-1]}"
        )
    stock: Any = kind
    # A pooler is no part of the configuration.
    options = {"add_pooling_layer": model.pooler is not None} if kind is BertModel else {}
    with torch.device("meta"):
        built = dict(stock(copy.deepcopy(model.config), **options).named_modules())
    found = dict(model.named_modules())
    ours = tuple(f"{name}." for name, module in found.items() if type(module).__module__.startswith("xtcq."))
    for name in dict.fromkeys((*built, *found)):
        one, other = built.get(name), found.get(name)
        if f"{name}.".startswith(ours) or ".operand_quantizers" in name:
            continue
        if one is None or other is None or _shape(one) != _shape(other):
            raise ValueError(
                f"{kind.__name__} cannot be packed, since {name} is {_said(other)} where its configuration gives "
                f"{_said(one)}: only transformers' own modules are known to whoever loads it"
            )


def _shape(module: nn.Module) -> tuple[type, str]:
    # Of dropout the chance, which a packed model has no use for.
    return type(module), "" if isinstance(module, nn.Dropout) else module.extra_repr()


def _said(module: nn.Module | None) -> str:
    return "nothing" if module is None else f"{type(module).__name__}({module.extra_repr()})"


def _named(model: nn.Module) -> str:
    return f"{type(model).__module__}.{type(model).__qualname__}"


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


def check_labels(model: nn.Module, remedy: str = "correct it") -> None:
    """Refuse names of labels that do not tell the outputs of a classifier apart.

    Args:
        model: of any kind; only classifiers have such names.
        remedy: the end of the message.

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
    if not type(model).__name__.endswith(_HEADS["classifier"]):
        return
    config: Any = model.config
    names: dict[Any, Any] = dict(config.id2label or {})
    # The number of labels is that of the names, so a replaced head is named by the number of its outputs.
    outputs = getattr(getattr(model, "classifier", None), "out_features", len(names))
    if set(names) != set(range(outputs)) or len({str(name) for name in names.values()}) < outputs:
        raise ValueError(
            f"config.id2label is {names!r}, expected a name of its own for each of 0 to {outputs - 1}: {remedy}"
        )


def warn_late(model: nn.Module) -> None:
    """Warn of what ``quantize`` can do with a model and a later step cannot.

    Warns:
        UserWarning: it cannot be packed, or has no graph of integers.
    """
    try:
        check_packable(model)
        check_integer_graph(getattr(model, "config", None))
    except ValueError as error:
        warnings.warn(f"this model can be quantized, trained and frozen, and no more: {error}", stacklevel=3)


def check_tokenizer(tokenizer: PreTrainedTokenizerBase, config: PretrainedConfig) -> None:
    """Refuse a tokenizer whose output a model cannot read.

    Args:
        tokenizer: of the model.
        config: of the model.

    Raises:
        ValueError: it is none of transformers, has numbers beyond the model's table of tokens, has no padding token, or
            pads on the left, which moves every word to another position.

    >>> from tokenizers import Tokenizer, models
    >>> from transformers import BertConfig, PreTrainedTokenizerFast
    >>> from xtcq.preflight import check_tokenizer
    >>> words = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.WordLevel({"[PAD]": 0, "good": 7})))
    >>> check_tokenizer(words, BertConfig(vocab_size=5))  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    ValueError: the tokenizer numbers 'good' as 7, and the model's table of tokens ends at 4: ...
    """
    if not isinstance(tokenizer, PreTrainedTokenizerBase):
        raise ValueError(
            f"the tokenizer is a {type(tokenizer).__name__}, expected one of transformers, such as "
            "AutoTokenizer.from_pretrained gives; PreTrainedTokenizerFast(tokenizer_object=...) wraps one of tokenizers"
        )
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
        ValueError: a model is not what its configuration says, see ``check_model``, does not name its labels, is not in
            float32, has no values or some that are not finite, or has another head than the task; the student is
            frozen or has nothing to learn; the tokenizer does not fit; examples are longer than what a model reads; the
            student's outputs are not those of the task; or the teacher shares parameters with it, or orders its classes
            otherwise.
    """
    models: dict[str, Any] = {"student": student} if teacher is None else {"student": student, "teacher": teacher}
    for role, model in models.items():
        check_model(model, role)
        check_labels(model)
        _check_whole(model, role)
        if _other_head(model, spec.head):
            raise ValueError(
                f"the {role} is a {type(model).__name__}, and task {spec.name!r} needs one of transformers' "
                f"...{_HEADS[spec.head]}: give the {role} the head of the task"
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
    if teacher is not None:
        _check_apart(student, teacher)


def _other_head(model: nn.Module, head: str) -> bool:
    """Whether a class of transformers' own has another head than a task; what others' classes have is not known."""
    return type(model).__module__.startswith("transformers.") and not type(model).__name__.endswith(_HEADS[head])


def _check_whole(model: nn.Module, role: str) -> None:
    """Refuse weights that nothing can be computed with."""
    if not isinstance(model, PreTrainedModel):
        raise ValueError(f"the {role} is a {_named(model)}, expected a model of transformers")
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


def warn_of_texts(rows: Sequence[Sequence[int]], tokenizer: PreTrainedTokenizerBase, max_length: int) -> None:
    """Warn of texts of which a model sees little: another tokenizer's, or longer than what is kept of them.

    Args:
        rows: encoded examples.
        tokenizer: that encoded them.
        max_length: word pieces kept of an example.

    Warns:
        UserWarning: more than a tenth of the word pieces are unknown, or of the examples as long as can be.

    >>> import warnings
    >>> from tokenizers import Tokenizer, models
    >>> from transformers import PreTrainedTokenizerFast
    >>> from xtcq.preflight import warn_of_texts
    >>> level = Tokenizer(models.WordLevel({"[UNK]": 0, "good": 1}, unk_token="[UNK]"))
    >>> with warnings.catch_warnings(record=True) as caught:
    ...     warnings.simplefilter("always")
    ...     warn_of_texts([[0, 1], [1]], PreTrainedTokenizerFast(tokenizer_object=level, unk_token="[UNK]"), 8)
    >>> str(caught[0].message).partition(":")[0]
    'of 3 word pieces 33 % are unknown to the tokenizer'
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
