"""Where things are in a BERT, and which of them a recipe and its patterns choose."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase

from torch import nn
from transformers import BertModel
from transformers.models.bert.modeling_bert import BertSelfAttention

from xtcq.quantization.config import QuantConfig

LAYER_LINEARS = (
    "attention.self.query",
    "attention.self.key",
    "attention.self.value",
    "attention.output.dense",
    "intermediate.dense",
    "output.dense",
)
TABLES = {
    "embeddings.word_embeddings": "token",
    "embeddings.token_type_embeddings": "segment",
    "embeddings.position_embeddings": "position",
}


def find_encoder(model: nn.Module) -> tuple[str, BertModel]:
    """Return the name ("" for the model itself) and the module of the one BertModel in `model`.

    Raises:
        ValueError: there is none, or more than one.
    """
    found = [(name, module) for name, module in model.named_modules() if isinstance(module, BertModel)]
    if len(found) != 1:
        raise ValueError(
            f"{type(model).__name__} holds {len(found)} BertModels, expected one: pass a BertModel or a model with "
            "a head on it, such as BertForSequenceClassification"
        )
    return found[0]


def recipe_linears(model: nn.Module, config: QuantConfig) -> dict[str, nn.Module]:
    """Return the linear layers of `model` that the recipe of `config` is about, by name, converted or not."""
    prefix, encoder = find_encoder(model)
    names = [f"encoder.layer.{i}.{name}" for i in range(len(encoder.encoder.layer)) for name in LAYER_LINEARS]
    if config.scheme.pooler and encoder.pooler is not None:
        names.append("pooler.dense")
    return {join_name(prefix, name): encoder.get_submodule(name) for name in names}


def choose_modules(
    model: nn.Module,
    by_recipe: list[str],
    operands: bool,
    include: str | Iterable[str] | None,
    exclude: str | Iterable[str] | None,
) -> list[str]:
    """Return the names of the modules to convert.

    Args:
        model: a model that holds one BertModel.
        by_recipe: names of the linear layers and tables that the recipe converts.
        operands: whether the recipe quantizes the operands of attention modules.
        include: see `xtcq.quantization.convert.quantize`.
        exclude: see `xtcq.quantization.convert.quantize`.

    Raises:
        ValueError: a pattern matches nothing.
    """
    attentions = [name for name, module in model.named_modules() if isinstance(module, BertSelfAttention)]
    names = by_recipe + attentions * operands
    if include is not None:
        kinds = (nn.Linear, nn.Embedding) + (BertSelfAttention,) * operands
        names = [name for name, module in model.named_modules() if isinstance(module, kinds)]
        names = _matching("include", _patterns(include), names)
    if exclude is not None:
        excluded = set(_matching("exclude", _patterns(exclude), names))
        names = [name for name in names if name not in excluded]
    return names


def _patterns(patterns: str | Iterable[str]) -> list[str]:
    return [patterns] if isinstance(patterns, str) else list(patterns)


def _matching(role: str, patterns: list[str], names: list[str]) -> list[str]:
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise ValueError(
                f"{role} pattern {pattern!r} matches none of the {len(names)} modules that can be quantized here; "
                f"their names look like {', '.join(map(repr, names[:2] + names[-1:]))}"
            )
    return [name for name in names if any(fnmatchcase(name, pattern) for pattern in patterns)]


def join_name(prefix: str, name: str) -> str:
    """Return the full name of the module `name` inside the module `prefix`, which may be the root ""."""
    return f"{prefix}.{name}" if prefix else name
