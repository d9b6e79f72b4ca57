"""A folder that is either whole or not there."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from xtcq.files import saving, temporary_prefix


@contextlib.contextmanager
def whole_folder(folder: Path, check: Callable[[], None]) -> Iterator[Path]:
    """Yield an empty folder beside `folder`, and rename it to `folder` if the block succeeds.

    An earlier folder of that name stays whole until then, and stays if anything fails. A symbolic link stays too: what
    it leads to is written.

    Args:
        folder: where the files shall be.
        check: called first; raises if what lies at `folder` must not be replaced.

    Raises:
        OSError: a file cannot be written (a full disk, say); the message names the folder.
    """
    check()
    folder = folder.resolve()
    with saving(f"{folder} was not changed"):
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=temporary_prefix(folder)))
        try:
            yield temporary
            # mkdtemp and safetensors leave everything readable for the owner alone.
            for path in (temporary, *temporary.iterdir()):
                path.chmod(0o755 if path.is_dir() else 0o644)
            _replace(temporary, folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def _replace(new: Path, folder: Path) -> None:
    if not folder.exists():
        os.rename(new, folder)
        return
    if _exchange(new, folder):
        return
    # A folder that is not empty cannot be replaced in one step: the old one steps aside, where `temporary_prefix` finds
    # it if this process is killed.
    old = new.with_name(f"{new.name}.old")
    os.rename(folder, old)
    try:
        os.rename(new, folder)
    except OSError:
        os.rename(old, folder)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _exchange(one: Path, other: Path) -> bool:
    """Swap two folders in one step, where the system and its file system can: Linux, and not over a network."""
    try:
        rename = ctypes.CDLL(None).renameat2
    except (AttributeError, TypeError):
        return False
    here, exchange = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    return rename(here, os.fsencode(one), here, os.fsencode(other), exchange) == 0
