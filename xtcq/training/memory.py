"""Memory: what is freed stays with the process, and what does not fit goes through in parts."""

from __future__ import annotations

import ctypes
import platform

import torch

# Parameters of glibc's mallopt, from <malloc.h>.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3


def keep_freed_memory() -> None:
    """Make glibc reuse what is freed instead of giving it back; no other C library is changed.

    A training step frees its activations and the gradient of the embedding table. Blocks of that size go back to the
    system at once, which hands the next step pages that it must map and clear again, one fault each. The numbers are
    the same bit for bit, and so is the most memory in use; it falls less between steps and afterwards.
    """
    if platform.libc_ver()[0] == "glibc":
        library = ctypes.CDLL(None)
        # Versions before 2.35 refuse more than 32 MiB.
        library.mallopt(_MMAP_THRESHOLD, 2**30) or library.mallopt(_MMAP_THRESHOLD, 2**25)
        library.mallopt(_TRIM_THRESHOLD, 2**31 - 1)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory is what a training failed for: torch has no class of its own for the processor's."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or any(
        sign in str(error) for sign in ("allocate memory", "out of memory", "ALLOC_FAILED")
    )


def more_parts(parts: int, batch_size: int, whole: str = "") -> int:
    """Twice as many parts as a batch was cut into before, since it did not fit; ``whole`` says why it must stay whole.

    Raises:
        MemoryError: a batch cannot be cut any further.
    """
    if whole or batch_size % (2 * parts):
        raise MemoryError(
            f"a batch of {batch_size // parts} examples does not fit into memory and cannot be cut in two{whole}: run "
            "less beside it, or a smaller model"
        )
    return 2 * parts
