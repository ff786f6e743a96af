"""The short way to our applications, past BentoML's per-request middlewares.

Bento puts tracing, a timeout, a request context and its error pages around every request of a service, mounted
applications included; on the way gateway to runner and back that is paid twice. Our applications have their own
errors, limits, log and metrics, so their requests go straight to them. Bento's own endpoints (``/livez``, ``/readyz``
and so on) and the life of the service stay Bento's.
"""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send

BENTO_PATHS = frozenset({"/livez", "/readyz", "/healthz", "/schema.json"})


class DirectMount:
    """ASGI: requests to ``prefix`` and below go to ``app``, all others, and the lifespan, to ``bento``.

    Args:
        bento: The service's application as Bento makes it, or another of these.
        app: Ours.
        prefix: Path below which ours is mounted, without a slash at the end; empty for everything that is not one
            of :data:`BENTO_PATHS`.
        not_ours: Paths that stay Bento's.
    """

    def __init__(self, bento: ASGIApp, app: ASGIApp, prefix: str, not_ours: frozenset[str] = BENTO_PATHS) -> None:
        self._bento = bento
        self._app = app
        self._prefix = prefix
        self._not_ours = not_ours

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] == "http":
            path: str = scope["path"]
            if f"{path}/".startswith(self._prefix + "/") and path not in self._not_ours:
                if self._prefix:
                    scope["root_path"] = scope.get("root_path", "") + self._prefix
                await self._app(scope, receive, send)
                return
        await self._bento(scope, receive, send)
