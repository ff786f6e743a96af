"""The system's name resolution in threads of its own, which no caller can have all of."""

from __future__ import annotations

import functools
import socket
from contextvars import ContextVar

from aiohttp.abc import AbstractResolver, ResolveResult

from .fair_slots import FairThreads

CALLER: ContextVar[str] = ContextVar("caller", default="")
"""For whom a name is resolved."""


class SystemResolver(AbstractResolver):
    """Resolves names as the system does, without the event loop's own threads.

    A name whose servers stay silent keeps its thread for half a minute and more, whatever the deadline of the request.

    Args:
        threads: Most names resolved at a time.
        per_caller: Most of them for one caller.
    """

    def __init__(self, threads: int, per_caller: int) -> None:
        self._threads = FairThreads(threads, per_caller, "names")

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Resolve a name.

        Raises:
            OSError: It does not resolve.
        """
        ask = functools.partial(
            socket.getaddrinfo, host, port, type=socket.SOCK_STREAM, family=family, flags=socket.AI_ADDRCONFIG
        )
        return [
            ResolveResult(
                hostname=host,
                host=str(address[0]),
                port=port,
                family=found,
                proto=proto,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for found, _, proto, _, address in await self._threads.run(CALLER.get(), ask)
        ]

    async def close(self) -> None:
        """Start no more threads."""
        self._threads.close()
