"""The grid of a notebook, read without Jupyter: a bare machine can train what a notebook will draw."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from xtcq.study.experiment import Experiment


def notebook_grid(notebook: Path, parameters: dict[str, Any]) -> list[Experiment]:
    """Run the cells tagged ``parameters`` and ``grid`` of a notebook and return its variable ``grid``.

    Args:
        notebook: a template of ``notebooks/``.
        parameters: values that replace the notebook's own, as papermill would.

    Returns:
        The experiments, in the notebook's order.

    Raises:
        ValueError: if the notebook has no such cells, or a parameter does not exist there.
    """
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    source = {tag: "".join(c["source"]) for c in cells for tag in c["metadata"].get("tags", ())}
    if "grid" not in source or "parameters" not in source:
        raise ValueError(f"{notebook} has no cells tagged 'parameters' and 'grid': it trains nothing.")
    names: dict[str, Any] = {}
    exec(compile(source["parameters"], f"{notebook}#parameters", "exec"), names)
    unknown = sorted(set(parameters) - set(names))
    if unknown:
        known = sorted(name for name in names if not name.startswith("_"))
        raise ValueError(f"{notebook} has no parameter {', '.join(unknown)}: it has {', '.join(known)}.")
    names |= parameters
    exec(compile(source["grid"], f"{notebook}#grid", "exec"), names)
    return list(names["grid"])
