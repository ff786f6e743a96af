"""What happens to every request: its id, its metrics, redirects of slashes, API keys."""

from __future__ import annotations

import logging
import time
from contextlib import ExitStack
from functools import lru_cache
from urllib.parse import quote

from fastapi import FastAPI
from opentelemetry.trace import Span, StatusCode
from starlette.datastructures import Headers, MutableHeaders
from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pixano_inference.errors import NotAuthenticated, Overloaded
from pixano_inference.protocol.answers import error_response
from pixano_inference.protocol.request_id import HEADER, accept_or_make
from pixano_inference.protocol.tracing import request_span

from . import metrics
from .auth import ApiKeys
from .held_bodies import SPOOLED_PATHS, HeldBodies
from .leaving import Leaving
from .shares import CallerShares

logger = logging.getLogger("pixano_inference.access")

OPEN_PATHS = frozenset(
    {"/", "/health", "/ready", "/metrics", "/docs", "/openapi.json", "/v2", "/v2/health/live", "/v2/health/ready"}
)
"""Paths that need no API key; the playground, which asks for one, needs none either."""

UNLOGGED_PATHS = frozenset({"/health", "/ready", "/metrics", "/v2/health/live", "/v2/health/ready"})
"""Paths that probes ask for every few seconds."""


def _is_open(path: str) -> bool:
    return path in OPEN_PATHS or path.startswith("/playground/")


class GatewayMiddleware:
    """Wraps the application; pure ASGI, since a wrapper that buffers would break streams.

    Args:
        app: The application.
        routes: Where the routes are, to see whether a path with another slash exists.
        keys: Who may call.
        shares: How much each caller may have.
        bodies: How many bytes of requests there may be at a time.
        leaving: Whether the gateway is about to end.
    """

    def __init__(
        self,
        app: ASGIApp,
        routes: FastAPI,
        keys: ApiKeys,
        shares: CallerShares,
        bodies: HeldBodies,
        leaving: Leaving,
    ) -> None:
        self._app = app
        self._routes = routes
        self._keys = keys
        self._shares = shares
        self._bodies = bodies
        self._leaving = leaving
        # trying every route costs more than the rest of this class together
        self._is_route = lru_cache(maxsize=256)(self._matches)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        request_id = accept_or_make(headers.get(HEADER))
        started = time.perf_counter()
        status = 499
        self._leaving.request_came()

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                answer_headers = MutableHeaders(scope=message)
                answer_headers[HEADER] = request_id
                if self._leaving.begun:
                    answer_headers["Connection"] = "close"
            await send(message)

        with request_span(scope["method"], headers) as span:
            try:
                await self._serve(scope, headers, receive, send_with_id)
            finally:
                self._observe(scope, status, time.perf_counter() - started)
                if span is not None:
                    _describe(span, scope, status, request_id)

    async def _serve(self, scope: Scope, headers: Headers, receive: Receive, send: Send) -> None:
        location = self._redirect(scope)
        if location is not None:
            await send(
                {
                    "type": "http.response.start",
                    "status": 307,
                    "headers": [(b"location", location.encode()), (b"content-length", b"0")],
                }
            )
            await send({"type": "http.response.body", "body": b""})
            return
        caller = None
        try:
            if not _is_open(scope["path"]):
                caller = self._keys.identify(headers)
        except NotAuthenticated as error:
            response = error_response(error, scope["path"])
            response.headers["WWW-Authenticate"] = "Bearer"
            await response(scope, receive, send)
            return
        scope.setdefault("state", {})["caller"] = caller
        if caller is None or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        with ExitStack() as stack:
            try:
                stack.enter_context(self._shares.hold(caller.key_id))
            except Overloaded as error:
                await error_response(error, scope["path"])(scope, receive, send)
                return
            if scope["path"] not in SPOOLED_PATHS:
                receive = stack.enter_context(self._bodies.counted(caller.key_id, receive))
            await self._app(scope, receive, send)

    def _matches(self, path: str) -> bool:
        probe: Scope = {"type": "http", "method": "POST", "path": path, "root_path": "", "headers": []}
        return any(route.matches(probe)[0] is not Match.NONE for route in self._routes.router.routes)

    def _redirect(self, scope: Scope) -> str | None:
        path: str = scope["path"]
        if self._is_route(path):
            return None
        bare = path.rstrip("/")
        for candidate in (bare + "/", bare):
            if candidate not in ("", path) and not candidate.startswith("//") and self._is_route(candidate):
                query = scope.get("query_string", b"").decode("latin-1")
                return quote(candidate) + (f"?{query}" if query else "")
        return None

    def _observe(self, scope: Scope, status: int, seconds: float) -> None:
        route = scope.get("route")
        template = getattr(route, "path", "") or "(none)"
        model = scope.get("state", {}).get("model")
        name, capability = (model.name, str(model.capability)) if model is not None else ("", "")
        metrics.REQUESTS.labels(template, name, capability, str(status)).inc()
        metrics.REQUEST_SECONDS.labels(template, name).observe(seconds)
        if template not in UNLOGGED_PATHS:
            logger.info("%s %s %d %.1f ms", scope["method"], template, status, seconds * 1000)


def _describe(span: Span, scope: Scope, status: int, request_id: str) -> None:
    route = getattr(scope.get("route"), "path", None)
    span.update_name(f"{scope['method']} {route or '(none)'}")
    span.set_attributes(
        {"http.request.method": scope["method"], "http.response.status_code": status, "pixano.request_id": request_id}
    )
    model = scope.get("state", {}).get("model")
    if route:
        span.set_attribute("http.route", route)
    if model is not None:
        span.set_attribute("pixano.model", model.name)
    if status >= 500:
        span.set_status(StatusCode.ERROR)
