"""The Hugging Face hub: every answer has a limit in seconds, and an error names it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from huggingface_hub import constants, get_session


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
