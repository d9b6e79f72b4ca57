"""Compressed models as small files."""

from xtcq.packing.card import ENCODERS, ModelCard
from xtcq.packing.labels import rename_labels
from xtcq.packing.manifest import PackedModelError
from xtcq.packing.packed import load_packed, save_packed

__all__ = ["ENCODERS", "ModelCard", "PackedModelError", "load_packed", "rename_labels", "save_packed"]
