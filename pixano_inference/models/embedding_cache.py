"""Embeddings of the images that a model has seen lately."""

from __future__ import annotations

import os
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Generic, TypeVar

ValueT = TypeVar("ValueT")

DEFAULT_SHARE = 0.25
"""Share of the memory free at start that a cache may take when the config does not say."""
DEFAULT_MOST = 4 * 2**30


@dataclass(frozen=True)
class CacheStatistics:
    """What a cache did since it was made, and what it holds now."""

    hits: int
    misses: int
    evictions: int
    entries: int
    used_bytes: int
    limit_bytes: int


class EmbeddingCache(Generic[ValueT]):
    """A thread-safe cache that forgets what was used longest ago, bounded in bytes.

    Keys are computed from the bytes of an image and the revision of the model, so nothing that a caller says can name
    another caller's entry. The cache keeps no lock while an embedding is computed: a model encodes in one thread, which
    looks here again before it encodes, so requests for one image that arrive together encode it once.

    Args:
        limit_bytes: Bound of the sum of the entries' sizes; 0 keeps nothing.
    """

    def __init__(self, limit_bytes: int) -> None:
        self._limit = limit_bytes
        self._entries: OrderedDict[str, tuple[ValueT, int]] = OrderedDict()
        self._lock = Lock()
        self._used = self._hits = self._misses = self._evictions = 0

    def get(self, key: str) -> ValueT | None:
        """Return the entry and count a hit, or null without counting: see :meth:`missed`."""
        with self._lock:
            found = self._entries.get(key)
            if found is None:
                return None
            self._entries.move_to_end(key)
            self._hits += 1
            return found[0]

    def missed(self) -> None:
        """Count one embedding that had to be computed."""
        with self._lock:
            self._misses += 1

    def put(self, key: str, value: ValueT, size_bytes: int) -> None:
        """Keep an entry, forgetting old ones to make room; one larger than the whole cache is not kept."""
        if size_bytes > self._limit:
            return
        with self._lock:
            replaced = self._entries.pop(key, None)
            if replaced is not None:
                self._used -= replaced[1]
            while self._used + size_bytes > self._limit:
                _, (_, freed) = self._entries.popitem(last=False)
                self._used -= freed
                self._evictions += 1
            self._entries[key] = (value, size_bytes)
            self._used += size_bytes

    def clear(self) -> None:
        """Forget everything, for instance when the GPU is out of memory."""
        with self._lock:
            self._entries.clear()
            self._used = 0

    @property
    def statistics(self) -> CacheStatistics:
        """Counters and sizes, consistent with each other."""
        with self._lock:
            return CacheStatistics(
                self._hits, self._misses, self._evictions, len(self._entries), self._used, self._limit
            )


def free_memory_bytes() -> int:
    """Return how much memory this process may still take: the machine's, or its control group's where that is less."""
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text().strip()
        used = int(Path("/sys/fs/cgroup/memory.current").read_text())
    except (OSError, ValueError):
        return free
    return free if limit == "max" else max(0, min(free, int(limit) - used))


def default_limit_bytes(free_bytes: int) -> int:
    """Return the bound of a cache whose config gives none: a quarter of what is free, at most 4 GiB."""
    return min(int(free_bytes * DEFAULT_SHARE), DEFAULT_MOST)
