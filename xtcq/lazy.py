"""Packages that load their modules when a name is asked for: what classifies a text waits for no training library."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Sequence
from typing import Any


def on_demand(package: str, modules: Sequence[str]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return ``__getattr__`` and ``__dir__`` of a package whose ``__all__`` is defined elsewhere.

    Args:
        package: its name.
        modules: of it, where its names are looked for, in this order.

    Returns:
        The two functions. A name is kept in the package once it was found.
    """

    def find(name: str) -> Any:
        if name in vars(sys.modules[package])["__all__"]:
            for module in modules:
                where = importlib.import_module(f"{package}.{module}")
                if hasattr(where, name):
                    setattr(sys.modules[package], name, getattr(where, name))
                    return getattr(where, name)
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    def names() -> list[str]:
        return sorted({*vars(sys.modules[package]), *vars(sys.modules[package])["__all__"]})

    return find, names
