"""A bound on the bodies of all requests together: many large ones at a time must not end the process."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from starlette.types import Message, Receive

from pixano_inference.errors import Overloaded, TooLarge

SPOOLED_PATHS = frozenset({"/inference/tracking/jobs/binary"})
"""Paths whose bodies go to disk while they arrive."""


class HeldBodies:
    """Counts the bytes of bodies from their arrival to the end of the answer.

    Args:
        most: Most bytes in all.
        per_caller: Most bytes of one caller, so that nobody takes all of it.
    """

    def __init__(self, most: int, per_caller: int) -> None:
        self._most = most
        self._per_caller = per_caller
        self._held: Counter[str] = Counter()

    @contextmanager
    def counted(self, key_id: str, receive: Receive) -> Iterator[Receive]:
        """Give a ``receive`` that counts what comes for a caller until the context ends.

        It raises :class:`TooLarge` for a body that alone is more than a caller may have, and :class:`Overloaded` for
        one that there is no room for now.
        """
        own = 0

        async def receive_counted() -> Message:
            nonlocal own
            message = await receive()
            size = len(message.get("body", b""))
            if own + size > self._per_caller:
                raise TooLarge(
                    f"a body may be {self._per_caller} bytes at most here; a long video can be uploaded as a job",
                    code="body",
                )
            if self._held[key_id] + size > self._per_caller or self._held.total() + size > self._most:
                raise Overloaded("the server holds as many bytes of requests as it may", retry_after_s=1, code="bodies")
            own += size
            self._held[key_id] += size
            return message

        try:
            yield receive_counted
        finally:
            self._held[key_id] -= own
            if not self._held[key_id]:
                del self._held[key_id]
