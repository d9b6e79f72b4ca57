"""Freed memory stays with the process."""

from __future__ import annotations

import ctypes
import platform

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
