"""Classifiers in every runtime that is installed: packed ones in xtcq's, and the same shape in floating point and int8.

onnxruntime's dynamic int8 is there twice: of the graph that PyTorch exports and onnxruntime's optimizer fuses, as its
documentation says, and of the graph that xtcq makes of the fp32 model, whose operators are faster ones.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from onnxruntime.quantization import quantize_dynamic
from onnxruntime.transformers.optimizer import optimize_model
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

from xtcq.deploy.export import export_onnx
from xtcq.deploy.prepared import INPUTS
from xtcq.deploy.runtime import Runtime, in_parts, session_options
from xtcq.packing import save_packed
from xtcq.quantization import ARCHITECTURES, QuantConfig, freeze, quantize

BASELINE, COMPILED, PEER = "PyTorch fp32", "PyTorch fp32, compiled", "onnxruntime dynamic int8"
TWO_BITS, PARTS = ", matmulnbits", ", in xtcq's parts"
# Recipe adaqat has learned steps, which are constants: no range is looked for when the model answers.
PACKED = {"1-1-8": ("1-1-8", "xtc"), "2-2-8": ("2-2-8", "xtc"), "2-2-8 adaqat": ("2-2-8", "adaqat")}
PAUSE = 0.05  # seconds between two of them
OPTIONAL = ("openvino", "ctranslate2", "auto_round_kernel")
Batch = Mapping[str, np.ndarray]
Run = Callable[[Batch], np.ndarray]


def installed() -> dict[str, object]:
    """Versions of the runtimes, and which optional ones are not there."""
    there = {name for name in OPTIONAL if importlib.util.find_spec(name)}
    packages = ["torch", "transformers", "onnxruntime", *sorted(there)]
    names = {"auto_round_kernel": "auto-round-lib"}
    return {
        "not installed": ", ".join(sorted(set(OPTIONAL) - there)) or None,
        "versions": {names.get(name, name): importlib.metadata.version(names.get(name, name)) for name in packages},
    }


def config_of(arch: str, layers: int | None) -> BertConfig:
    """An architecture by name, of another depth if one is given."""
    return BertConfig(**ARCHITECTURES[arch] | ({"num_hidden_layers": layers} if layers else {}))


def random_models(config: BertConfig, folder: Path) -> tuple[Path, dict[str, Path]]:
    """Write a floating-point model and packed ones, and return their folders."""
    vocabulary = {"[PAD]": 0, "[UNK]": 1} | {f"w{i}": 2 + i for i in range(config.vocab_size - 2)}
    words = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, pad_token="[PAD]", unk_token="[UNK]")
    packed = {}
    for name, (precision, recipe) in PACKED.items():
        torch.manual_seed(0)
        model = quantize(BertForSequenceClassification(config).eval(), QuantConfig(precision, recipe))
        with torch.inference_mode():
            model(torch.arange(2, 34)[None])  # the first batch sets the steps
        packed[name] = save_packed(freeze(model), folder / name, tokenizer=tokenizer)
    torch.manual_seed(0)
    save_full(BertForSequenceClassification(config).eval(), tokenizer, folder / "full")
    return folder / "full", packed


def save_full(model: BertForSequenceClassification, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Write a floating-point model in every form that a runtime reads."""
    model.config.position_embedding_type = "absolute"  # CTranslate2 asks for it
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    export_onnx(model, folder / "xtcq.onnx")
    heads, hidden = model.config.num_attention_heads, model.config.hidden_size
    ids = torch.ones(2, 8, dtype=torch.long)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # The optimizer knows attention as it was written before there was an operator for it.
        model.set_attn_implementation("eager")
        torch.onnx.export(
            model, (ids, ids, ids), folder / "exported.onnx", dynamo=False, opset_version=17, input_names=list(INPUTS),
            output_names=["logits"], dynamic_axes=dict.fromkeys(INPUTS, {0: "batch", 1: "tokens"}),
        )  # fmt: skip
        model.set_attn_implementation("sdpa")
        fused = optimize_model(str(folder / "exported.onnx"), model_type="bert", num_heads=heads, hidden_size=hidden)
        fused.save_model_to_file(str(folder / "onnxruntime.onnx"))
        # The tool does not know the optimizer's operators, and asks for the type of what they give.
        options = {"DefaultTensorType": onnx.TensorProto.FLOAT}
        quantize_dynamic(folder / "onnxruntime.onnx", folder / "onnxruntime-int8.onnx", extra_options=options)
        # The tool takes the standard's attention for its own.
        quantize_dynamic(folder / "xtcq.onnx", folder / "xtcq-int8.onnx", op_types_to_quantize=["MatMul", "Gather"])
        if importlib.util.find_spec("ctranslate2"):
            from ctranslate2.converters import TransformersConverter

            TransformersConverter(str(folder)).convert(str(folder / "ctranslate2"), force=True, quantization="int8")


def runtimes_of(full: Path, packed: Mapping[str, Path], threads: int, compiled: bool) -> dict[str, tuple[Run, int]]:
    """Return of every way what runs a batch, and the bytes of its file."""
    model = BertForSequenceClassification.from_pretrained(full, dtype=torch.float32).eval()
    half = BertForSequenceClassification.from_pretrained(full, dtype=torch.bfloat16).eval()
    weights = (full / "model.safetensors").stat().st_size
    found = {BASELINE: (_pytorch(model), weights), "PyTorch bf16": (_pytorch(half), weights // 2)}
    if compiled:
        found[COMPILED] = _pytorch(torch.compile(model, dynamic=True)), weights
    graphs = {
        "onnxruntime fp32": "onnxruntime.onnx",
        PEER: "onnxruntime-int8.onnx",
        f"{PEER}, xtcq's graph": "xtcq-int8.onnx",
    }
    for name, file in graphs.items():
        found[name] = _session(full / file, threads), (full / file).stat().st_size
    whole, size = found[PEER]
    found[PEER + PARTS] = (lambda batch: np.concatenate([whole(part) for part in in_parts(batch)])), size
    if importlib.util.find_spec("openvino"):
        import openvino

        graph = openvino.Core().compile_model(full / "exported.onnx", "CPU", {"INFERENCE_NUM_THREADS": threads})
        precision = graph.get_property("INFERENCE_PRECISION_HINT").get_type_name()
        found[f"OpenVINO {precision}"] = (lambda batch: graph(dict(batch))["logits"]), weights
    if importlib.util.find_spec("ctranslate2"):
        import ctranslate2

        encoder = ctranslate2.Encoder(str(full / "ctranslate2"), intra_threads=threads)
        size = sum(path.stat().st_size for path in (full / "ctranslate2").iterdir())
        found["CTranslate2 int8"] = _ctranslate2(encoder, model), size
    for name, folder in packed.items():
        found[f"xtcq {name}"] = Runtime(folder, threads=threads).logits, (folder / "packed.safetensors").stat().st_size
    if name := next((name for name in ("2-2-8", "student") if name in packed), None):
        found[f"xtcq {name}{TWO_BITS}"] = Runtime(packed[name], "matmulnbits", threads).logits, found[f"xtcq {name}"][1]
    return found


def _pytorch(model: torch.nn.Module) -> Run:
    def call(batch: Batch) -> np.ndarray:
        with torch.inference_mode():
            return model(**{name: torch.from_numpy(values) for name, values in batch.items()}).logits.float().numpy()

    return call


def _session(path: Path, threads: int) -> Run:
    session = onnxruntime.InferenceSession(path, session_options(threads), providers=["CPUExecutionProvider"])
    return lambda batch: session.run(None, dict(batch))[0]


def _ctranslate2(encoder, model: BertForSequenceClassification) -> Run:
    """It has the encoder and the pooler, and the classifier is a product of NumPy."""
    weight, bias = (tensor.detach().numpy() for tensor in (model.classifier.weight, model.classifier.bias))

    def call(batch: Batch) -> np.ndarray:
        lengths = batch["attention_mask"].sum(1)
        ids = [row[:length].tolist() for row, length in zip(batch["input_ids"], lengths, strict=True)]
        types = [row[:length].tolist() for row, length in zip(batch["token_type_ids"], lengths, strict=True)]
        return np.array(encoder.forward_batch(ids, token_type_ids=types).pooler_output) @ weight.T + bias

    return call
