"""Model-level verbs: `quantize`, `freeze`, `quantization_map`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

import torch
from torch import nn
from transformers.models.bert.modeling_bert import BertSelfAttention

from xtcq.quantization.attention import use_score_attention
from xtcq.quantization.config import QuantConfig
from xtcq.quantization.frozen import FrozenEmbedding, FrozenLinear
from xtcq.quantization.layers import QuantEmbedding, QuantLinear
from xtcq.quantization.precision import FLOAT_BITS
from xtcq.quantization.quantizers import Quantizer
from xtcq.quantization.splitting import SplitEmbedding, SplitLinear
from xtcq.quantization.targets import TABLES, choose_modules, find_encoder, join_name, recipe_linears

Model = TypeVar("Model", bound=nn.Module)

OPERANDS = ("query", "key", "value", "probabilities")


def quantize(
    model: Model,
    config: QuantConfig,
    include: str | Iterable[str] | None = None,
    exclude: str | Iterable[str] | None = None,
) -> Model:
    """Replace layers of `model` by fake-quantized ones, in place, and make its attentions yield scores.

    Parameters are shared, their state-dict keys stay. The task head is never quantized unless `include` names it.
    A precision of 32 everywhere replaces nothing, and that is no error. The model may be on the meta device. `config`
    is kept as `model.quant_config`.

    Args:
        model: a BertModel or a model with one BertModel in it.
        config: precision and recipe.
        include: glob patterns of full module names. Instead of the recipe's choice, every linear layer, embedding
            table and (where the recipe quantizes them) attention module that matches is converted.
        exclude: glob patterns of full module names that are left alone.

    Returns:
        The same model.

    Raises:
        ValueError: no BertModel or several, already quantized, a pattern that matches nothing, a low-rank term of
            higher rank than its matrix, or nothing left to quantize.
    """
    if _converted(model):
        raise ValueError(
            f"{type(model).__name__} is already quantized ({_converted(model)[0]}): start again from the "
            "floating-point model"
        )
    prefix, encoder = find_encoder(model)
    precision, recipe = config.precision, config.scheme
    tables = {join_name(prefix, name): getattr(precision, field) for name, field in TABLES.items()}
    chosen = choose_modules(model, [*recipe_linears(model, config), *tables], recipe.operands, include, exclude)

    for name in chosen:  # before anything is replaced: a model that was refused can be tried again
        module = model.get_submodule(name)
        if isinstance(module, nn.Linear) and config.lora_rank > min(module.weight.shape):
            raise ValueError(
                f"lora_rank is {config.lora_rank} but {name} is a matrix of {tuple(module.weight.shape)}: give a "
                f"rank of at most {min(module.weight.shape)}; XTC uses 1 and 8"
            )

    changed = False
    for name in chosen:
        module = model.get_submodule(name)
        if isinstance(module, BertSelfAttention):
            if precision.activations != FLOAT_BITS:
                roles = {key: "probabilities" if key == "probabilities" else "input" for key in OPERANDS}
                quantizers = {key: recipe.activation_quantizer(precision.activations, roles[key]) for key in OPERANDS}
                module.operand_quantizers = nn.ModuleDict(quantizers)
                changed = True
            continue
        if isinstance(module, nn.Linear):
            weight = recipe.weight_quantizer(precision.weights)
            activated = name.endswith("output.dense") and not name.endswith("attention.output.dense")
            inputs = recipe.activation_quantizer(precision.activations, "activated" if activated else "input")
            if weight is None and inputs is None:
                continue
            if config.splits:
                model.set_submodule(name, SplitLinear.from_float(module, _placed(inputs, module)))
                changed = True
                continue
            layer = QuantLinear.from_float(module, _placed(weight, module), _placed(inputs, module), config.lora_rank)
        else:
            weight = recipe.embedding_quantizer(tables[name] if name in tables else precision.token)
            if weight is None:
                continue
            if recipe.splits and weight.bits == 1:
                model.set_submodule(name, SplitEmbedding.from_float(module, recipe.embedding_granularity))
                changed = True
                continue
            layer = QuantEmbedding.from_float(module, _placed(weight, module))
        model.set_submodule(name, layer)
        changed = True

    if not changed and {precision.weights, *precision.embeddings, precision.activations} != {FLOAT_BITS}:
        raise ValueError(
            f"precision '{precision}' with recipe {config.recipe!r} quantizes nothing of {type(model).__name__}: "
            "include and exclude leave no module that has fewer than 32 bits"
        )
    use_score_attention(encoder)
    model.quant_config = config
    return model


def freeze(model: Model) -> Model:
    """Replace the fake-quantized layers of `model` by integer ones, in place; outputs stay equal to the bit.

    A layer whose weight stays in floating point keeps its form.

    Returns:
        The same model.

    Raises:
        ValueError: the model was not quantized or is frozen already, or a parameter holds NaN or infinity; the message
            names the module.
    """
    frozen = [name for name, module in model.named_modules() if isinstance(module, (FrozenLinear, FrozenEmbedding))]
    if frozen:
        raise ValueError(f"{type(model).__name__} is already frozen ({frozen[0]}): freeze it once")
    if not _converted(model) and not hasattr(model, "quant_config"):
        raise ValueError(f"{type(model).__name__} is not quantized: call quantize(model, config) first")
    for name, parameter in model.named_parameters():
        _check_finite(name, parameter)
    for name, module in list(model.named_modules()):
        if isinstance(module, QuantLinear) and module.weight_quantizer is not None:
            model.set_submodule(name, FrozenLinear.from_quantized(module))
        elif isinstance(module, QuantEmbedding):
            model.set_submodule(name, FrozenEmbedding.from_quantized(module))
    return model


def quantization_map(model: nn.Module) -> dict[str, dict[str, object]]:
    """Return what is quantized in `model`, and how, as JSON-able values.

    Returns:
        Module name to a dict: `kind` ("linear", "embedding", "attention" or "split"), `frozen`, `weight` and `input`
        (settings of the quantizer, or None) and `lora_rank` for a linear layer, `weight` for an embedding, `operands`
        for an attention module, `input` for a module that was split in two, whose halves have entries of their own.
    """
    entries: dict[str, dict[str, object]] = {}
    for name, module in model.named_modules():
        frozen = isinstance(module, (FrozenLinear, FrozenEmbedding))
        if isinstance(module, (QuantLinear, FrozenLinear)):
            entries[name] = {
                "kind": "linear",
                "frozen": frozen,
                "weight": weight_format(module),
                "input": _describe(module.input_quantizer),
                "lora_rank": 0 if module.lora_u is None else module.lora_u.shape[1],
            }
        elif isinstance(module, (QuantEmbedding, FrozenEmbedding)):
            entries[name] = {"kind": "embedding", "frozen": frozen, "weight": weight_format(module)}
        elif isinstance(module, (SplitLinear, SplitEmbedding)):
            inputs = getattr(module, "input_quantizer", None)
            entries[name] = {"kind": "split", "frozen": False, "input": _describe(inputs)}
        elif hasattr(module, "operand_quantizers"):
            operands = {key: _describe(quantizer) for key, quantizer in module.operand_quantizers.items()}
            entries[name] = {"kind": "attention", "frozen": False, "operands": operands}
    return entries


def weight_format(module: nn.Module) -> dict[str, object] | None:
    """Return the settings of a quantized layer's weight, fake-quantized or frozen; None for floating point."""
    if isinstance(module, (FrozenLinear, FrozenEmbedding)):
        return dict(module.weight_format)
    return _describe(getattr(module, "weight_quantizer", None))


def _converted(model: nn.Module) -> list[str]:
    kinds = (QuantLinear, QuantEmbedding, FrozenLinear, FrozenEmbedding, SplitLinear, SplitEmbedding)
    return [
        name
        for name, module in model.named_modules()
        if isinstance(module, kinds) or hasattr(module, "operand_quantizers")
    ]


def _placed(quantizer: Quantizer | None, module: nn.Module) -> Quantizer | None:
    return None if quantizer is None else quantizer.to(module.weight.device).train(module.training)


def _check_finite(name: str, parameter: torch.Tensor) -> None:
    bad = int(parameter.numel() - torch.isfinite(parameter).sum())
    if bad:
        module, _, key = name.rpartition(".")
        raise ValueError(
            f"{module}: {bad} of {parameter.numel()} values of '{key}' are NaN or infinite, which integer codes cannot "
            "hold: go back to an earlier checkpoint, or train again with a lower learning rate"
        )


def _describe(quantizer: Quantizer | None) -> dict[str, object] | None:
    return None if quantizer is None else quantizer.describe()
