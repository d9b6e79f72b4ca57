"""What the benchmarks ran on, and how they take turns."""

import json
import platform
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import torch

# By Linux's names, the best first.
BYTE_PRODUCTS = {"amx_int8": "AMX", "avx512_vnni": "AVX-512 VNNI", "avx_vnni": "AVX-VNNI", "avx2": "AVX2"}


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


def one_turn(steps: Mapping[str, Callable[[], None]]) -> dict[str, float]:
    """Seconds of every step, one after the other: what slows the machine down for a while meets them all."""
    seconds = {}
    for name, step in steps.items():
        started = time.perf_counter()
        step()
        seconds[name] = time.perf_counter() - started
    return seconds
