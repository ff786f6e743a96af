"""The last moments of a gateway: callers that keep their connections are sent elsewhere before those are closed."""

from __future__ import annotations

import asyncio
import time

QUIET_S = 0.5
LONGEST_S = 3.0


class Leaving:
    """Whether this gateway is about to end.

    A Service sends new connections elsewhere, but one that is kept alive stays where it is, and a request that arrives
    while it is being closed is lost. So every answer closes its connection from now on, and the end waits until no
    request has come for a moment.
    """

    def __init__(self) -> None:
        self.begun = False
        self._last = 0.0

    def request_came(self) -> None:
        """Tell that a request is being answered."""
        self._last = time.monotonic()

    async def wait_until_quiet(self) -> None:
        """Begin to leave; return when no request has come for half a second, after three seconds at the latest."""
        self.begun = True
        started = self._last = time.monotonic()
        while (now := time.monotonic()) - self._last < QUIET_S and now - started < LONGEST_S:  # noqa: ASYNC110  # a clock
            await asyncio.sleep(0.05)
