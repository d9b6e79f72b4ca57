"""What the benchmarks share: the machine that they ran on, ways that take turns, and the parts of a training step."""

from __future__ import annotations

import json
import platform
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import pandas as pd
import torch
from torch import nn

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "book")]  # among the peers xtcq is not installed

from xtcq.distillation import DistillationLoss, LayerMap  # noqa: E402
from xtcq.training import ADAM_EPSILON, WEIGHT_DECAY  # noqa: E402

# By Linux's names, the best first.
BYTE_PRODUCTS = {"amx_int8": "AMX", "avx512_vnni": "AVX-512 VNNI", "avx_vnni": "AVX-VNNI", "avx2": "AVX2"}
# What distillation asks of a model.
WANTED = {"output_hidden_states": True, "output_attentions": True}

Clock = Callable[[], float]


def processor() -> str:
    """The processor's name, and the best instructions that it has for products of bytes, where Linux says it."""
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        facts = {name.strip(): value for name, _, value in (line.partition(":") for line in file)}
    flags = facts.get("flags", "").split()
    found = [facts.get("model name", platform.machine()).strip()]
    return ", ".join(found + [told for flag, told in BYTE_PRODUCTS.items() if flag in flags][:1])


def describe(device: torch.device) -> dict[str, str | int]:
    """Device, threads and torch, as they stand beside every figure."""
    return {
        "device": torch.cuda.get_device_name() if device.type == "cuda" else processor(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }


def write(result: dict, path: Path | None) -> None:
    """Write what there is so far, if a path is given."""
    if path:
        path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def clock_of(threads: int, cpu_time: bool) -> Clock:
    """The processor's time tells one thread's work apart from that of others; more threads need the wall's."""
    return time.process_time if cpu_time and threads == 1 else time.perf_counter


def clock_said(cpu_time: bool) -> str:
    """What ``clock_of`` measures, in words."""
    return "the processor's time on one thread, the wall's on more" if cpu_time else "the wall's"


def in_turns(
    ways: Mapping[str, Callable[[], object]],
    rounds: int,
    warm: int = 3,
    clock: Clock = time.perf_counter,
    pause: float = 0.0,
    again: bool = False,
) -> pd.DataFrame:
    """Seconds of every way, one row a round: what slows the machine down for a while meets them all.

    Args:
        ways: what is timed.
        rounds: that are counted.
        warm: rounds before them.
        clock: that tells the seconds.
        pause: before every way. The threads of the one before still spin for a while, and would slow it down.
        again: run a way once before it is timed, which fills the caches; what takes long does so itself.
    """
    seconds: list[dict[str, float]] = []
    for _ in range(warm + rounds):
        row = {}
        for name, run in ways.items():
            time.sleep(pause)
            if again:
                run()
            started = clock()
            run()
            if torch.cuda.is_initialized():
                torch.cuda.synchronize()
            row[name] = clock() - started
        seconds.append(row)
    return pd.DataFrame(seconds[warm:])


def multiples(seconds: pd.DataFrame, baseline: str) -> pd.DataFrame:
    """Milliseconds, and how many times as long as the baseline, with quartiles over the rounds: one row a way."""
    ratios = seconds.div(seconds[baseline], axis=0)
    return pd.DataFrame(
        {
            "ms (median)": 1000 * seconds.median(),
            f"x {baseline}": ratios.median(),
            "lower quartile": ratios.quantile(0.25),
            "upper quartile": ratios.quantile(0.75),
        }
    )


def speeds(seconds: pd.DataFrame, others: Sequence[str]) -> pd.DataFrame:
    """Milliseconds, and how many times as fast as each of ``others``, with quartiles: one row a way."""
    table = pd.DataFrame({"ms (median)": 1000 * seconds.median()})
    for other in others:
        speed = (1 / seconds).mul(seconds[other], axis=0)
        table[f"times as fast as {other}"] = speed.median()
        for name, share in (("lower quartile", 0.25), ("upper quartile", 0.75)):
            table[f"{name}, {other}"] = speed.quantile(share)
    return table


def all_terms(layers: int) -> DistillationLoss:
    """Every term of distillation, from a teacher with as many layers as the student."""
    terms = ("hidden", "attention", "logits")
    return DistillationLoss(terms, LayerMap.uniform(layers, layers), "single_label_classification")


def adamw(parameters: Iterable[nn.Parameter] | list[dict]) -> torch.optim.AdamW:
    """The optimizer of training, as PyTorch has it in one kernel."""
    return torch.optim.AdamW(parameters, lr=1e-5, eps=ADAM_EPSILON, weight_decay=WEIGHT_DECAY, fused=True)
