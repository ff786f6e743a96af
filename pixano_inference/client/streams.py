"""Streamed answers: lines of JSON, read as they come."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Iterator
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

import httpx
import orjson

from pixano_inference.schemas import FrameMasks, VLMOutput

from .errors import RequestFailed

T = TypeVar("T")


@dataclass(frozen=True)
class StreamEnd:
    """What the last line of a stream says.

    Attributes:
        processing_time: Seconds, end to end.
        metadata: As in the envelope of an answer that is not streamed.
        data: The whole output, from a VLM; null otherwise.
    """

    processing_time: float = 0.0
    metadata: dict[str, Any] = field(default_factory=dict)
    data: VLMOutput | None = None


def frame_of(line: dict[str, Any]) -> FrameMasks:
    """Return the masks of one frame from its line."""
    return FrameMasks.model_validate(line)


def text_of(line: dict[str, Any]) -> str:
    """Return the piece of text of one line."""
    return str(line["text"])


class EventDecoder(Generic[T]):
    """Bytes in, however the network has cut them; items out.

    Args:
        convert: From the object of a line to an item.

    Attributes:
        end: What the last line said; null until it has come.
    """

    def __init__(self, convert: Callable[[dict[str, Any]], T]) -> None:
        self.end: StreamEnd | None = None
        self._convert = convert
        self._rest: list[bytes] = []

    def feed(self, chunk: bytes) -> Iterator[T]:
        """Yield the items that ``chunk`` completes.

        Raises:
            RequestFailed: The line of an error was among them.
        """
        # split on the line feed alone: text may hold the other characters that count as the end of a line
        *lines, rest = chunk.split(b"\n")
        for line in lines:
            whole = b"".join([*self._rest, line])
            self._rest.clear()
            if whole.strip():
                yield from self._event(orjson.loads(whole))
        self._rest.append(rest)

    def _event(self, event: dict[str, Any]) -> Iterator[T]:
        error = event.get("error")
        if isinstance(error, dict):
            raise RequestFailed(int(error.get("status", 500)), error.get("detail"))
        if event.get("done") is True:
            data = event.get("data")
            self.end = StreamEnd(
                processing_time=float(event.get("processing_time", 0.0)),
                metadata=event.get("metadata") or {},
                data=VLMOutput.model_validate(data) if data is not None else None,
            )
        else:
            yield self._convert(event)

    def finish(self) -> None:
        """Take note that no more bytes will come.

        Raises:
            RequestFailed: The stream broke off before its last line.
        """
        if self.end is None:
            raise RequestFailed(502, "the stream broke off before its last line: the server or a proxy has gone away")


class AsyncStream(Generic[T]):
    """Items as the server makes them, for ``async for``.

    The request is sent when the first item is asked for. Leaving an ``async with`` block around it, or
    :meth:`aclose`, closes the connection, which stops the model; iterating to the end closes it as well.
    """

    def __init__(self, start: Callable[[], Awaitable[httpx.Response]], convert: Callable[[dict[str, Any]], T]) -> None:
        self._start = start
        self._decoder = EventDecoder(convert)
        self._items = self._iterate()

    @property
    def end(self) -> StreamEnd | None:
        """What the server said at the end; null until then."""
        return self._decoder.end

    async def _iterate(self) -> AsyncGenerator[T, None]:
        response = await self._start()
        try:
            async for chunk in response.aiter_bytes():
                for item in self._decoder.feed(chunk):
                    yield item
            self._decoder.finish()
        finally:
            await response.aclose()

    def __aiter__(self) -> AsyncGenerator[T, None]:
        return self._items

    async def aclose(self) -> None:
        """Stop the model and close the connection."""
        await self._items.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()


class Stream(Generic[T]):
    """Items as the server makes them, for ``for``; the twin of :class:`AsyncStream`."""

    def __init__(self, start: Callable[[], httpx.Response], convert: Callable[[dict[str, Any]], T]) -> None:
        self._start = start
        self._decoder = EventDecoder(convert)
        self._items = self._iterate()

    @property
    def end(self) -> StreamEnd | None:
        """What the server said at the end; null until then."""
        return self._decoder.end

    def _iterate(self) -> Generator[T, None, None]:
        response = self._start()
        try:
            for chunk in response.iter_bytes():
                yield from self._decoder.feed(chunk)
            self._decoder.finish()
        finally:
            response.close()

    def __iter__(self) -> Generator[T, None, None]:
        return self._items

    def close(self) -> None:
        """Stop the model and close the connection."""
        self._items.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
