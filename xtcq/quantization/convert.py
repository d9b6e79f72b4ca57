"""The two verbs that change a model: ``quantize`` and ``freeze``."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn
from torch.nn.utils import parametrize
from transformers import PreTrainedModel
from transformers.models.bert.modeling_bert import BertSelfAttention
from transformers.models.electra.modeling_electra import ElectraSelfAttention
from transformers.models.roberta.modeling_roberta import RobertaSelfAttention
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from xtcq.outputs import problem_type
from xtcq.preflight import check_float32, check_labels, check_model, warn_late
from xtcq.quantization.attention import OPERANDS, check_score_attention, use_score_attention
from xtcq.quantization.binarybert import SplitLayer
from xtcq.quantization.contents import TABLES, find_encoder, join, quantization_map, quantized_layers, recipe_linears
from xtcq.quantization.layers import QuantEmbedding, QuantLinear
from xtcq.quantization.lsq import LSQQuantizer
from xtcq.quantization.precision import FLOAT_BITS, Precision
from xtcq.quantization.quantizers import Quantizer
from xtcq.quantization.recipes import QuantConfig

_SELF_ATTENTIONS = (BertSelfAttention, RobertaSelfAttention, ElectraSelfAttention)

Model = TypeVar("Model", bound=nn.Module)
Patterns = str | Iterable[str] | None


def quantize(model: Model, config: QuantConfig, include: Patterns = None, exclude: Patterns = None) -> Model:
    """Replace layers of ``model`` by fake-quantized ones, in place, and make its attentions yield scores.

    Parameters are shared, their state-dict keys stay. The task head is never quantized unless ``include`` names it.
    A precision of 32 everywhere replaces nothing, and that is no error. The model may be on the meta device. ``config``
    is kept as ``model.quant_config``.

    Args:
        model: a BertModel, RobertaModel or ElectraModel, or a model with one of them in it, in float32. Only BERT can
            be packed.
        config: precision and recipe.
        include: glob patterns of full module names. Instead of the recipe's choice, every linear layer, embedding
            table and (where the recipe quantizes them) attention module that matches is converted, at the widths of the
            precision: segment and position tables have fewer than 32 bits only where it has T-K-P.
        exclude: glob patterns of full module names that are left alone.

    Returns:
        The same model.

    Raises:
        ValueError: no model or no QuantConfig, no encoder or several, not in float32, not as its configuration says,
            labels without names of their own, a regression with several outputs, already quantized, a pattern that
            matches nothing, a module that is no plain layer of torch (pruned, weight-normed, with an adapter, quantized
            elsewhere) or shares its weight with another, a low-rank term of higher rank than its matrix, or nothing
            left to quantize. The model is then as it was.

    Warns:
        UserWarning: the model can be trained, and not be packed or run as integers; and later, when ``save_pretrained``
            is called, that it does not keep what was quantized.

    >>> from xtcq import QuantConfig, quantize
    >>> from xtcq.quantization import architecture
    >>> model = quantize(architecture("minilm-l6"), QuantConfig("1-1-8"))
    >>> model.encoder.layer[0].output.dense.weight_quantizer
    BinaryQuantizer(bits=1, granularity=tensor, clip=None)
    """
    if not isinstance(model, nn.Module) or not isinstance(config, QuantConfig):
        given = (repr(one) if isinstance(one, str | Path) else f"a {type(one).__name__}" for one in (model, config))
        raise ValueError(
            f"quantize was given {' and '.join(given)}, expected a model and how to quantize it: "
            'quantize(model, QuantConfig("1-1-8")), say'
        )
    if converted := quantization_map(model):
        raise ValueError(
            f"{type(model).__name__} is already quantized ({next(iter(converted))}): start again from the "
            "floating-point model"
        )
    check_model(model)
    prefix, encoder = find_encoder(model)
    problem_type(encoder.config)
    check_float32(model)
    precision = config.precision
    tables = {join(prefix, name): bits for name, bits in zip(TABLES, precision.embeddings, strict=True)}
    second = {join(prefix, f"encoder.layer.{i}.output.dense") for i in range(len(encoder.encoder.layer))}
    chosen = _choose(model, [*recipe_linears(model, config), *tables], config, include, exclude)
    _check_modules(model, chosen, config.lora_rank)
    # All are built before the first is put in place, so that a model that was refused is as it was.
    layers: dict[str, nn.Module] = {}
    operands: dict[str, nn.ModuleDict] = {}
    for name in chosen:
        module = model.get_submodule(name)
        if isinstance(module, _SELF_ATTENTIONS):
            operands[name] = _operand_quantizers(module, config)
        elif isinstance(module, nn.Linear):
            layers[name] = _quantized_linear(module, config, activated_input=name in second)
        elif isinstance(module, nn.Embedding):
            layers[name] = _quantized_table(module, config, tables.get(name, precision.token))
    layers = {name: layer for name, layer in layers.items() if layer is not model.get_submodule(name)}
    operands = {name: quantizers for name, quantizers in operands.items() if quantizers}
    if not (layers or operands) and precision != Precision.parse("32-32-32"):
        raise ValueError(
            f"precision '{precision}' with recipe {config.recipe!r} quantizes nothing of {type(model).__name__}: "
            "include and exclude leave no module that has fewer than 32 bits"
        )
    if not any(parameter.is_meta for parameter in model.parameters()):  # which are asked for their costs alone
        check_labels(model)
        warn_late(model)
    use_score_attention(encoder)
    for name, layer in layers.items():
        model.set_submodule(name, layer)
    for name, quantizers in operands.items():
        attention = model.get_submodule(name)
        attention.operand_quantizers = quantizers
        attention.register_forward_pre_hook(check_score_attention)
    if isinstance(model, PreTrainedModel) and (layers or operands):
        setattr(model, "save_pretrained", partial(_save_pretrained, model))
    setattr(model, "quant_config", config)
    setattr(model, "quantized_modules", tuple(quantization_map(model)))
    return model


def freeze(model: Model) -> Model:
    """Turn the weights of the quantized layers of ``model`` into integers, in place; outputs stay equal to the bit.

    A weight that was left in floating point stays. On the meta device shapes are frozen.

    Returns:
        The same model.

    Raises:
        ValueError: the model was not quantized or is frozen already, modules or its attention function were changed
            since, a parameter holds NaN or infinity, or a learned step's buffer has another width than is computed
            with; the message names the module.

    >>> from xtcq import QuantConfig, freeze, quantize
    >>> from xtcq.quantization import architecture
    >>> model = freeze(quantize(architecture("minilm-l6"), QuantConfig("1-1-8")))
    >>> model.encoder.layer[0].output.dense.codes.dtype
    torch.int8
    """
    layers = quantized_layers(model)
    if frozen := [name for name, layer in layers.items() if layer.is_frozen]:
        raise ValueError(f"{type(model).__name__} is already frozen ({frozen[0]}): freeze it once")
    if not quantization_map(model) and not hasattr(model, "quant_config"):
        raise ValueError(f"{type(model).__name__} is not quantized: call quantize(model, config) first")
    check_unchanged(model)
    for name, module in model.named_modules():
        if isinstance(module, LSQQuantizer) and not module.width.is_meta and int(module.width) != module.bits:
            raise ValueError(
                f"{name} computes at {module.bits} bits, and its buffer says {int(module.width)}: buffers were copied "
                "by hand, as averaging does; call model.load_state_dict(model.state_dict()) first"
            )
    for name, parameter in model.named_parameters():
        if not parameter.is_meta and (bad := int(parameter.numel() - torch.isfinite(parameter).sum())):
            module, _, key = name.rpartition(".")
            raise ValueError(
                f"{module}: {bad} of {parameter.numel()} values of '{key}' are NaN or infinite, which integer codes "
                "cannot hold: go back to an earlier checkpoint, or train again with a lower learning rate"
            )
    for layer in layers.values():
        layer.freeze()
    return model


def check_unchanged(model: nn.Module) -> None:
    """Refuse a model in which something that ``quantize`` put there is missing.

    Raises:
        ValueError: a module was replaced, the attention function was changed where operands are quantized, or a part of
            the model was quantized by itself.
    """
    alone = [name for name, module in model.named_modules() if hasattr(module, "quantized_modules")]
    if alone and alone[0]:
        check_model(model)  # a wrapper of the whole has another remedy
        raise ValueError(
            f"{alone[0]} of {type(model).__name__} was quantized by itself, so that nothing says how the whole was: "
            "give the whole model to quantize, which leaves its head alone"
        )
    if lost := sorted(set(getattr(model, "quantized_modules", ())) - quantization_map(model).keys()):
        raise ValueError(
            f"{len(lost)} modules that quantize converted were replaced or removed, {lost[0]} first: change the "
            "floating-point model, and quantize it then"
        )
    for module in model.modules():
        if hasattr(module, "operand_quantizers"):
            check_score_attention(module)


def check_frozen(model: nn.Module) -> None:
    """Refuse, by a ValueError, a model with a quantized layer whose weights are no integers yet."""
    for name, layer in quantized_layers(model).items():
        if layer.bits < FLOAT_BITS and not layer.is_frozen:
            raise ValueError(
                f"{type(model).__name__} is not frozen, {name} holds floating-point weights: call freeze(model) first"
            )


def _quantized_linear(linear: nn.Linear, config: QuantConfig, activated_input: bool) -> nn.Module:
    """Return the layer in the place of ``linear``, which is ``linear`` itself where 32 bits leave it alone."""
    recipe, bits = config.scheme, config.precision
    weights = _build(recipe.weight, bits.weights, linear)
    factory = recipe.activated_input or recipe.input if activated_input else recipe.input
    inputs = _build(factory, bits.activations, linear)
    if weights is None and inputs is None:
        return linear
    if config.splits:
        return SplitLayer.from_float(linear, input_quantizer=inputs)
    return QuantLinear.from_float(linear, weights, inputs, config.lora_rank)


def _quantized_table(table: nn.Embedding, config: QuantConfig, bits: int) -> nn.Module:
    """Return the layer in the place of ``table``, which is ``table`` itself at 32 bits."""
    quantizer = _build(config.scheme.table, bits, table)
    if quantizer is None:
        return table
    if config.scheme.splits and bits == 1:
        return SplitLayer.from_float(table, quantizer.granularity)
    return QuantEmbedding.from_float(table, quantizer)


def _operand_quantizers(attention: nn.Module, config: QuantConfig) -> nn.ModuleDict:
    """Return the quantizers of the operands of an attention module, by operand."""
    recipe, quantizers = config.scheme, nn.ModuleDict()
    for name in OPERANDS:
        factory = recipe.probabilities or recipe.operand if name == "probabilities" else recipe.operand
        if quantizer := _build(factory, config.precision.activations, attention):
            quantizers[name] = quantizer
    return quantizers


def _save_pretrained(model: PreTrainedModel, save_directory: str | Path, *args: Any, **kwargs: Any) -> None:
    """Save as transformers does, and say what its ``from_pretrained`` makes of it."""
    # The Trainer reads its checkpoints back into the quantized model itself.
    if not Path(save_directory).name.startswith(f"{PREFIX_CHECKPOINT_DIR}-"):
        warnings.warn(
            f"save_pretrained writes no quantizers, so from_pretrained will build a {type(model).__name__} in floating "
            "point: use save_packed(freeze(model), folder) and load_packed, or keep model.state_dict() and load it "
            "into a model after quantize",
            stacklevel=2,
        )
    type(model).save_pretrained(model, save_directory, *args, **kwargs)


def _build(factory: Callable[[int], Quantizer] | None, bits: int, module: nn.Module) -> Quantizer | None:
    """Return a new quantizer where ``module`` is, or None for floating point."""
    if factory is None or bits == FLOAT_BITS:
        return None
    return factory(bits).to(next(module.parameters()).device).train(module.training)


def _choose(
    model: nn.Module, by_recipe: list[str], config: QuantConfig, include: Patterns, exclude: Patterns
) -> list[str]:
    """Return the names of the modules to convert; ``by_recipe`` are the linear layers and tables of the recipe."""
    kinds: tuple[type[nn.Module], ...] = (nn.Linear, nn.Embedding)
    operands = _SELF_ATTENTIONS if config.scheme.operand else ()
    if include is None:
        names = by_recipe + [name for name, module in model.named_modules() if isinstance(module, operands)]
    else:
        names = [name for name, module in model.named_modules() if isinstance(module, kinds + operands)]
        names = _matching("include", include, names)
    if exclude is not None:
        excluded = set(_matching("exclude", exclude, names))
        names = [name for name in names if name not in excluded]
    return names


def _matching(role: str, patterns: str | Iterable[str], names: list[str]) -> list[str]:
    patterns = [patterns] if isinstance(patterns, str) else list(patterns)
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise ValueError(
                f"{role} pattern {pattern!r} matches none of the {len(names)} modules that can be quantized here; "
                f"their names look like {', '.join(map(repr, names[:2] + names[-1:]))}"
            )
    return [name for name in names if any(fnmatchcase(name, pattern) for pattern in patterns)]


def _check_modules(model: nn.Module, names: list[str], rank: int) -> None:
    """Refuse modules that a quantized layer cannot stand in for: it takes over a plain weight and bias."""
    seen: dict[int, str] = {}
    for name in names:
        module = model.get_submodule(name)
        if isinstance(module, _SELF_ATTENTIONS):
            continue
        own = {key for key, _ in module.named_parameters(recurse=False)}
        if own & {"weight_orig", "weight_g"} or parametrize.is_parametrized(module, "weight"):
            raise ValueError(
                f"{name} has a weight that is computed at every call (pruned or weight-normed, say): make it plain "
                "before quantize, with torch.nn.utils.prune.remove(layer, 'weight'), "
                "parametrize.remove_parametrizations(layer, 'weight') or remove_weight_norm(layer)"
            )
        if type(module) not in (nn.Linear, nn.Embedding) or type(module.weight.data) is not torch.Tensor:
            kind, weight = type(module), type(getattr(module, "weight", None))
            raise ValueError(
                f"{name} is a {kind.__module__}.{kind.__qualname__} with a weight of type {weight.__name__}, expected "
                "torch's own Linear or Embedding with a plain one: merge an adapter into the weight before quantize, "
                "start from the model before another library quantized or distributed it, or leave it out with exclude"
            )
        if (first := seen.setdefault(id(module.weight), name)) != name:
            raise ValueError(
                f"{name} shares its weight with {first}, and each would be quantized by itself: give it a weight of "
                "its own, such as copy.deepcopy of the module"
            )
        if isinstance(module, nn.Linear) and rank > min(module.weight.shape):
            raise ValueError(
                f"lora_rank is {rank} but {name} is a matrix of {tuple(module.weight.shape)}: give a rank of at most "
                f"{min(module.weight.shape)}; XTC uses 1 and 8"
            )
