"""Checkpoints of an interrupted stage: which one is whole."""

from __future__ import annotations

import json
import logging
import zipfile
from pathlib import Path

from safetensors import SafetensorError, safe_open

logger = logging.getLogger(__name__)


def newest_intact_checkpoint(folder: Path) -> str | None:
    """Find the checkpoint to go on from; a run that was killed while saving leaves one that is cut off.

    Args:
        folder: where the stage's ``checkpoint-N`` folders lie.

    Returns:
        The newest one whose files are whole, or None. Each that is passed over is named in a warning.
    """
    checkpoints = sorted(folder.glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]), reverse=True)
    for checkpoint in checkpoints:
        damage = _damage(checkpoint)
        if damage is None:
            return str(checkpoint)
        logger.warning("checkpoint %s is incomplete (%s): going on from the one before it", checkpoint, damage)
    return None


def _damage(checkpoint: Path) -> str | None:
    try:
        with safe_open(checkpoint / "model.safetensors", "pt"):
            pass
        for name in ("optimizer.pt", "rng_state.pth", "scheduler.pt"):
            if not zipfile.is_zipfile(checkpoint / name):
                return f"{name} is cut off or missing"
        json.loads((checkpoint / "trainer_state.json").read_text())
    except (OSError, SafetensorError, ValueError) as error:
        return str(error)
    return None
