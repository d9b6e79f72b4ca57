"""The number format of a student's matrix products: float32, or a shorter one where the machine computes it faster.

Its teacher computes in float32. The format is a property of the run, like the device it runs on: parameters, scales of
quantizers, losses and the optimizer's state are float32 in all of them. So is a stage that learns bit-widths: it
compares two losses that are nearly equal.
"""

from __future__ import annotations

import logging
import os
import timeit
from pathlib import Path

import torch

from xtcq.files import write_atomically

# tf32 is float32 whose products are rounded to 10 bits of mantissa on the way in, on NVIDIA's cards since Ampere.
FORMATS = ("fp32", "tf32", "bf16")
CHOICES = ("auto", *FORMATS)
VARIABLE = "XTCQ_COMPUTE"

logger = logging.getLogger(__name__)


def number_format(folder: Path) -> str:
    """The format of a run: that in which it began, kept in its folder, else ``XTCQ_COMPUTE``, else ``"fp32"``.

    Errors are those of `choose`.
    """
    kept = folder / "compute"
    begun = kept.exists()
    chosen = choose(kept.read_text() if begun else os.environ.get(VARIABLE) or "fp32")
    if not begun:
        write_atomically(kept, chosen)
    return chosen


def choose(asked: str) -> str:
    """The format that one of `CHOICES` means on this machine; ``"auto"`` is bf16 where processor or card have it.

    Raises:
        ValueError: unknown, or tf32 without a card that has it.
    """
    if asked not in CHOICES:
        raise ValueError(f"{VARIABLE} is {asked!r}: use one of {', '.join(CHOICES)}, or unset it for fp32")
    if asked == "auto":
        return "bf16" if _has_bf16() else "fp32"
    if asked == "tf32" and not (torch.cuda.is_available() and torch.cuda.get_device_capability() >= (8, 0)):
        raise ValueError(f"{VARIABLE} is 'tf32', which only NVIDIA cards since Ampere compute: use fp32 or bf16 here")
    if asked == "bf16" and not _has_bf16():
        slower = _product_seconds(torch.bfloat16) / _product_seconds(torch.float32)
        logger.warning(
            "bf16 is only emulated on this machine: a matrix product takes %.1f times as long as in fp32", slower
        )
    return asked


def _has_bf16() -> bool:
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported(including_emulation=False)
    capabilities = torch.cpu.get_capabilities()
    return any(capabilities.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16"))


def _product_seconds(dtype: torch.dtype) -> float:
    """Least time of a product of the size of a small encoder's, 32 texts of 28 tokens."""
    left, right = torch.ones(896, 384, dtype=dtype), torch.ones(384, 1536, dtype=dtype)
    return min(timeit.repeat(lambda: left @ right, number=1, repeat=4))
