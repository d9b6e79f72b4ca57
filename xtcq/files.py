"""Where the project's files are, and files and folders that are either whole or not there."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import hashlib
import json
import os
import re
import shutil
import socket
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil


def find_checkout() -> Path | None:
    """The project's checkout around the working directory, or None outside of one."""
    here = Path.cwd()
    return next((folder for folder in (here, *here.parents) if (folder / "book" / "published").is_dir()), None)


def sha256(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.contextmanager
def saving(kept: str) -> Iterator[None]:
    """Raise an OSError where a write fails in this block, whichever library wrote: what is ``kept`` and what to do.

    On a full disk it has the number ``errno.ENOSPC``. What is kept is a clause for the message.
    """
    try:
        yield
    except Exception as error:
        number = _error_number(error)
        if number is None and not isinstance(error, OSError):
            raise
        full = (errno.ENOSPC, errno.EDQUOT)
        reason = os.strerror(number) if number in full else str(error)
        remedy = "Free some space" if number is None or number in full else "Put that right"
        message = f"{reason}; {kept}. {remedy} and run again, or choose another place"
        raise (OSError(number, message) if number else OSError(message)) from error


def _error_number(error: Exception) -> int | None:
    """The system's number of an error, which most libraries tell in the text alone."""
    if isinstance(error, OSError):
        return error.errno
    if found := re.search(r"\(os error (\d+)\)", str(error)):  # safetensors and tokenizers
        return int(found[1])
    # torch.save only counts what went out. What else may be the reason, such as a quota, is remedied likewise.
    return errno.ENOSPC if re.search("inline_container.*unexpected pos", str(error)) else None


@contextlib.contextmanager
def whole_file(target: Path) -> Iterator[Path]:
    """Yield a temporary name beside `target`, and rename what was written there to `target` if the block succeeds.

    An earlier file at `target` stays whole until then, and stays if anything fails. The folder is made if needed.

    Raises:
        OSError: if it cannot be written (a full disk, say); the message names the target.
    """
    with saving(f"{target} was not changed"):
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=temporary_prefix(target))
        os.close(handle)
        try:
            yield Path(name)
            os.chmod(name, 0o644)
            os.replace(name, target)
        finally:
            Path(name).unlink(missing_ok=True)


@contextlib.contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """Yield an empty folder beside ``folder``, and rename it to ``folder`` if the block succeeds, as `whole_file`.

    A symbolic link stays: what it leads to is written.

    Raises:
        OSError: it cannot be written, or `check_replaceable` refuses it.
    """
    folder = folder.resolve()
    check_replaceable(folder)
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


def check_replaceable(folder: Path) -> None:
    """Refuse, by an OSError, a folder that another cannot take the place of: a mount point, or where the process is."""
    folder = folder.resolve()
    if os.path.ismount(folder):
        raise OSError(f"{folder} is a mount point, which nothing can replace: give a folder inside it")
    with contextlib.suppress(FileNotFoundError):  # the working directory may have been deleted
        if folder.exists() and Path.cwd().is_relative_to(folder):
            raise OSError(f"{folder} is the working directory, or holds it: go elsewhere, it is replaced whole")


def _replace(new: Path, folder: Path) -> None:
    if not folder.exists():
        os.rename(new, folder)
        return
    if _exchange(new, folder):
        return
    # A folder that is not empty cannot be replaced in one step: the old one steps aside, where ``temporary_prefix``
    # finds it if this process is killed.
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


def temporary_prefix(target: Path) -> str:
    """Return how temporary names beside `target` begin: with its own, the computer's and the process's.

    What a killed process left there is removed, and what its `whole_folder` had moved aside is moved back. A process
    of another computer may be alive, so its files stay.
    """
    ours = f".{target.name}.{socket.gethostname()}-"
    for left in target.parent.iterdir():
        writer = left.name.removeprefix(ours).partition(".")[0]
        if not left.name.startswith(ours) or not writer.isdigit() or psutil.pid_exists(int(writer)):
            continue
        if left.suffix == ".old" and not target.exists():
            left.rename(target)
        elif left.is_dir():
            shutil.rmtree(left, ignore_errors=True)
        else:
            left.unlink(missing_ok=True)
    return f"{ours}{os.getpid()}."


def parse_json(text: str | bytes) -> Any:
    """The value of a JSON text; a ValueError also for a name that is there twice, and for NaN and infinity."""
    return json.loads(text, object_pairs_hook=_unique, parse_constant=_finite)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(result := dict(pairs)) < len(pairs):
        ((twice, _),) = Counter(name for name, _ in pairs).most_common(1)
        raise ValueError(f"{twice!r} is there twice")
    return result


def _finite(constant: str) -> float:
    raise ValueError(f"{constant} is no number")


def write_atomically(path: Path, text: str) -> None:
    """Write a text file in UTF-8, as `whole_file` does; it is on the disk at the end."""
    with whole_file(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
