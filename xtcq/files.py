"""Where the project's files are, and files that are either whole or not there."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


def find_checkout() -> Path | None:
    """The project's checkout around the working directory, or None outside of one."""
    here = Path.cwd()
    return next((folder for folder in (here, *here.parents) if (folder / "book" / "published").is_dir()), None)


def write_atomically(path: Path, text: str) -> None:
    """Write a text file under a temporary name in the same folder, then rename it.

    Args:
        path: the file to write; its folder is made if needed.
        text: the content, written as UTF-8.

    Raises:
        OSError: if the text cannot be written (a full disk); an earlier file at ``path`` is then still whole.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except OSError as error:
        Path(temporary).unlink(missing_ok=True)
        message = f"{error.strerror}; {path} was not changed. Free some space and run again"
        raise OSError(error.errno, message) from error
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
