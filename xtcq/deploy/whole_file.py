"""A file that is either whole or not there."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def whole_file(target: Path) -> Iterator[Path]:
    """Yield a temporary name beside `target`, and rename what was written there to `target` if the block succeeds.

    An earlier file at `target` stays whole until then, and stays if anything fails. The folder is made if needed.

    Raises:
        OSError: it cannot be written; the message names the target.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    except OSError as error:
        raise OSError(error.errno, f"{error.strerror}; {target} cannot be written, choose another place") from error
    os.close(handle)
    try:
        yield Path(name)
        os.chmod(name, 0o644)
        os.replace(name, target)
    finally:
        Path(name).unlink(missing_ok=True)
