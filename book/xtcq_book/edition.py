"""The edition's Records and the reader's: what was trained here stands beside what was published, and is marked."""

from __future__ import annotations

import os
import subprocess
from functools import cache
from pathlib import Path

from xtcq.files import find_checkout
from xtcq.study import Record


def is_yours(record: Record) -> bool:
    """Whether a Record was made by whoever runs the page, and not by the edition.

    Returns:
        Whether version control does not know it. False where that cannot be told: outside a clone, and where
        ``XTCQ_RECORDS`` names the folder, as it does while an edition is made.
    """
    root = None if os.environ.get("XTCQ_RECORDS") else find_checkout()
    known = _published(root) if root else frozenset()
    return bool(known) and record.digest not in known


@cache
def _published(root: Path) -> frozenset[str]:
    command = ["git", "ls-files", "-z", "book/records"]
    listed = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False).stdout
    return frozenset(Path(name).stem for name in listed.split("\0") if name)
