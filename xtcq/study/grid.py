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
        ValueError: if the file is no notebook or has no such cells, or a parameter does not exist there or is of
            another type.
    """
    try:
        cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
        source = {tag: "".join(c["source"]) for c in cells for tag in c["metadata"].get("tags", ())}
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{notebook} is no notebook ({error!r})") from error
    if "grid" not in source or "parameters" not in source:
        raise ValueError(f"{notebook} has no cells tagged 'parameters' and 'grid': it trains nothing.")
    names: dict[str, Any] = {}
    exec(compile(source["parameters"], f"{notebook}#parameters", "exec"), names)
    unknown = sorted(set(parameters) - set(names))
    if unknown:
        known = sorted(name for name in names if not name.startswith("_"))
        raise ValueError(f"{notebook} has no parameter {', '.join(unknown)}: it has {', '.join(known)}.")
    for name, value in parameters.items():
        # An annotation says what a list holds; of what a parameter is, its value here says enough. JSON has no float 1.
        kind = type(names[name])
        if not isinstance(value, kind) and not (kind is float and type(value) is int) and names[name] is not None:
            raise ValueError(
                f"{notebook}: {name!r} = {value!r} is of type {type(value).__name__}, expected {kind.__name__}, as "
                f"{names[name]!r}"
            )
    names |= parameters
    exec(compile(source["grid"], f"{notebook}#grid", "exec"), names)
    return list(names["grid"])
