"""The number format of a run's matrix products: float32, or bfloat16 where the machine computes it faster.

It is a property of the run, like the device it runs on: parameters, scales of quantizers, losses and the optimizer's
state are float32 in both. So is a stage that learns bit-widths: it compares two losses that are nearly equal.
"""

from __future__ import annotations

import os
from pathlib import Path

import torch

from xtcq.files import write_atomically

FORMATS = ("fp32", "bf16")


def number_format(folder: Path) -> str:
    """The format of a run: that in which it began, else the one asked for by ``XTCQ_COMPUTE``, else ``"fp32"``.

    Args:
        folder: of the run; the choice is kept there.

    Returns:
        One of `FORMATS`.

    Raises:
        ValueError: ``XTCQ_COMPUTE`` is something else, or the machine only emulates bfloat16.
    """
    kept = folder / "compute"
    if kept.exists():
        return kept.read_text()
    asked = os.environ.get("XTCQ_COMPUTE", "fp32")
    if asked not in FORMATS:
        raise ValueError(f"XTCQ_COMPUTE is {asked!r}: use one of {', '.join(FORMATS)}, or unset it for fp32")
    if asked == "bf16" and not _has_bf16():
        raise ValueError("XTCQ_COMPUTE is 'bf16', which this machine would only emulate, slower than fp32: unset it")
    write_atomically(kept, asked)
    return asked


def _has_bf16() -> bool:
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported()
    capabilities = torch.cpu.get_capabilities()
    return any(capabilities.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16"))
