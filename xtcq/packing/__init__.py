"""Compressed models as small files."""

from typing import TYPE_CHECKING

from xtcq.lazy import on_demand

if TYPE_CHECKING:
    from xtcq.packing.card import ENCODERS, ModelCard
    from xtcq.packing.labels import rename_labels
    from xtcq.packing.manifest import PackedModelError
    from xtcq.packing.packed import load_packed, save_packed

__getattr__, __dir__ = on_demand(__name__, ("manifest", "card", "packed", "labels"))

__all__ = ["ENCODERS", "ModelCard", "PackedModelError", "load_packed", "rename_labels", "save_packed"]
