"""Published files: in a folder that a variable names, or on the Hugging Face hub, whose answers have a limit."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from huggingface_hub import constants, get_session


def local_folder(variable: str, *parts: str) -> Path | None:
    """Return the folder ``parts`` inside the one that a variable names, or None if it or the variable is not there.

    Raises:
        FileNotFoundError: the variable is set and names no folder.
    """
    root = os.environ.get(variable)
    if not root:
        return None
    if not Path(root).is_dir():
        raise FileNotFoundError(f"{variable} names {root!r}, which is not a folder; correct or unset it")
    folder = Path(root, *parts)
    return folder if folder.is_dir() else None


@contextlib.contextmanager
def reading_hub(wanted: str, repository: str, remedy: str) -> Iterator[None]:
    """Read the hub in this block: no request of its library waits longer than ``HF_HUB_DOWNLOAD_TIMEOUT`` says.

    Files that are fetched by Xet, a program of its own, are not among those requests.

    Args:
        wanted: what is missing if the block fails, for the message.
        repository: where it is read from, likewise.
        remedy: what else can be done, likewise.

    Raises:
        FileNotFoundError: if the block fails, for whatever reason.
    """
    limit = constants.HF_HUB_DOWNLOAD_TIMEOUT

    def bound(request: Any) -> None:
        # The library asks for a repository's state and list of files without any limit, and again and again with one
        # of a minute for the head of a file.
        waits = request.extensions.get("timeout", {})
        request.extensions["timeout"] = {name: min(seconds or limit, limit) for name, seconds in waits.items()}

    hooks = get_session().event_hooks["request"]
    hooks.append(bound)
    try:
        yield
    except Exception as error:  # the HTTP library has classes of its own, and which library it is depends on a version
        raise FileNotFoundError(
            f"{wanted}: {repository} cannot be read from the Hugging Face hub at {constants.ENDPOINT}, which has "
            f"{limit} s for each answer ({error}); {remedy}, or set HF_HUB_DOWNLOAD_TIMEOUT to more seconds"
        ) from error
    finally:
        hooks.remove(bound)
