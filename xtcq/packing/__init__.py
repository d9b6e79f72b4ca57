"""Compressed models as small files."""

from typing import TYPE_CHECKING

from xtcq.lazy import on_demand

if TYPE_CHECKING:
    from xtcq.packing.card import ModelCard
    from xtcq.packing.manifest import PackedModelError
    from xtcq.packing.packed import check_packing, load_packed, rename_labels, save_packed

__getattr__, __dir__ = on_demand(__name__, ("manifest", "card", "packed"))

__all__ = ["ModelCard", "PackedModelError", "check_packing", "load_packed", "rename_labels", "save_packed"]
