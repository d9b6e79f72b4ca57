"""The encoders that the book speaks of, as shapes without values."""

from __future__ import annotations

import torch
from transformers import BertConfig, BertModel

ARCHITECTURES: dict[str, dict[str, int]] = {
    # bert-base-uncased: the defaults of BertConfig, written out.
    "bert-base": {
        "vocab_size": 30522,
        "hidden_size": 768,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "intermediate_size": 3072,
        "max_position_embeddings": 512,
        "type_vocab_size": 2,
    },
    # all-MiniLM-L6-v2.
    "minilm-l6": {
        "vocab_size": 30522,
        "hidden_size": 384,
        "num_hidden_layers": 6,
        "num_attention_heads": 12,
        "intermediate_size": 1536,
        "max_position_embeddings": 512,
        "type_vocab_size": 2,
    },
}


def architecture(name: str, layers: int | None = None) -> BertModel:
    """Return an encoder with pooler on the meta device: shapes only, no memory, no download.

    Args:
        name: "bert-base" or "minilm-l6".
        layers: number of encoder layers, if not all of them.

    Raises:
        ValueError: name unknown, or layers out of range.
    """
    if name not in ARCHITECTURES:
        raise ValueError(f"architecture {name!r} is unknown: use one of {', '.join(map(repr, ARCHITECTURES))}")
    most = ARCHITECTURES[name]["num_hidden_layers"]
    layers = most if layers is None else layers
    if isinstance(layers, bool) or not isinstance(layers, int) or not 1 <= layers <= most:
        raise ValueError(f"layers is {layers!r}, expected an integer from 1 to {most} for {name}")
    with torch.device("meta"):
        return BertModel(BertConfig(**{**ARCHITECTURES[name], "num_hidden_layers": layers}))
