"""The grid of a notebook, read without Jupyter: a bare machine can train what a notebook will draw."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from xtcq.parameters import read_parameters
from xtcq.study.experiment import Experiment


def notebook_grid(notebook: Path, parameters: dict[str, Any]) -> list[Experiment]:
    """Run the cells tagged ``parameters`` and ``grid`` of a notebook and return its variable ``grid``.

    Args:
        notebook: a template of ``notebooks/``.
        parameters: values that replace the notebook's own, as papermill would.

    Returns:
        The experiments, in the notebook's order.

    Raises:
        ValueError: if the file is no notebook or has no such cells, or a parameter does not exist there or cannot be
            read as its type, see ``xtcq.parameters``.
    """
    try:
        cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
        source = {tag: "".join(c["source"]) for c in cells for tag in c["metadata"].get("tags", ())}
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{notebook} is no notebook ({error!r})") from error
    if "grid" not in source or "parameters" not in source:
        raise ValueError(f"{notebook} has no cells tagged 'parameters' and 'grid': it trains nothing.")
    names: dict[str, Any] = {}
    # Not with the future of this file, in which annotations are text.
    exec(compile(source["parameters"], f"{notebook}#parameters", "exec", dont_inherit=True), names)
    unknown = sorted(set(parameters) - set(names))
    if unknown:
        known = sorted(name for name in names if not name.startswith("_"))
        raise ValueError(f"{notebook} has no parameter {', '.join(unknown)}: it has {', '.join(known)}.")
    names |= parameters
    try:
        read_parameters(names)
    except ValueError as error:
        raise ValueError(f"{notebook}: {error}") from error
    exec(compile(source["grid"], f"{notebook}#grid", "exec"), names)
    return list(names["grid"])
