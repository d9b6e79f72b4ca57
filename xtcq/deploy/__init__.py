"""Compressed models as small files."""

from xtcq.deploy.bits import CodeFormat
from xtcq.deploy.card import ModelCard
from xtcq.deploy.manifest import PackedModelError
from xtcq.deploy.packing import load_packed, save_packed

__all__ = ["CodeFormat", "ModelCard", "PackedModelError", "load_packed", "save_packed"]
