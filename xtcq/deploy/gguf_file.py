"""A frozen classifier as a GGUF file, which llama.cpp loads."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn
from transformers import BertForSequenceClassification, PreTrainedModel

from xtcq.files import whole_file
from xtcq.outputs import CLASSES, problem_type
from xtcq.packing import load_packed
from xtcq.packing.bits import pack_bits
from xtcq.preflight import check_integer_graph
from xtcq.quantization import QuantizedLayer, SplitLayer

if TYPE_CHECKING:
    from gguf import GGUFWriter

# Of transformers' names of an encoder layer, llama.cpp's.
_LAYER = {
    "attention.self.query": "attn_q",
    "attention.self.key": "attn_k",
    "attention.self.value": "attn_v",
    "attention.output.dense": "attn_output",
    "attention.output.LayerNorm": "attn_output_norm",
    "intermediate.dense": "ffn_up",
    "output.dense": "ffn_down",
    "output.LayerNorm": "layer_output_norm",
}
# Formats by the number of levels of a code.
_FORMATS = {2: ("Q1_0",), 3: ("Q2_0", "TQ2_0")}
_SPECIAL = {"cls": "bos", "sep": "sep", "unk": "unk", "pad": "pad", "mask": "mask"}


def export_gguf(folder: str | Path, path: str | Path) -> Path:
    """Write a packed classifier as a GGUF file: its binary weights at 1.125 bits each, its ternary ones at 2.1 to 2.3.

    llama.cpp loads it as a BERT with a classification head (pooling "rank"), and gives the logits. Weights are those of
    the packed model, but for their scales, which a GGUF file holds in half precision. Activations are not: llama.cpp
    rounds them to 8 bits with one scale for 32 of them, where a student was trained with one for a token, or less bits.
    It approximates GELU, and takes every text as a first segment. So labels can differ, and those of the second text of
    a pair will; count them before you rely on them.

    Args:
        folder: of a packed model with a tokenizer of word pieces.
        path: the file to write.

    Returns:
        The path.

    Raises:
        ModuleNotFoundError: the package gguf is not installed.
        FileNotFoundError: there is no packed model, or no tokenizer, in the folder.
        PackedModelError: the packed model is damaged; see ``load_packed``.
        ValueError: it is no classifier into classes, or has what the format cannot hold: weights of other widths than
            binary and ternary, rows that are no multiple of a block, a low-rank term, another tokenizer.
        OSError: the file cannot be written.
    """
    if importlib.util.find_spec("gguf") is None:
        raise ModuleNotFoundError("GGUF files are written by the package gguf: pip install gguf")
    from gguf import GGUFWriter

    folder, path = Path(folder).absolute(), Path(path).absolute()
    model = load_packed(folder)
    _check(folder, model)
    vocabulary = _vocabulary(folder)
    with whole_file(path) as temporary:
        writer = GGUFWriter(temporary, "bert")
        try:
            _describe(writer, model.config, folder.name)
            _add_vocabulary(writer, vocabulary, model.config.vocab_size)
            for name, module, attribute in _tensors(model):
                _add_tensor(writer, f"{name}.{attribute}", module, attribute)
            writer.write_header_to_file()
            writer.write_kv_data_to_file()
            writer.write_tensors_to_file()
        finally:
            writer.close()
    return path


def _check(folder: Path, model: PreTrainedModel) -> None:
    if not isinstance(model, BertForSequenceClassification) or problem_type(model.config) != CLASSES:
        raise ValueError(
            f"{folder} holds a {type(model).__name__}, expected a BertForSequenceClassification whose labels exclude "
            "each other: export others to ONNX"
        )
    check_integer_graph(model.config)
    if model.config.hidden_act != "gelu":
        raise ValueError(f"hidden_act is {model.config.hidden_act!r}, and llama.cpp's BERT has 'gelu': export to ONNX")
    for name, module in model.named_modules():
        if isinstance(module, SplitLayer) or getattr(module, "lora_u", None) is not None:
            raise ValueError(f"{name} is a sum of two terms, which a GGUF file cannot hold: export to ONNX")


def _vocabulary(folder: Path) -> dict[str, Any]:
    path = folder / "tokenizer.json"
    if not path.is_file():
        raise FileNotFoundError(f"{folder} has no tokenizer.json: pack the model again with its tokenizer")
    tokenizer = json.loads(path.read_bytes())
    kind = tokenizer["model"]["type"]
    if kind != "WordPiece" or not (tokenizer.get("normalizer") or {}).get("lowercase"):
        raise ValueError(f"{path} is a {kind} tokenizer, expected WordPiece in lower case: export to ONNX")
    return tokenizer


def _describe(writer: GGUFWriter, config: Any, name: str) -> None:
    from gguf import PoolingType

    writer.add_name(name)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_head_count(config.num_attention_heads)
    writer.add_layer_norm_eps(config.layer_norm_eps)
    writer.add_causal_attention(False)
    writer.add_pooling_type(PoolingType.RANK)
    writer.add_classifier_output_labels([str(config.id2label[i]) for i in range(config.num_labels)])
    writer.add_token_type_count(config.type_vocab_size)


def _add_vocabulary(writer: GGUFWriter, tokenizer: dict[str, Any], size: int) -> None:
    from gguf import TokenType

    special = {token["content"] for token in tokenizer["added_tokens"] if token["special"]}
    pieces = tokenizer["model"]["vocab"] | {token["content"]: token["id"] for token in tokenizer["added_tokens"]}
    tokens, kinds = [f"[unused_{i}]" for i in range(size)], [TokenType.UNUSED] * size
    for piece, number in pieces.items():
        kinds[number] = TokenType.CONTROL if piece in special else TokenType.NORMAL
        # As in a vocabulary of SentencePiece: what begins a word is marked, and not what goes on.
        tokens[number] = piece if piece in special else piece[2:] if piece.startswith("##") else "\u2581" + piece
    writer.add_tokenizer_model("bert")
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    for role, theirs in _SPECIAL.items():
        getattr(writer, f"add_{theirs}_token_id")(pieces[f"[{role.upper()}]"])
    writer.add_eos_token_id(pieces["[SEP]"])


def _tensors(model: Any) -> Iterator[tuple[str, nn.Module, str]]:
    """Yield llama.cpp's name of every module, the module, and which of its tensors."""
    tables = model.bert.embeddings
    modules = {
        "token_embd": tables.word_embeddings,
        "position_embd": tables.position_embeddings,
        "token_types": tables.token_type_embeddings,
        "token_embd_norm": tables.LayerNorm,
        "cls": model.bert.pooler.dense,
        "cls.output": model.classifier,
    }
    for number, layer in enumerate(model.bert.encoder.layer):
        modules |= {f"blk.{number}.{theirs}": layer.get_submodule(ours) for ours, theirs in _LAYER.items()}
    for name, module in modules.items():
        yield name, module, "weight"
        if getattr(module, "bias", None) is not None:
            yield name, module, "bias"


def _add_tensor(writer: GGUFWriter, name: str, module: Any, attribute: str) -> None:
    packed = attribute == "weight" and isinstance(module, QuantizedLayer) and module.is_frozen
    # llama.cpp adds the first row of segments, and looks positions up, in floating point.
    if packed and name not in ("position_embd.weight", "token_types.weight"):
        data, kind = _blocks(name, module)
        writer.add_tensor(name, data, raw_dtype=kind)
        return
    values = module.quantized_weight().dequantize() if packed else getattr(module, attribute)
    writer.add_tensor(name, values.detach().numpy().astype(np.float32))


def _blocks(name: str, layer: Any) -> tuple[np.ndarray, Any]:
    """Codes and scales as the blocks of a GGUF format, uint8 [rows, bytes]."""
    from gguf import GGML_QUANT_SIZES, GGMLQuantizationType
    from gguf.quants import quantize

    coding = layer.code_format
    levels = 3 if coding.ternary else 2**coding.bits
    rows, width = layer.codes.shape
    for known in _FORMATS.get(levels, ()):
        kind = getattr(GGMLQuantizationType, known, None)
        if kind is None or width % (block := GGML_QUANT_SIZES[kind][0]):
            continue
        if known == "TQ2_0":
            return quantize(layer.quantized_weight().dequantize().numpy(), kind), kind
        digits = ((layer.codes - coding.least) // coding.stride).to(torch.uint8).numpy().reshape(rows, -1, block)
        scales = layer.scale.expand(rows, 1).numpy().astype("<f2")
        halves = np.repeat(scales[:, None], digits.shape[1], axis=1).view(np.uint8)
        return np.concatenate([halves, pack_bits(digits, coding.bits)], axis=-1).reshape(rows, -1), kind
    raise ValueError(
        f"{name} has {levels} levels in rows of {width}, and GGUF holds binary weights in blocks of 128 and ternary "
        "ones in blocks of 64 or, if the package gguf is older than that format, of 256: export to ONNX"
    )
