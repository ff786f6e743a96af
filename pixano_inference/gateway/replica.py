"""One replica of a runner, as the gateway sees it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable
from typing import Any
from urllib.parse import urlparse

import aiohttp

from pixano_inference.errors import NotFound, Overloaded, PixanoError, Unavailable, from_wire
from pixano_inference.protocol.messages import MEDIA_TYPE, ProtocolError, decode, encode
from pixano_inference.protocol.repeated_media import SEND_MEDIA, SentMedia
from pixano_inference.protocol.request_id import HEADER as REQUEST_ID_HEADER
from pixano_inference.protocol.request_id import current_request_id
from pixano_inference.protocol.streams import MESSAGES_MEDIA_TYPE, unpack
from pixano_inference.protocol.tracing import trace_headers
from pixano_inference.runner.wire_names import CALLER_HEADER, SECRET_HEADER

logger = logging.getLogger(__name__)

_SILENCE_S = 8.0
"""A runner tells its state every two seconds; after this long without a word it counts as down."""
_CONNECT_S = 2.0
_RETRY_S = 0.2
RUNNER_LOST = "runner_lost"
"""Code of the error of a request whose runner ended after its model had begun."""

BodyMaker = Callable[[], AsyncIterable[bytes]]
"""Makes a body that is a stream of messages, for requests that are not held in memory."""


class NotBegun(Exception):
    """The model has not begun with the request: it is safe to try another replica.

    Args:
        reason: What the runner answered instead; null where it was not reached, or lost before.
    """

    def __init__(self, reason: PixanoError | None = None) -> None:
        super().__init__(reason)
        self.reason = reason


class Replica:
    """Connections to one runner process, and what is known about it.

    Args:
        address: ``file:///path.sock`` (Unix socket) or ``http://host:port``.
        secret: Proves to the runner that the gateway calls.
        on_change: Called when the state changes.
        model: What it serves; one that says otherwise is not used.
    """

    def __init__(self, address: str, secret: str | None, on_change: Callable[[], None], model: str) -> None:
        self.address = address
        self._model = model
        self.status: dict[str, Any] = {}
        self.in_flight = 0
        self.losses = 0
        self.ready_since = 0.0
        self._on_change = on_change
        self._headers = {SECRET_HEADER: secret} if secret else {}
        self._session: aiohttp.ClientSession | None = None
        self._task: asyncio.Task[None] | None = None
        self._sent = SentMedia()
        self._limits: set[asyncio.Timeout] = set()
        parsed = urlparse(address)
        self._socket = parsed.path if parsed.scheme in ("file", "unix") else None
        self._base = "http://runner/rpc" if self._socket else address.rstrip("/") + "/rpc"

    @property
    def state(self) -> str:
        """``ready``, ``starting``, ``failed``, ``draining``, or ``down``."""
        return str(self.status.get("state", "down"))

    @property
    def ready(self) -> bool:
        """Whether requests may be sent."""
        return self.state == "ready"

    @property
    def keeps_embeddings(self) -> bool:
        """Whether its model remembers images that it has encoded."""
        return "embedding_cache" in self.status.get("metadata", {})

    def start(self) -> None:
        """Connect, and keep watching the state."""
        # keep-alive shorter than the runner's own, so that a request never meets a connection about to close
        connector: aiohttp.BaseConnector = (
            aiohttp.UnixConnector(self._socket, limit=0, keepalive_timeout=3)
            if self._socket
            else aiohttp.TCPConnector(limit=0, keepalive_timeout=3)
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            headers=self._headers,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=5),
            auto_decompress=False,
            skip_auto_headers=("User-Agent", "Accept-Encoding"),
        )
        self._task = asyncio.create_task(self._watch(), name=f"watch {self.address}")

    async def close(self) -> None:
        """Disconnect."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._session is not None:
            await self._session.close()

    async def _watch(self) -> None:
        while True:
            try:
                await self._follow_states()
            except aiohttp.ConnectionTimeoutError:
                # not even a refusal: its machine is gone, and what waits for an answer would wait for ever
                for limit in self._limits:
                    limit.reschedule(asyncio.get_running_loop().time())
            except (aiohttp.ClientError, ProtocolError, OSError, TimeoutError):
                pass
            except asyncio.CancelledError:
                raise
            except Exception:  # a runner that is not watched any more would stay lost
                logger.exception("watching the runner at %s failed", self.address)
            if self.status:
                if self.state != "draining":
                    self.losses += 1
                    logger.warning("a runner of model %s is gone", self.status.get("name"))
                self.status = {}
                self._sent.forget()
                self._on_change()
            await asyncio.sleep(_RETRY_S)

    async def _follow_states(self) -> None:
        assert self._session is not None  # noqa: S101  # start() makes it
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_S, sock_read=_SILENCE_S)
        async with self._session.get(f"{self._base}/watch", timeout=timeout) as response:
            if response.status != 200:
                logger.error("the runner at %s refuses this gateway with status %d", self.address, response.status)
                await asyncio.sleep(1.0)
                return
            async for status in unpack(response.content.iter_any()):
                if status.get("name") != self._model:
                    # a wrong address in PIXANO_RUNNERS, or that of a pod that is gone, given to another one
                    logger.error("the runner at %s serves %s, not %s", self.address, status.get("name"), self._model)
                    await asyncio.sleep(1.0)
                    return
                before = self.status.get("state"), self.status.get("reason")
                if self.ready_since == 0.0 or (not self.ready and status.get("state") == "ready"):
                    self.ready_since = time.monotonic()
                self.status = status
                if before != (status.get("state"), status.get("reason")):
                    self._on_change()
                if self.state == "draining" and self.in_flight == 0:
                    return  # letting go tells the runner that nothing more will come

    @contextlib.asynccontextmanager
    async def _post(
        self, path: str, body: bytes | AsyncIterable[bytes], caller: str
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Post a body, and give the answer once its head is there; a runner sends that when its model begins.

        Raises:
            NotBegun: The runner could not be reached, or was lost before.
            Unavailable: It was lost while the answer was read.
        """
        assert self._session is not None  # noqa: S101  # start() makes it
        kind = MEDIA_TYPE if isinstance(body, bytes) else MESSAGES_MEDIA_TYPE
        answered = False
        self.in_flight += 1
        try:
            async with self._session.post(
                f"{self._base}/{path}",
                data=body,
                headers={
                    "Content-Type": kind,
                    REQUEST_ID_HEADER: current_request_id(),
                    CALLER_HEADER: caller,
                    **trace_headers(),
                },
            ) as response:
                answered = True
                yield response
        except aiohttp.ClientConnectorError as error:
            raise NotBegun from error
        except (aiohttp.ClientError, OSError) as error:
            if not answered:
                logger.warning("the runner at %s was lost before it began with a request: %s", self.address, error)
                raise NotBegun from error
            logger.warning("a request was lost with its runner at %s: %s", self.address, error)
            raise Unavailable(
                "the model's process ended while it worked on the request; it is being restarted",
                retry_after_s=2,
                code=RUNNER_LOST,
            ) from error
        finally:
            self.in_flight -= 1

    async def predict(self, plain: dict[str, Any], timeout_s: float, caller: str = "") -> dict[str, Any]:
        """Send one request of a caller and return the runner's answer.

        Raises:
            NotBegun: The runner could not be reached, was lost before it began, or has no room.
            PixanoError: What the runner answered instead.
        """
        shortened = self._sent.shorten(plain)
        try:
            answer = await self._exchange(shortened, timeout_s, caller)
        except NotFound as error:
            if error.code != SEND_MEDIA or shortened is plain:
                raise
            self._sent.forget()
            answer = await self._exchange(plain, timeout_s, caller)
        self._sent.remember(plain)
        return answer

    async def _exchange(self, plain: dict[str, Any], timeout_s: float, caller: str) -> dict[str, Any]:
        body = encode({"input": plain, "timeout_s": timeout_s})
        begun = False
        limit = asyncio.timeout(None)
        try:
            async with limit:
                self._limits.add(limit)
                async with self._post("predict", body, caller) as response:
                    begun = True
                    message = self._message(response, await response.read())
        except TimeoutError as error:
            if not limit.expired():
                raise
            raise (_vanished() if begun else NotBegun()) from error
        finally:
            self._limits.discard(limit)
        _raise_error(message)
        return message

    async def stream(
        self, plain: dict[str, Any] | BodyMaker, timeout_s: float, caller: str = ""
    ) -> AsyncGenerator[dict[str, Any]]:
        """Send one request of a caller, or the body that is made for it, and yield the runner's messages.

        Raises:
            NotBegun: The runner could not be reached, was lost before it began, or has no room.
            PixanoError: What the runner answered instead.
        """
        if callable(plain):
            async with contextlib.aclosing(self._stream(plain, timeout_s, caller)) as messages:
                async for message in messages:
                    yield message
            return
        shortened = self._sent.shorten(plain)
        try:
            async with contextlib.aclosing(self._stream(shortened, timeout_s, caller)) as messages:
                async for message in messages:
                    yield message
        except NotFound as error:
            # comes before the first message: nothing was yielded twice
            if error.code != SEND_MEDIA or shortened is plain:
                raise
            self._sent.forget()
            async with contextlib.aclosing(self._stream(plain, timeout_s, caller)) as messages:
                async for message in messages:
                    yield message
        self._sent.remember(plain)

    async def _stream(
        self, plain: dict[str, Any] | BodyMaker, timeout_s: float, caller: str
    ) -> AsyncGenerator[dict[str, Any]]:
        body = plain() if callable(plain) else encode({"input": plain, "timeout_s": timeout_s})
        begun = False  # the head of a stream comes at once, its first message when the model begins
        try:
            async with self._post("stream", body, caller) as response:
                if response.status != 200:
                    _raise_error(self._message(response, await response.read()))
                async for message in unpack(self._chunks(response)):
                    _raise_error(message, begun=begun)
                    begun = True
                    yield message
                    if message.get("done"):
                        return
                raise Unavailable(
                    "the model's process ended while it worked on the request", retry_after_s=2, code=RUNNER_LOST
                )
        except Unavailable as error:
            if begun or error.code != RUNNER_LOST:
                raise
            raise NotBegun from error

    async def _chunks(self, response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
        # A model may think for long between two pieces. A machine that vanished says nothing either, but its watch
        # has ended: without this look a stream from it would wait for ever.
        while True:
            try:
                async with asyncio.timeout(_SILENCE_S):
                    chunk = await response.content.readany()
            except TimeoutError:
                if self.status:
                    continue
                raise _vanished() from None
            if not chunk:
                return
            yield chunk

    def _message(self, response: aiohttp.ClientResponse, data: bytes) -> dict[str, Any]:
        if response.content_type != MEDIA_TYPE:
            logger.error("the runner at %s answered status %d: %r", self.address, response.status, data[:200])
            raise PixanoError("the model's process gave no answer that can be read")
        try:
            return decode(data)
        except ProtocolError as error:
            raise PixanoError("the model's process gave no answer that can be read") from error


def _vanished() -> Unavailable:
    return Unavailable("the model's process cannot be reached any more", retry_after_s=2, code=RUNNER_LOST)


def _raise_error(message: dict[str, Any], *, begun: bool = False) -> None:
    fields = message.get("error")
    if not isinstance(fields, dict):
        return
    error = from_wire(fields)
    # a runner says these two only before it hands a request to its model
    if isinstance(error, Unavailable | Overloaded) and not begun:
        raise NotBegun(error)
    raise error
