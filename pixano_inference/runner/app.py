"""The ASGI application on each runner's port: the server side of the binary protocol."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import hmac
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pixano_inference.errors import PixanoError, to_wire
from pixano_inference.protocol.disconnect import unless_disconnected
from pixano_inference.protocol.messages import MEDIA_TYPE, ProtocolError, decode, encode
from pixano_inference.protocol.request_id import HEADER as REQUEST_ID_HEADER
from pixano_inference.protocol.request_id import accept_or_make
from pixano_inference.protocol.streams import MESSAGES_MEDIA_TYPE, pack
from pixano_inference.protocol.tracing import request_span

from .batcher import Arrival
from .host import ModelHost
from .spooled_video import read_messages
from .wire_names import CALLER_HEADER, SECRET_HEADER

logger = logging.getLogger(__name__)

HEARTBEAT_S = 2.0
_HEAD = [(b"content-type", MEDIA_TYPE.encode())]


class RunnerApp:
    """Answers ``POST /predict``, ``POST /stream`` and ``GET /watch`` below its mount point.

    Only callers that know the secret are answered (403).
    """

    def __init__(self, host: ModelHost, secret: str | None) -> None:
        self._host = host
        self._secret = secret
        self._watchers = 0

    @property
    def idle(self) -> bool:
        """Whether no gateway is attached and nothing is in flight."""
        return self._watchers == 0 and self._host.in_flight == 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "http":
            return
        request = Request(scope, receive)
        accept_or_make(request.headers.get(REQUEST_ID_HEADER))
        answer = _Answer(send)
        with contextlib.ExitStack() as until_answered:
            response = await self._respond(request, answer, until_answered)
            await response(scope, receive, answer)

    async def _respond(self, request: Request, answer: _Answer, until_answered: contextlib.ExitStack) -> Response:
        path = request.scope["path"].removeprefix(request.scope.get("root_path", "")).rstrip("/")
        routes: dict[tuple[str, str], Callable[[Request, Arrival], Awaitable[Response]]] = {
            ("POST", "/predict"): functools.partial(self._predict, answer.begin),
            ("POST", "/stream"): self._stream,
        }
        is_watch = (request.method, path) == ("GET", "/watch")
        route = routes.get((request.method, path))
        if route is None and not is_watch:
            return PlainTextResponse("not found\n", status_code=404)
        if self._secret is not None and not hmac.compare_digest(
            request.headers.get(SECRET_HEADER, "").encode(), self._secret.encode()
        ):
            return PlainTextResponse("only the gateway may call a runner\n", status_code=403)
        if route is None:
            return self._watch()
        try:
            arrival = self._host.arrive(request.headers.get(CALLER_HEADER, "")[:64])
            until_answered.callback(arrival.end)
            until_answered.enter_context(request_span(f"runner{path}", request.headers))
            return await route(request, arrival)
        except ClientDisconnect:
            return Response(status_code=499)
        except ProtocolError as error:
            return PlainTextResponse(f"{error}\n", status_code=400)
        except PixanoError as error:
            return Response(encode({"error": to_wire(error)}), status_code=error.status, media_type=MEDIA_TYPE)

    async def _read(self, request: Request) -> tuple[Any, float]:
        if request.headers["content-type"] == MESSAGES_MEDIA_TYPE:
            message = await read_messages(request.stream())
        else:
            # not request.body(): it would keep the bytes beside what is decoded from them
            message = decode(b"".join([chunk async for chunk in request.stream()]))
        timeout_s = message.get("timeout_s")
        if not isinstance(timeout_s, int | float) or not timeout_s > 0:
            raise ProtocolError("timeout_s must be a positive number")
        return message.get("input"), float(timeout_s)

    async def _predict(self, on_begin: Callable[[], Awaitable[None]], request: Request, arrival: Arrival) -> Response:
        plain, timeout_s = await self._read(request)
        answer = await unless_disconnected(request, self._host.predict(plain, timeout_s, arrival, on_begin))
        return Response(encode(answer), media_type=MEDIA_TYPE)

    async def _stream(self, request: Request, arrival: Arrival) -> Response:
        plain, timeout_s = await self._read(request)

        async def messages() -> AsyncIterator[bytes]:
            try:
                async with contextlib.aclosing(self._host.stream(plain, timeout_s, arrival)) as stream:
                    async for message in stream:
                        yield pack(message)
            except PixanoError as error:
                yield pack({"error": to_wire(error)})

        return StreamingResponse(messages(), media_type=MEDIA_TYPE)

    def _watch(self) -> Response:
        """Tell the state now, at every change, and every few seconds; the stream ends with the runner."""
        host = self._host

        async def states() -> AsyncIterator[bytes]:
            self._watchers += 1
            try:
                while True:
                    told = (host.state, host.reason)
                    yield pack(host.status())
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(HEARTBEAT_S), host.changed:
                            await host.changed.wait_for(functools.partial(host.differs_from, told))
            finally:
                self._watchers -= 1

        return StreamingResponse(states(), media_type=MEDIA_TYPE)


class _Answer:
    """ASGI ``send`` whose head may go before the rest is known.

    The gateway takes the head for the word that the model has begun: what it lost before may be sent to another
    replica, what it lost after may not.
    """

    def __init__(self, send: Send) -> None:
        self._send = send
        self._started = False

    async def begin(self) -> None:
        """Send the head of an answer whose status is not known yet; errors say what they are in their body."""
        if not self._started:
            await self({"type": "http.response.start", "status": 200, "headers": _HEAD})

    async def __call__(self, message: Message) -> None:
        """Send a message, unless it is the head of an answer whose head has gone."""
        if message["type"] == "http.response.start":
            if self._started:
                return
            self._started = True
        await self._send(message)


class RefuseOtherBodies:
    """ASGI middleware around the whole port: nothing that is not msgpack is read, Bento's pickle least of all."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] == "http" and scope["method"] not in ("GET", "HEAD"):
            kind = Headers(scope=scope).get("content-type", "").split(";")[0]
            if kind != MEDIA_TYPE:
                refusal = PlainTextResponse(f"only {MEDIA_TYPE} is read here\n", status_code=415)
                await refusal(scope, receive, send)
                return
        await self._app(scope, receive, send)
