"""Headers are bounded before they are kept, and nothing else is."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
import uvicorn
from starlette.types import Receive, Scope, Send

from pixano_inference.serving.bounded_head import MAX_HEAD_BYTES, BoundedHeadProtocol

MIB = 2**20
START = b"POST / HTTP/1.1\r\nHost: x\r\n"


async def count(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers how many bytes the body has."""
    size, more = 0, True
    while more:
        message = await receive()
        size, more = size + len(message.get("body", b"")), message.get("more_body", False)
    await asyncio.sleep(float(dict(scope["headers"]).get(b"x-sleep", b"0")))
    text = b"%d bytes" % size
    head = {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(text))]}
    await send(head)
    await send({"type": "http.response.body", "body": text})


@pytest_asyncio.fixture
async def port() -> AsyncIterator[int]:
    listening = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(count, http=BoundedHeadProtocol, log_config=None, lifespan="off", ws="none")
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve([listening]))
    yield listening.getsockname()[1]
    server.should_exit = True
    await task


async def answer(port: int, *parts: bytes) -> tuple[bytes, int]:
    """Send parts until the server closes, and return its answer and how many bytes went out."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    sent, received = 0, b""
    try:
        for part in parts:
            writer.write(part)
            await writer.drain()
            sent += len(part)
            await asyncio.sleep(0)
        async with asyncio.timeout(5):
            received = await reader.read()
    except ConnectionError:
        pass
    finally:
        writer.close()
    return received, sent


async def test_what_is_small_enough_passes(port: int) -> None:
    headers = b"X: " + b"y" * (MAX_HEAD_BYTES - 200) + b"\r\n"
    received, _ = await answer(port, START, headers, b"Connection: close\r\nContent-Length: 2\r\n\r\n", b"ab")
    assert received.startswith(b"HTTP/1.1 200 ")
    assert received.endswith(b"2 bytes")


async def test_bodies_are_none_of_it(port: int) -> None:
    end = b"Connection: close\r\nContent-Length: %d\r\n\r\n" % (4 * MIB)
    received, _ = await answer(port, START, end, *[b"x" * MIB] * 4)
    assert received.endswith(b"%d bytes" % (4 * MIB))
    chunk = b"%x\r\n" % MIB + b"x" * MIB + b"\r\n"
    end = b"Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    received, _ = await answer(port, START, end, *[chunk] * 3, b"0\r\n\r\n")
    assert received.endswith(b"%d bytes" % (3 * MIB))


async def test_a_kept_connection_counts_each_head_by_itself(port: int) -> None:
    request = START + b"X: " + b"y" * (MAX_HEAD_BYTES // 2) + b"\r\nContent-Length: 0\r\n\r\n"
    last = START + b"Connection: close\r\nContent-Length: 0\r\n\r\n"
    received, _ = await answer(port, *[request] * 5, last)
    assert received.count(b"HTTP/1.1 200 ") == 6


@pytest.mark.parametrize(
    "part", [b"y" * MIB, b"x: y\r\n" * 100_000, b"x" * MIB + b": "], ids=["value", "many", "names"]
)
async def test_a_head_that_does_not_end_is_refused(port: int, part: bytes) -> None:
    received, sent = await answer(port, START + b"X: ", *[part] * 100)
    assert sent < 20 * MIB  # what the sockets hold between them
    if received:  # a sender that goes on may see its connection reset before it has read the answer
        assert received.startswith((b"HTTP/1.1 431 ", b"HTTP/1.1 400 "))


async def test_the_refusal_is_json_with_an_id(port: int) -> None:
    received, _ = await answer(port, START + b"X: " + b"y" * (MAX_HEAD_BYTES + 1))
    head, _, body = received.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 431 ")
    assert b"x-request-id: " in head
    assert body == b'{"detail":"the headers are larger than the allowed 65536 bytes","code":"headers"}'


@pytest.mark.parametrize(
    ("parts", "closed"),
    [
        ([b""], True),
        ([START], True),
        ([START + b"X: "] + [b"y"] * 20, True),  # dripping
        ([START + b"Content-Length: 3\r\n\r\n", b"ab"], True),
        ([START + b"Content-Length: 20\r\n\r\n"] + [b"y"] * 20, False),  # slow, but it comes
    ],
    ids=["nothing", "half a head", "a dripping head", "half a body", "a slow body"],
)
async def test_a_request_that_does_not_arrive_ends(
    port: int, parts: list[bytes], closed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(BoundedHeadProtocol, "silence_s", 0.4)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)

    async def send() -> None:
        for part in parts:
            writer.write(part)
            await asyncio.sleep(0.04)

    sending = asyncio.create_task(send())
    async with asyncio.timeout(5):
        received = await reader.read(100)
    await sending
    writer.close()
    assert (received == b"") is closed


async def test_a_slow_answer_is_no_silence(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BoundedHeadProtocol, "silence_s", 0.05)
    received, _ = await answer(port, START + b"X-Sleep: 0.4\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
    assert received.endswith(b"0 bytes")


async def test_trailers_are_bounded_too(port: int) -> None:
    parts = [START, b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n", b"0\r\n"]
    received, sent = await answer(port, *parts, *[b"x: y\r\n" * 10_000] * 1000)
    assert sent < 20 * MIB
    assert b"200" not in received[:20]
