"""How much of the server one API key may have."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pixano_inference.errors import Overloaded

_BURST_S = 10.0
"""A key that was quiet may send this many seconds' worth of requests at once."""


class CallerShares:
    """Bounds the requests in flight and the requests per minute of each API key.

    Without keys all callers share what one key would have.

    Args:
        in_flight: Most inference requests of a key being answered at the same time; null: no bound.
        per_minute: Most inference requests of a key per minute on average; null: no bound.
        clock: Tells seconds.
    """

    def __init__(
        self, in_flight: int | None, per_minute: float | None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._most_in_flight = in_flight
        self._per_second = per_minute / 60 if per_minute is not None else None
        self._clock = clock
        self._in_flight: Counter[str] = Counter()
        self._buckets: dict[str, tuple[float, float]] = {}

    @contextmanager
    def hold(self, key_id: str) -> Iterator[None]:
        """Count a request of a key until the context ends.

        Raises:
            Overloaded: The key has its share already.
        """
        if self._most_in_flight is not None and self._in_flight[key_id] >= self._most_in_flight:
            raise Overloaded(
                f"this API key has {self._most_in_flight} requests in flight, which is its share",
                retry_after_s=1,
                code="key_share",
            )
        self._take(key_id)
        self._in_flight[key_id] += 1
        try:
            yield
        finally:
            self._in_flight[key_id] -= 1

    def _take(self, key_id: str) -> None:
        """Take one request from the key's bucket (token bucket)."""
        if self._per_second is None:
            return
        room = max(1.0, self._per_second * _BURST_S)
        now = self._clock()
        level, since = self._buckets.get(key_id, (room, now))
        level = min(room, level + (now - since) * self._per_second)
        if level < 1:
            self._buckets[key_id] = (level, now)
            raise Overloaded(
                f"this API key may send {self._per_second * 60:g} requests per minute",
                retry_after_s=math.ceil((1 - level) / self._per_second),
                code="key_rate",
            )
        self._buckets[key_id] = (level - 1, now)
