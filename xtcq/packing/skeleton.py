"""The model that a packed folder describes, before it has any values."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from transformers import BertConfig, PreTrainedModel

from xtcq.checks import check_choice, check_integer, check_positive
from xtcq.packing.manifest import CONFIG_FILE, MAP_FILE, Manifest, PackedModelError
from xtcq.preflight import PACKABLE
from xtcq.quantization import Precision, QuantConfig, find_encoder, freeze, quantization_map, quantize, set_widths
from xtcq.quantization.precision import FLOAT_BITS

MODELS = {model.__name__: model for model in PACKABLE}


def skeleton(config: bytes, manifest: Manifest, tensors: Mapping[str, Tensor]) -> PreTrainedModel:
    """Build the frozen model without values: what ``quantize`` and ``freeze`` make of the settings that were saved.

    The file's tensors tell whether a BertModel has a pooler, which its configuration does not say, and how large a
    model may be that is built for them.

    Raises:
        PackedModelError: the configuration or the map describes no such model, or one too large for the file.
    """
    bare = not any(name.startswith("pooler.") for name in tensors)
    try:
        # Those that begin so are transformers' own notes, the name of an attention implementation among them.
        fields = {name: value for name, value in json.loads(config).items() if not name.startswith("_")}
        (kind,) = fields["architectures"]
        options = {"add_pooling_layer": False} if bare and kind == "BertModel" else {}
        check_choice("model_type", fields.get("model_type", BertConfig.model_type), (BertConfig.model_type,))
        _check_size(fields, tensors)
        # For this thread alone: accelerate's init_empty_weights changes what all of a process builds meanwhile.
        with torch.device("meta"):
            model = MODELS[kind](BertConfig.from_dict(fields), **options).float()  # whatever torch's default is
        # Buffers that no file holds.
        embeddings = find_encoder(model)[1].embeddings
        embeddings.position_ids = torch.arange(model.config.max_position_embeddings).expand(1, -1)
        embeddings.token_type_ids = torch.zeros_like(embeddings.position_ids)
    except Exception as error:  # transformers raises of many classes where a value is none of a configuration
        raise PackedModelError(
            f"{CONFIG_FILE} does not describe one of {', '.join(MODELS)} ({error!r}): pack the model again"
        ) from error
    modules = manifest.modules
    try:
        if len(modules) > len(tensors):
            raise ValueError(f"{len(modules)} modules and {len(tensors)} tensors")
        # The halves of a layer that was split come with it.
        names = [name for name in modules if modules.get(name.rpartition(".")[0], {}).get("kind") != "split"]
        settings = QuantConfig(Precision.parse(manifest.precision), manifest.recipe, manifest.lora_rank)
        quantize(model, settings, include=names)
        linears = {name: entry for name, entry in modules.items() if entry["kind"] == "linear"}
        set_widths(model, {name: (_bits(entry, "weight"), _bits(entry, "input")) for name, entry in linears.items()})
        freeze(model)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise PackedModelError(f"{MAP_FILE} does not fit {CONFIG_FILE} ({error}): pack the model again") from error
    made = quantization_map(model)
    for name in modules | made:
        stated, given = modules.get(name, {}), made.get(name, {})
        for field in stated | given:
            if stated.get(field) != given.get(field):
                raise PackedModelError(
                    f"{MAP_FILE} says {field} {stated.get(field)!r} of module {name!r}, where recipe "
                    f"{manifest.recipe!r} at {manifest.precision} has {given.get(field)!r}: pack the model again"
                )
    return model


def _check_size(fields: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """Refuse, by a ValueError, a larger model than a file can hold, before any memory is asked for."""
    most = 8 * sum(tensor.nbytes for tensor in tensors.values())  # one bit each
    sizes = ("vocab_size", "hidden_size", "intermediate_size", "max_position_embeddings", "type_vocab_size")
    found = {name: fields.get(name, 1) for name in (*sizes, "num_hidden_layers", "num_attention_heads", "num_labels")}
    for name, value in found.items():
        check_integer(name, value, 1, most)
    hidden = found["hidden_size"]
    check_integer("num_hidden_layers", found["num_hidden_layers"], 1, len(tensors))
    for name in sizes:
        check_integer(f"{name} x hidden_size", found[name] * hidden, 1, most)
    check_positive("layer_norm_eps", fields.get("layer_norm_eps", 1e-12))


def _bits(entry: Mapping[str, Any], side: str) -> int:
    return FLOAT_BITS if entry.get(side) is None else entry[side]["bits"]
