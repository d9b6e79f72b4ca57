"""How fast is a packed model on a processor, how soon does it answer, and how much memory does it take?

Times classifiers of BERT-base's and MiniLM's shape with random weights in every runtime that is installed: packed ones
in xtcq's, and the same shape in floating point and with somebody's eight bits. Variants get the same tokens in one run
and take turns, so that a drift of the machine's speed hits them all; a ratio is the median over the turns. What the
machine could do at most, products a second and bytes a second, is measured in the same run.

onnxruntime's dynamic int8 stands there twice: of the graph that PyTorch exports and onnxruntime's optimizer fuses, as
its documentation says, and of the graph that xtcq makes of the fp32 model, whose operators are faster ones.

Models are also loaded from disk, each in a process of its own, up to the first answer. With ``--packed`` and
``--full``, two trained classifiers of SST-2, the labels of all variants are counted on its development set.

    python benchmarks/inference.py --json benchmarks/results/inference-cpu.json
    python benchmarks/inference.py --arch minilm-l6 --rounds 3 --shape 1x16      # a look
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated

import numpy as np
import onnx
import onnxruntime
import pandas as pd
import torch
import typer
from machine import processor
from onnxruntime.quantization import quantize_dynamic
from onnxruntime.transformers.optimizer import optimize_model
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

from xtcq.deploy.export import export_onnx
from xtcq.deploy.prepared import INPUTS
from xtcq.deploy.runtime import Runtime, session_options
from xtcq.packing import load_packed, save_packed
from xtcq.quantization import ARCHITECTURES, QuantConfig, freeze, quantize
from xtcq.tasks import encode, load_task

BASELINE, PEER = "PyTorch fp32", "onnxruntime dynamic int8"
# Recipe adaqat has learned steps, which are constants: no range is looked for when the model answers.
PACKED = {"1-1-8": ("1-1-8", "xtc"), "2-2-8": ("2-2-8", "xtc"), "2-2-8 adaqat": ("2-2-8", "adaqat")}
OPTIONAL = ("openvino", "ctranslate2", "llama_cpp")
PAUSE = 0.05  # seconds
LARGE = 1024  # tokens of a batch
FEW = 16  # tokens, beyond which weights of two bits in memory are far behind
MIB = 2**20
TEXT = " ".join(f"w{i}" for i in range(30))
Batch = Mapping[str, np.ndarray]
Variant = Callable[[Batch], np.ndarray]
# What a program does that has nothing loaded yet.
LOADERS = {
    BASELINE: """
import torch
from transformers import AutoTokenizer, BertForSequenceClassification
ready()
tokenizer = AutoTokenizer.from_pretrained(folder)
model = BertForSequenceClassification.from_pretrained(folder, dtype=torch.float32).eval()
with torch.inference_mode():
    model(**tokenizer([text], return_tensors="pt"))
""",
    "onnxruntime fp32": """
import onnxruntime, tokenizers
ready()
tokenizer = tokenizers.Tokenizer.from_file(folder + "/tokenizer.json")
session = onnxruntime.InferenceSession(folder + "/xtcq.onnx", providers=["CPUExecutionProvider"])
one = tokenizer.encode(text)
session.run(None, {"input_ids": [one.ids], "attention_mask": [one.attention_mask], "token_type_ids": [one.type_ids]})
""",
    "xtcq": """
from xtcq.deploy.runtime import Runtime
ready()
Runtime(folder).predict([text])
""",
}
FRAME = """
import json, pathlib, sys, time
started = time.perf_counter()
folder, text = sys.argv[1:]
def ready():
    global imported, floor
    imported, floor = time.perf_counter(), peak()
def peak():
    # getrusage would count what the parent held when it forked.
    status = pathlib.Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024
{body}
done = time.perf_counter()
print(json.dumps({{"imports (s)": imported - started, "first answer (s)": done - started,
                   "processor (s)": time.process_time(), "memory after imports (MiB)": floor,
                   "above imports (MiB)": peak() - floor}}))
"""


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


def random_models(arch: str, layers: int | None, folder: Path) -> tuple[Path, dict[str, Path]]:
    """Write a floating-point model and packed ones, and return their folders."""
    config = BertConfig(**ARCHITECTURES[arch] | ({"num_hidden_layers": layers} if layers else {}))
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


def variants_of(full: Path, packed: Mapping[str, Path], threads: int) -> dict[str, tuple[Variant, int]]:
    """Return of every variant what runs a batch, and the bytes of its file."""
    model = BertForSequenceClassification.from_pretrained(full, dtype=torch.float32).eval()
    half = BertForSequenceClassification.from_pretrained(full, dtype=torch.bfloat16).eval()
    weights = (full / "model.safetensors").stat().st_size
    found = {BASELINE: (_pytorch(model), weights), "PyTorch bf16": (_pytorch(half), weights // 2)}
    graphs = {
        "onnxruntime fp32": "onnxruntime.onnx",
        PEER: "onnxruntime-int8.onnx",
        "onnxruntime fp32, xtcq's graph": "xtcq.onnx",
        f"{PEER}, xtcq's graph": "xtcq-int8.onnx",
    }
    for name, file in graphs.items():
        found[name] = _session(full / file, threads), (full / file).stat().st_size
    if importlib.util.find_spec("openvino"):
        import openvino

        compiled = openvino.Core().compile_model(full / "exported.onnx", "CPU", {"INFERENCE_NUM_THREADS": threads})
        precision = compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
        found[f"OpenVINO {precision}"] = (lambda batch: compiled(dict(batch))["logits"]), weights
    if importlib.util.find_spec("ctranslate2"):
        import ctranslate2

        encoder = ctranslate2.Encoder(str(full / "ctranslate2"), intra_threads=threads)
        size = sum(path.stat().st_size for path in (full / "ctranslate2").iterdir())
        found["CTranslate2 int8"] = _ctranslate2(encoder, model), size
    for name, folder in packed.items():
        found[f"xtcq {name}"] = Runtime(folder, threads=threads).logits, (folder / "packed.safetensors").stat().st_size
    name, folder = next((name, folder) for name, folder in packed.items() if name == "2-2-8" or len(packed) == 1)
    found[f"xtcq {name}, matmulnbits"] = Runtime(folder, "matmulnbits", threads).logits, found[f"xtcq {name}"][1]
    return found


def _pytorch(model: torch.nn.Module) -> Variant:
    def call(batch: Batch) -> np.ndarray:
        with torch.inference_mode():
            return model(**{name: torch.from_numpy(values) for name, values in batch.items()}).logits.float().numpy()

    return call


def _session(path: Path, threads: int) -> Variant:
    session = onnxruntime.InferenceSession(path, session_options(threads), providers=["CPUExecutionProvider"])
    return lambda batch: session.run(None, dict(batch))[0]


def _ctranslate2(encoder, model: BertForSequenceClassification) -> Variant:
    """It has the encoder and the pooler, and the classifier is a product of NumPy."""
    weight, bias = (tensor.detach().numpy() for tensor in (model.classifier.weight, model.classifier.bias))

    def call(batch: Batch) -> np.ndarray:
        lengths = batch["attention_mask"].sum(1)
        ids = [row[:length].tolist() for row, length in zip(batch["input_ids"], lengths, strict=True)]
        types = [row[:length].tolist() for row, length in zip(batch["token_type_ids"], lengths, strict=True)]
        return np.array(encoder.forward_batch(ids, token_type_ids=types).pooler_output) @ weight.T + bias

    return call


def measure(
    variants: Mapping[str, tuple[Variant, int]], rows: int, tokens: int, rounds: int, clock: Callable[[], float]
) -> pd.DataFrame:
    """Seconds of every variant in every round, one row a round."""
    ids = np.random.default_rng(0).integers(1000, 30000, (rows, tokens))
    batch = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
    seconds: list[dict[str, float]] = []
    large = rows * tokens >= LARGE
    for _ in range(rounds + (not large)):
        row = {}
        for name, (run, _) in variants.items():
            # The threads of the variant before still spin for a while, and would slow this one down.
            time.sleep(PAUSE)
            if not large:  # a large one fills the caches itself
                run(batch)
            started = clock()
            run(batch)
            row[name] = clock() - started
        seconds.append(row)
    return pd.DataFrame(seconds[not large :])  # the first round warms up


def roofline(clock: Callable[[], float]) -> dict[str, float]:
    """What the machine does at most: GMAC a second by number format, and GB a second that are read."""
    x, w = torch.randn(1024, 768), torch.randn(768, 3072)
    xi, wi = (torch.randint(-127, 128, t.shape, dtype=torch.int8) for t in (x, w))
    xh, wh, big = x.bfloat16(), w.bfloat16(), torch.ones(2**27)
    macs = x.shape[0] * w.numel() / 1e9
    bf16 = macs / _best(lambda: xh @ wh, clock)
    return {
        "fp32 (GMAC/s)": macs / _best(lambda: x @ w, clock),
        "bf16 (GMAC/s)": bf16,
        # Bytes are exact in bf16: a processor multiplies them at least that fast.
        "int8 (GMAC/s)": max(bf16, macs / _best(lambda: torch._int_mm(xi, wi), clock)),
        "memory (GB/s)": big.nbytes / 1e9 / _best(lambda: big.sum(), clock),
    }


def _best(call: Callable[[], object], clock: Callable[[], float]) -> float:
    seconds = []
    for _ in range(12):
        started = clock()
        call()
        seconds.append(clock() - started)
    return min(seconds)


def least_seconds(arch: str, layers: int | None, rows: int, tokens: int, peak: Mapping[str, float]) -> dict[str, float]:
    """The time that products and weights take at least, where every weight is read from memory once."""
    config = BertConfig(**ARCHITECTURES[arch] | ({"num_hidden_layers": layers} if layers else {}))
    hidden, count = config.hidden_size, config.num_hidden_layers
    weights = count * (4 * hidden * hidden + 2 * hidden * config.intermediate_size)
    attention = 2 * count * rows * tokens * tokens * hidden / 1e9 / peak["fp32 (GMAC/s)"]
    found = {}
    for name, kind, bits in (("fp32", "fp32", 32), ("bf16", "bf16", 16), ("int8", "int8", 8), ("2 bits", "int8", 2)):
        products = rows * tokens * weights / 1e9 / peak[f"{kind} (GMAC/s)"]
        found[name] = max(products, weights * bits / 8e9 / peak["memory (GB/s)"]) + attention
    return found


def agreement(full: Path, packed: Path, threads: int) -> pd.DataFrame:
    """Labels on SST-2's development set that are those of the same weights in PyTorch: the fp32 model, the student."""
    task = load_task("sst2")
    tokenizer = AutoTokenizer.from_pretrained(packed)
    texts = task.evaluation["validation"]
    examples = encode(texts, task.spec, tokenizer)
    order = np.argsort(examples.lengths, kind="stable")
    batches = []
    for at in range(0, len(order), 32):
        chosen = [examples[int(row)] for row in order[at : at + 32]]
        batches.append(tokenizer.pad({name: [one[name] for one in chosen] for name in INPUTS}, return_tensors="np"))
    name = "student"
    found = variants_of(full, {name: packed}, threads)
    found |= {"student, PyTorch": (_pytorch(load_packed(packed)), 0)}
    labels = {
        way: np.concatenate([run({key: one[key].astype(np.int64) for key in INPUTS}).argmax(1) for one in batches])
        for way, (run, _) in found.items()
    }
    truth = texts["label"].to_numpy()[order]
    same = {way: labels["student, PyTorch" if way.startswith(("xtcq", name)) else BASELINE] for way in labels}
    table = pd.DataFrame({"accuracy": {way: 100 * (made == truth).mean() for way, made in labels.items()}})
    table["other labels"] = [int((made != same[way]).sum()) for way, made in labels.items()]
    return table.assign(of=len(truth))


def load(kind: str, folder: Path, repeats: int) -> pd.Series:
    """Medians over fresh processes: seconds to the first answer, and memory."""
    found = []
    for _ in range(repeats):
        command = [sys.executable, "-c", FRAME.format(body=LOADERS[kind]), str(folder), TEXT]
        result = subprocess.run(command, check=True, capture_output=True, text=True)
        found.append(json.loads(result.stdout.splitlines()[-1]))
    return pd.DataFrame(found).median()


def table_of(seconds: pd.DataFrame, variants: Mapping[str, tuple[Variant, int]]) -> pd.DataFrame:
    """Milliseconds, ratios with their quartiles, and bytes, one row a variant."""
    table = pd.DataFrame({"ms (median)": 1000 * seconds.median()})
    for other in (BASELINE, PEER):
        speed = (1 / seconds).mul(seconds[other], axis=0)
        table[f"times as fast as {other}"] = speed.median()
        for name, share in (("lower quartile", 0.25), ("upper quartile", 0.75)):
            table[f"{name}, {other}"] = speed.quantile(share)
    return table.assign(**{"file (MiB)": [size / MIB for _, size in variants.values()]})


def main(
    arch: Annotated[list[str], typer.Option(help="may be given several times")] = ["bert-base", "minilm-l6"],  # noqa: B006
    shape: Annotated[list[str], typer.Option(help="rows x tokens; may be given several times")] = [  # noqa: B006
        *("1x4", "1x8", "1x16", "1x128", "32x128")
    ],
    layers: Annotated[int | None, typer.Option(min=1, help="depth, if other than the architecture's")] = None,
    rounds: Annotated[int, typer.Option(min=1, help="of a text; a batch of 32 gets a fifth of them")] = 20,
    threads: Annotated[list[int], typer.Option(help="may be given several times")] = [1, os.cpu_count() or 1],  # noqa: B006
    cpu_time: Annotated[
        bool, typer.Option("--cpu-time", help="one thread by the processor's time, for a machine in use")
    ] = False,
    loads: Annotated[int, typer.Option(help="fresh processes per model that is loaded; 0 for none")] = 3,
    packed: Annotated[Path | None, typer.Option(help="a packed student of SST-2, to count labels")] = None,
    full: Annotated[Path | None, typer.Option(help="a full-precision classifier of SST-2, likewise")] = None,
    output: Annotated[Path | None, typer.Option("--json", help="also write the figures here")] = None,
) -> None:
    """Print milliseconds and ratios to fp32 PyTorch and to onnxruntime's dynamic int8."""
    there = [name for name in OPTIONAL if importlib.util.find_spec(name)]
    packages = ("torch", "transformers", "onnxruntime", *(name for name in there))
    result = {
        "device": processor(),
        "rounds": rounds,
        "clock": "the processor's time on one thread, the wall's on more" if cpu_time else "the wall's",
        "not installed": ", ".join(sorted(set(OPTIONAL) - set(there))),
        "versions": {name: importlib.metadata.version(name) for name in packages},
        "roofline": {"peak": {}, "least ms": {}},
        "batches": {},
        "load": {},
        "agreement": {},
    }
    with tempfile.TemporaryDirectory() as name:
        if packed and full:
            model = BertForSequenceClassification.from_pretrained(full, dtype=torch.float32).eval()
            trained = Path(name) / "trained"
            save_full(model, AutoTokenizer.from_pretrained(full), trained)
            table = agreement(trained, packed, threads[0])
            typer.echo(f"\n{table.to_string()}")
            result["agreement"]["sst2, minilm-l6"] = table.to_dict("index")
        for kind in arch:
            folder = Path(name) / kind
            floating, students = random_models(kind, layers, folder)
            for count in threads:
                torch.set_num_threads(count)
                clock = time.process_time if cpu_time and count == 1 else time.perf_counter
                peak = result["roofline"]["peak"].setdefault(f"{count} threads", roofline(clock))
                variants = variants_of(floating, students, count)
                for one in shape:
                    rows, tokens = map(int, one.split("x"))
                    turns = rounds if rows == 1 else max(2, rounds // 5)
                    timed = {n: v for n, v in variants.items() if rows * tokens <= FEW or "matmulnbits" not in n}
                    table = table_of(measure(timed, rows, tokens, turns, clock), timed)
                    place = f"{kind}{f' of {layers} layers' if layers else ''}, {one}, {count} threads"
                    typer.echo(f"\n{place}\n{table.iloc[:, [0, 1, 4]].round(2).to_string()}")
                    result["batches"][place] = table.to_dict("index")
                    least = least_seconds(kind, layers, rows, tokens, peak)
                    result["roofline"]["least ms"][place] = {key: 1000 * value for key, value in least.items()}
                    _write(result, output)
                del variants
            if loads:
                kinds = {BASELINE: floating, "onnxruntime fp32": floating, "xtcq": students["1-1-8"]}
                table = pd.DataFrame({way: load(way, path, loads) for way, path in kinds.items()}).T
                typer.echo(f"\n{kind}\n{table.round(2).to_string()}")
                result["load"][kind] = table.to_dict("index")
    _write(result, output)


def _write(result: dict, output: Path | None) -> None:
    """Write what there is so far."""
    if output:
        output.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    typer.run(main)
