"""One way to train a 1-bit student, in a process of its own: `training_peers.py` starts it and tells it what to do.

Commands come as lines of JSON on standard input, answers go back as such lines: `{"step": i, "pad": n}` takes one
optimizer step on batch i, padded to its longest row or to n tokens, and answers its seconds; `{"save": path}` leaves
the file that a user would deploy, and answers its bytes. Nothing here is imported before the way that needs it is
chosen, since each peer lives in the peers' environment.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from common import WANTED, adamw, all_terms
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import BertForSequenceClassification

from xtcq.quantization import LAYER_LINEARS, use_score_attention
from xtcq.training import MAX_GRAD_NORM

# What XTC quantizes besides the linear layers.
TABLE = "bert.embeddings.word_embeddings"

Student = BertForSequenceClassification
Loss = Callable[[object, object, Tensor], Tensor]


class Way(ABC):
    """A student under training. Subclasses put the quantizers in, and may have an engine of their own."""

    packages: tuple[str, ...] = ()
    what = ""

    def __init__(self, student: Student, teacher: Student) -> None:
        self.teacher = use_score_attention(teacher).eval().requires_grad_(False)
        self.student = self.prepare(student)
        use_score_attention(student).train()
        self.distillation = all_terms(student.config.num_hidden_layers)
        self.optimizer = self.make_optimizer(list(student.named_parameters()))

    @abstractmethod
    def prepare(self, student: Student) -> Student:
        """Put the quantizers in; an engine of its own may be returned."""

    def make_optimizer(self, named: list[tuple[str, nn.Parameter]]) -> torch.optim.Optimizer:
        return adamw([parameter for _, parameter in named])

    def loss(self, output, target, mask: Tensor) -> Tensor:
        return self.distillation(output, target, mask)[0]

    def step(self, batch: dict[str, Tensor]) -> float:
        with torch.no_grad():
            target = self.teacher(**batch, **WANTED)
        loss = self.loss(self.student(**batch, **WANTED), target, batch["attention_mask"])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.student.parameters(), MAX_GRAD_NORM)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return loss.item()

    def save(self, path: Path) -> int:
        """What a user would deploy, and its bytes."""
        torch.save(self.student.state_dict(), path)
        return path.stat().st_size


class Xtcq(Way):
    packages = ("torch",)
    what = "binary weights, one scale per matrix and embedding row; 8-bit symmetric inputs per token"

    def prepare(self, student: Student) -> Student:
        from xtcq import QuantConfig, quantize

        return quantize(student, QuantConfig("1-1-8"))

    def save(self, path: Path) -> int:
        from xtcq import freeze, save_packed

        return (save_packed(freeze(self.student.eval()), path) / "packed.safetensors").stat().st_size


class DeepSpeed(Way):
    """`init_compression` with XTC's configuration, and the loop of its public script.

    DeepSpeedExamples `compression/bert`: config/XTC/ds_config_W1A8_Qgroup1_fp32.json and util.py L68-71, L175-224. Its
    AdamW is no longer in transformers; the fused one of PyTorch is faster, and takes its place.
    """

    packages = ("deepspeed", "torch")
    what = "the same quantizers, by init_compression with XTC's configuration, and DeepSpeed's engine"

    def config(self) -> dict:
        def scheme(kind: str, shared: dict, parameters: dict, modules: list[str]) -> dict:
            shared = {"enabled": True, "quantization_type": "symmetric", "schedule_offset": 0} | shared
            groups = {"all": {"params": parameters, "modules": modules, "related_modules": None}}
            return {kind: {"shared_parameters": shared, "different_groups": groups}}

        layers = ["attention.self", "intermediate", "output.dense"]
        weights = {"quantizer_kernel": False, "quantize_groups": 1, "quantize_verbose": False, "rounding": "nearest"}
        weights |= {"quantize_weight_in_forward": True, "fp16_mixed_quantize": {"enabled": False}}
        bits = {"start_bits": 1, "target_bits": 1, "quantization_period": 0}
        return {
            "train_batch_size": 32,
            "train_micro_batch_size_per_gpu": 32,
            "zero_optimization": {"stage": 0},
            "fp16": {"enabled": False},
            "gradient_clipping": MAX_GRAD_NORM,
            "prescale_gradients": True,
            "wall_clock_breakdown": False,
            "steps_per_print": 10**9,
            "compression_training": scheme("weight_quantization", weights, bits, [*layers, "word_embeddings"])
            | scheme("activation_quantization", {"range_calibration": "dynamic"}, {"bits": 8}, layers),
        }

    def prepare(self, student: Student) -> Student:
        import deepspeed
        from deepspeed.compression.compress import init_compression

        # A process that is alone exchanges nothing: no need for a compiler to build collectives in shared memory.
        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
        deepspeed.init_distributed(dist_backend="gloo")
        return init_compression(student, self.config())

    def make_optimizer(self, named: list[tuple[str, nn.Parameter]]) -> torch.optim.Optimizer:
        import deepspeed

        optimizer = super().make_optimizer(named)
        self.engine, self.optimizer, *_ = deepspeed.initialize(
            model=self.student, optimizer=optimizer, config=self.config()
        )
        return self.optimizer

    def loss(self, output, target, mask: Tensor) -> Tensor:
        chances, logs = target.logits.softmax(-1), output.logits.log_softmax(-1)
        total = (-chances * logs).mean()
        for pairs in (
            zip(output.hidden_states, target.hidden_states, strict=True),
            zip(output.attentions, target.attentions, strict=True),
        ):
            total = total + sum(F.mse_loss(ours, theirs) for ours, theirs in pairs)
        return total

    def step(self, batch: dict[str, Tensor]) -> float:
        with torch.no_grad():
            target = self.teacher(**batch, **WANTED)
        loss = self.loss(self.engine(**batch, **WANTED), target, batch["attention_mask"])
        self.engine.backward(loss)
        self.engine.step()
        return loss.item()

    def save(self, path: Path) -> int:
        from deepspeed.compression.compress import redundancy_clean

        self.student = redundancy_clean(self.student, self.config())
        return super().save(path)


class TorchAO(Way):
    packages = ("torchao", "torch")
    what = (
        "FakeQuantizedLinear and FakeQuantizedEmbedding with int2 weights, one scale per row (int1 turns nearly every "
        "weight into 0), and int8 asymmetric inputs per token (symmetric ones are not supported)"
    )

    def prepare(self, student: Student) -> Student:
        from torchao.quantization.qat import FakeQuantizedEmbedding, FakeQuantizedLinear, IntxFakeQuantizeConfig

        weights = IntxFakeQuantizeConfig(torch.int2, "per_channel", is_symmetric=True)
        inputs = IntxFakeQuantizeConfig(torch.int8, "per_token", is_symmetric=False)
        replace(student, lambda linear: FakeQuantizedLinear.from_linear(linear, inputs, weights))
        grouped = IntxFakeQuantizeConfig(torch.int2, group_size=student.config.hidden_size, is_symmetric=True)
        table = FakeQuantizedEmbedding.from_embedding(student.get_submodule(TABLE), grouped)
        student.set_submodule(TABLE, table)
        return student

    def save(self, path: Path) -> int:
        from torchao.quantization import IntxWeightOnlyConfig, quantize_
        from torchao.quantization.granularity import PerAxis

        replace(self.student, lambda layer: layer.to_linear())
        self.student.set_submodule(TABLE, self.student.get_submodule(TABLE).to_embedding())
        chosen = tuple(f".{name}" for name in LAYER_LINEARS)
        config = IntxWeightOnlyConfig(weight_dtype=torch.int2, granularity=PerAxis(0))
        quantize_(self.student, config, filter_fn=lambda _, name: name.endswith(chosen) or name == TABLE)
        return super().save(path)


class Brevitas(Way):
    packages = ("brevitas", "torch")
    what = (
        "QuantLinear and QuantEmbedding with SignedBinaryWeightPerTensorConst (binary weights, a constant scale) and "
        "8-bit inputs with a scale per tensor that follows the data (Int8ActPerTensorFloat)"
    )

    def prepare(self, student: Student) -> Student:
        from brevitas.nn import QuantEmbedding, QuantLinear
        from brevitas.quant import Int8ActPerTensorFloat
        from brevitas.quant.binary import SignedBinaryWeightPerTensorConst as Binary

        def quantized(linear: nn.Linear) -> nn.Module:
            sizes = (linear.in_features, linear.out_features)
            layer = QuantLinear(*sizes, bias=True, weight_quant=Binary, input_quant=Int8ActPerTensorFloat)
            layer.weight, layer.bias = linear.weight, linear.bias
            return layer

        replace(student, quantized)
        old = student.get_submodule(TABLE)
        table = QuantEmbedding(old.num_embeddings, old.embedding_dim, old.padding_idx, weight_quant=Binary)
        table.weight = old.weight
        student.set_submodule(TABLE, table)
        return student


WAYS = {"xtcq": Xtcq, "deepspeed": DeepSpeed, "torchao": TorchAO, "brevitas": Brevitas}


def replace(student: Student, change: Callable[[nn.Module], nn.Module]) -> None:
    for layer in student.bert.encoder.layer:
        for name in LAYER_LINEARS:
            layer.set_submodule(name, change(layer.get_submodule(name)))


class Products(TorchDispatchMode):
    """Notes how many different values a scale's share of each weight that is multiplied with takes, at most."""

    def __init__(self) -> None:
        super().__init__()
        self.levels: list[int] = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if function is torch.ops.aten.addmm.default:
            self.levels.append(max(len(row.unique()) for row in args[2].t()[:8]))
        return function(*args, **(kwargs or {}))


def levels(way: Way, batch: dict[str, Tensor]) -> int:
    """Most different values of a quantized matrix in the forward pass: is it quantized?"""
    with torch.no_grad(), Products() as products:
        way.student(**batch)
    # The last two products, pooler and classifier, stay in floating point.
    return max(products.levels[:-2])


def padded(batch: dict[str, np.ndarray], width: int) -> dict[str, Tensor]:
    room = max(0, width - batch["input_ids"].shape[1])
    return {name: torch.from_numpy(np.pad(values, ((0, 0), (0, room)))) for name, values in batch.items()}


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("way", choices=WAYS)
    arguments.add_argument("folder", type=Path, help="with model/ and batch-N.npz")
    arguments.add_argument("threads", type=int)
    given = arguments.parse_args()
    # Answers keep the standard output to themselves, whatever a library prints.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    torch.set_num_threads(given.threads)
    torch.manual_seed(0)
    models = [BertForSequenceClassification.from_pretrained(given.folder / "model", dtype=torch.float32) for _ in "12"]
    way = WAYS[given.way](*models)
    stored = [dict(np.load(path)) for path in sorted(given.folder.glob("batch-*.npz"))]
    ready = {"versions": {name: metadata.version(name) for name in way.packages}, "what": way.what}
    answers.write(json.dumps(ready | {"levels": levels(way, padded(stored[0], 0))}) + "\n")
    for line in sys.stdin:
        command = json.loads(line)
        if "save" in command:
            answers.write(json.dumps({"bytes": way.save(Path(command["save"]))}) + "\n")
            continue
        batch = padded(stored[command["step"]], command["pad"])
        started = time.perf_counter()
        loss = way.step(batch)
        answers.write(json.dumps({"seconds": time.perf_counter() - started, "loss": loss}) + "\n")


if __name__ == "__main__":
    main()
