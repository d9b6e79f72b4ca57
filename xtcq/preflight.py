"""What cannot go through is said before work is spent on it: models and tokenizers that a later step refuses."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator
from typing import Any

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

from xtcq.outputs import check_names

# Ends of the names of transformers' classes that have the head of a task, see ``TaskSpec.head``.
HEADS = {"classifier": "ForSequenceClassification", "questions": "ForQuestionAnswering"}

PACKABLE: tuple[type[PreTrainedModel], ...] = (BertModel, BertForSequenceClassification, BertForQuestionAnswering)


def check_float32(model: nn.Module) -> None:
    """Refuse a model whose parameters are in another format than float32: transformers loads them as they were saved.

    Raises:
        ValueError: naming the first such parameter and its format.
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
        ValueError: it is wrapped, holds an adapter, or has another number of layers, positions, tokens or outputs than
            its configuration says.
    """
    for inner in ("module", "_orig_mod"):  # of DataParallel, of torch.compile
        if isinstance(wrapped := getattr(model, inner, None), PreTrainedModel):
            raise ValueError(
                f"the {role} is wrapped in {type(model).__name__}: give {role}.{inner}, the {type(wrapped).__name__} "
                "itself"
            )
    if hasattr(model, "merge_and_unload") or getattr(model, "_hf_peft_config_loaded", False):
        raise ValueError(
            f"the {role} holds an adapter of peft: merge it into the weights first, as merge_and_unload() of a "
            "PeftModel does, which returns the model itself"
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
    """
    kind = type(model)
    if kind not in PACKABLE:
        known = [one.__name__ for one in PACKABLE]
        raise ValueError(
            f"{named(model)} cannot be packed: use transformers' own {', '.join(known[:-1])} or {known[-1]}"
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


def named(model: nn.Module) -> str:
    """The class of a model, with its module."""
    return f"{type(model).__module__}.{type(model).__qualname__}"


def check_integer_graph(config: Any) -> None:
    """Refuse a configuration that has no graph of integers; one that is not there has nothing to refuse.

    Raises:
        ValueError: another activation function than GELU and ReLU, or a decoder.
    """
    activation, decoder = getattr(config, "hidden_act", "gelu"), getattr(config, "is_decoder", False)
    if activation not in ("gelu", "relu") or decoder:
        raise ValueError(
            f"hidden_act is {activation!r} and is_decoder is {decoder}, and integer inference has encoders with "
            "'gelu' or 'relu'"
        )


def check_labels(model: nn.Module, remedy: str = "correct it") -> None:
    """Refuse names of labels that do not tell a classifier's outputs apart, see ``xtcq.outputs.check_names``."""
    if type(model).__name__.endswith(HEADS["classifier"]):
        config: Any = model.config
        names = dict(config.id2label or {})
        # The number of labels is that of the names, so a replaced head is named by the number of its outputs.
        outputs = getattr(getattr(model, "classifier", None), "out_features", len(names))
        check_names("config.id2label", names, outputs, remedy)


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

    Raises:
        ValueError: it is none of transformers, has numbers beyond the model's table of tokens, leaves out its [CLS],
            has no padding token, or pads on the left, which moves every word to another position.
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
    if tokenizer.cls_token_id is not None and tokenizer.cls_token_id not in tokenizer("a")["input_ids"]:
        raise ValueError(
            f"the tokenizer has a token {tokenizer.cls_token!r} and puts it before no text, where a classifier reads: "
            "give it the post_processor of the tokenizer that the model was trained with"
        )
    if tokenizer.pad_token_id is None:
        raise ValueError("the tokenizer has no padding token, which batches need: set tokenizer.pad_token")
    if tokenizer.padding_side != "right":
        raise ValueError(
            f"the tokenizer pads on the {tokenizer.padding_side}, where the words of a short text get the positions "
            "of later ones: set tokenizer.padding_side = 'right'"
        )


def reads_pairs(tokenizer: PreTrainedTokenizerBase, config: PretrainedConfig) -> bool:
    """Whether a model has a row for the type of a second text: RoBERTa has none, and BERT's tokenizer marks it as 1."""
    types = tokenizer("a", "b", return_token_type_ids=True)["token_type_ids"]
    return max(types) < getattr(config, "type_vocab_size", 2)
