"""Where a run was measured: the machine, the libraries and the code."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

# Runs that share the machine, where others were started beside this process.
SIDE_BY_SIDE = "XTCQ_SIDE_BY_SIDE"


def provenance() -> dict[str, Any]:
    """What a Record says of where it was measured.

    Returns:
        Its fields ``device``, ``versions`` and ``commit``.
    """
    names = ("xtcq", "torch", "transformers", "accelerate")
    versions = {"python": platform.python_version()} | {name: _version(name) for name in names}
    return {"device": _device(), "versions": versions, "commit": _commit()}


def side_by_side() -> int:
    """How many processes share this machine, as whoever started them said in ``XTCQ_SIDE_BY_SIDE``; 1 otherwise."""
    return int(os.environ.get(SIDE_BY_SIDE, "1"))


def _device() -> str:
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    name = torch.cpu.get_capabilities().get("cpu_name", platform.machine())
    return f"CPU {name}, {torch.get_num_threads()} threads"


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not installed"


def _commit() -> str | None:
    if said := os.environ.get("XTCQ_COMMIT"):  # a copy of the files without their history
        return said
    asked = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=Path(__file__).parent, capture_output=True, text=True, check=False
    )
    return asked.stdout.strip() or None
