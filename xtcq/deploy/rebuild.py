"""A frozen model from its configuration, its quantization map and its tensors."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from typing import Any

import torch
from accelerate import init_empty_weights
from torch import Tensor, nn
from transformers import (
    BertConfig,
    BertForQuestionAnswering,
    BertForSequenceClassification,
    BertModel,
    PreTrainedModel,
)

from xtcq.deploy.bits import CodeFormat
from xtcq.deploy.manifest import CONFIG_FILE, MAP_FILE, WEIGHTS_FILE, Manifest, PackedModelError
from xtcq.quantization import (
    BinaryQuantizer,
    DynamicQuantizer,
    FrozenEmbedding,
    FrozenLinear,
    LearnedClipQuantizer,
    LSQQuantizer,
    Precision,
    QuantConfig,
    QuantizedTensor,
    Quantizer,
    QuantLinear,
    SplitEmbedding,
    SplitLinear,
    TernaryQuantizer,
    use_score_attention,
)
from xtcq.quantization.targets import find_encoder

MODELS = {model.__name__: model for model in (BertModel, BertForSequenceClassification, BertForQuestionAnswering)}
REST_DTYPES = {"fp32": torch.float32, "fp16": torch.float16}


def rebuild(config: bytes, manifest: Manifest, tensors: Mapping[str, Tensor]) -> PreTrainedModel:
    """Build the model that was packed.

    Args:
        config: content of `config.json`.
        manifest: the quantization map.
        tensors: content of the weights' file.

    Returns:
        The frozen model in float32 and evaluation mode.

    Raises:
        PackedModelError: the three do not fit together; the message names what does not.
    """
    model = _skeleton(config, tensors)
    for name, entry in manifest.modules.items():
        try:
            _convert(model, name, entry)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise PackedModelError(
                f"{MAP_FILE} does not fit {CONFIG_FILE} at module {name!r} ({error!r}): pack the model again"
            ) from error
    try:
        model.quant_config = QuantConfig(Precision.parse(manifest.precision), manifest.recipe, manifest.lora_rank)
        rest = REST_DTYPES[manifest.rest]
    except (KeyError, TypeError, ValueError) as error:
        raise PackedModelError(f"{MAP_FILE} holds a value that is unknown ({error}): pack the model again") from error
    use_score_attention(find_encoder(model)[1])
    model.load_state_dict(_state(model, tensors, rest), assign=True)
    return model.eval()


def implied_state(model: nn.Module) -> dict[str, Tensor]:
    """Return what a file need not store, by state-dict key: all steps of a file are set, and the map has the widths."""
    found = {name: module for name, module in model.named_modules() if isinstance(module, LSQQuantizer)}
    flags = {f"{name}.initialized": torch.tensor(True) for name in found}
    return flags | {f"{name}.width": torch.tensor(m.bits, dtype=m.width.dtype) for name, m in found.items()}


def code_formats(model: nn.Module) -> dict[str, CodeFormat]:
    """Return how the codes of every frozen layer are stored, by state-dict key."""
    frozen = {name: m for name, m in model.named_modules() if isinstance(m, (FrozenLinear, FrozenEmbedding))}
    return {f"{name}.codes": CodeFormat.of(module.weight_format) for name, module in frozen.items()}


def _skeleton(config: bytes, tensors: Mapping[str, Tensor]) -> PreTrainedModel:
    try:
        fields = json.loads(config)
        (kind,) = fields["architectures"]
        model_class = MODELS[kind]
        # A BertModel may have been built without its pooler, and its configuration does not say so.
        bare = kind == "BertModel" and not any(name.startswith("pooler.") for name in tensors)
        with init_empty_weights(include_buffers=False):
            return model_class(BertConfig.from_dict(fields), **({"add_pooling_layer": False} if bare else {}))
    except (ArithmeticError, KeyError, TypeError, ValueError) as error:
        raise PackedModelError(
            f"{CONFIG_FILE} does not describe one of {', '.join(MODELS)} ({error!r}): pack the model again"
        ) from error


def _convert(model: nn.Module, name: str, entry: Mapping[str, Any]) -> None:
    """Replace or extend one module as its entry says; tensors stay on the meta device."""
    module = model.get_submodule(name)
    kind = entry["kind"]
    kinds = {"linear": nn.Linear, "embedding": nn.Embedding, "attention": nn.Module}
    expected = kinds["embedding" if isinstance(module, nn.Embedding) else "linear"] if kind == "split" else kinds[kind]
    if not isinstance(module, expected):
        raise ValueError(f"{type(module).__name__} is not of kind {kind!r}")
    if kind == "attention":
        operands = {key: _quantizer(settings) for key, settings in entry["operands"].items()}
        module.operand_quantizers = nn.ModuleDict(operands)
        return
    if kind == "split":
        model.set_submodule(name, _halves(module, entry))
        return
    if kind == "embedding":
        model.set_submodule(name, FrozenEmbedding(_empty_codes(module, entry["weight"]), entry["weight"]))
        return
    inputs = None if entry["input"] is None else _quantizer(entry["input"])
    layer = QuantLinear.from_float(module, None, inputs, entry["lora_rank"])
    if entry["weight"] is not None:
        weight = _empty_codes(module, entry["weight"])
        layer = FrozenLinear(weight, entry["weight"], layer.bias, inputs, layer.lora_u, layer.lora_v)
    model.set_submodule(name, layer)


def _halves(module: nn.Linear | nn.Embedding, entry: Mapping[str, Any]) -> nn.Module:
    """Two layers in the place of one; the entries of the halves, which come later in the map, convert them."""
    if isinstance(module, nn.Embedding):
        return SplitEmbedding(module, copy.deepcopy(module))
    second = copy.deepcopy(module)
    second.bias = None
    return SplitLinear(module, second, None if entry["input"] is None else _quantizer(entry["input"]))


def _empty_codes(module: nn.Linear | nn.Embedding, weight_format: dict[str, Any]) -> QuantizedTensor:
    shape = module.weight.shape
    codes = torch.empty(shape, dtype=CodeFormat.of(weight_format).dtype, device="meta")
    scale = torch.empty(() if weight_format["granularity"] == "tensor" else (shape[0], 1), device="meta")
    zero_point = None if weight_format.get("symmetric", True) else torch.empty_like(scale)
    return QuantizedTensor(codes, scale, zero_point)


def _quantizer(settings: Mapping[str, Any]) -> Quantizer:
    """Invert `Quantizer.describe`."""
    kinds = (BinaryQuantizer, TernaryQuantizer, DynamicQuantizer, LearnedClipQuantizer, LSQQuantizer)
    kind = {one.name: one for one in kinds}[settings["quantizer"]]
    # Settings that a kind fixes are no arguments of it.
    fixed = {BinaryQuantizer: ("bits",), TernaryQuantizer: ("bits",)} | dict.fromkeys(kinds[3:], ("clip",))
    fixed = fixed.get(kind, ())
    return kind(**{key: value for key, value in settings.items() if key not in ("quantizer", *fixed)})


def _state(model: nn.Module, tensors: Mapping[str, Tensor], rest: torch.dtype) -> dict[str, Tensor]:
    """Check names, dtypes and shapes of the stored tensors, and return what `model` loads."""
    formats, loaded = code_formats(model), implied_state(model)
    expected = {key: value for key, value in model.state_dict().items() if key not in loaded}
    if odd := sorted(expected.keys() ^ tensors.keys()):
        state = "lacks" if odd[0] in expected else "holds, beyond what the model has,"
        raise PackedModelError(
            f"{WEIGHTS_FILE} {state} {odd[0]!r} ({len(odd)} names differ): it does not belong to {CONFIG_FILE} and "
            f"{MAP_FILE}, pack the model again"
        )
    for key, empty in expected.items():
        found = tensors[key]
        coding = formats.get(key)
        shape = (coding.packed_bytes(empty.numel()),) if coding else tuple(empty.shape)
        dtype = torch.uint8 if coding else rest
        if tuple(found.shape) != shape or found.dtype != dtype:
            raise PackedModelError(
                f"{WEIGHTS_FILE} has {key} of shape {tuple(found.shape)} and {found.dtype}, expected {shape} and "
                f"{dtype}: it does not belong to {CONFIG_FILE} and {MAP_FILE}, pack the model again"
            )
        try:
            loaded[key] = coding.unpack(found, empty.numel()).view(empty.shape) if coding else found.float()
        except ValueError as error:
            raise PackedModelError(f"{WEIGHTS_FILE}, {key}: {error}; pack the model again") from error
    return loaded
