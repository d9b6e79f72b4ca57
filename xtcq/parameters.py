"""What a notebook is given for parameters, read by the types that its parameters cell declares.

Whoever executes a notebook from a command line hands over text: papermill gives ``-p tasks '[sst2]'`` as a string, and
YAML takes the rate ``2e-4`` for one.
"""

from __future__ import annotations

import ast
import math
from typing import Any, get_args, get_origin

import yaml

# How a value of each type is written; these stand in messages.
_WRITTEN = {bool: "true", int: "42", float: "2e-4", str: "sst2"}
_WORDS = {"true": True, "false": False}


def read_parameters(names: dict[str, Any]) -> None:
    """Give every parameter of a notebook the type that it was declared with: the line after a parameters cell.

    Args:
        names: ``globals()`` of the notebook, with the annotations of its parameters cell. Values are replaced in place.

    Raises:
        ValueError: a value cannot be read as what its annotation says, or papermill was given a parameter that the
            notebook does not have. The message says how it is written.

    Example:
        >>> from xtcq.parameters import read_parameters
        >>> cell = {"__annotations__": {"learning_rates": list[float]}, "learning_rates": "[2e-4, 5e-4]"}
        >>> read_parameters(cell)
        >>> cell["learning_rates"]
        [0.0002, 0.0005]
    """
    declared = names.get("__annotations__", {})
    if unknown := sorted(_injected(names) - set(declared)):
        raise ValueError(f"the notebook has no parameter {', '.join(unknown)}: it has {', '.join(declared)}")
    for name, kind in declared.items():
        try:
            names[name] = _read(names[name], kind)
        except (ValueError, KeyError, yaml.YAMLError):
            value, said = names[name], str(kind) if get_args(kind) else kind.__name__
            raise ValueError(f"{name} is {value!r}, expected {said}: {_remedy(name, value, kind)}") from None


def _read(value: Any, kind: Any) -> Any:
    """The value as a type: ``bool``, ``int``, ``float``, ``str``, or a ``list`` of one of them."""
    if get_origin(kind) is list:
        found = yaml.safe_load(value) if isinstance(value, str) else value
        if isinstance(found, list | tuple):
            return [_read(item, get_args(kind)[0]) for item in found]
    elif kind is bool:
        return _WORDS[str(value).lower()]
    elif kind is str:
        # Not str(value): of 007 only 7 has come.
        if isinstance(value, str):
            return value
    elif isinstance(value, int | float | str) and not isinstance(value, bool):
        number = float(value)
        if math.isfinite(number) and (kind is float or number.is_integer()):
            return kind(number)
    raise ValueError


def _remedy(name: str, value: Any, kind: Any) -> str:
    if kind is str:
        return f"put it in quotes, or give papermill -r {name} TEXT, which it leaves as it is"
    written = _WRITTEN.get(kind)
    if get_origin(kind) is list:
        one = str(value).isalnum() or isinstance(value, float)
        written = f"[{value if one else _WRITTEN[get_args(kind)[0]]}]"
    return f"write {written}, for papermill -y '{{{name}: {written}}}'"


def _injected(names: dict[str, Any]) -> set[str]:
    """Names in the cell that papermill has added, if it was the one before this."""
    before = "".join(names.get("In", ())[-2:-1])
    if not before.startswith("# Parameters\n"):
        return set()
    assigned = (node.targets[0] for node in ast.parse(before).body if isinstance(node, ast.Assign))
    return {target.id for target in assigned if isinstance(target, ast.Name)}
