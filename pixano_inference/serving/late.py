"""An application that is made when its process starts, not when its service is described."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.types import ASGIApp, Receive, Scope, Send


class LateApp:
    """ASGI: passes on to the application that :meth:`serve` was given.

    BentoML describes all services in the process of each, and wants the application of a service at that time.
    """

    def __init__(self) -> None:
        self._app: ASGIApp | None = None
        self._close: Callable[[], Awaitable[None]] | None = None

    def serve(self, app: ASGIApp, close: Callable[[], Awaitable[None]]) -> None:
        """Serve ``app`` from now on; ``close`` ends what it uses."""
        self._app, self._close = app, close

    async def close(self) -> None:
        """End what the application uses, if it was ever made."""
        if self._close is not None:
            await self._close()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if self._app is None:
            raise RuntimeError("a request came before the service started")
        await self._app(scope, receive, send)
