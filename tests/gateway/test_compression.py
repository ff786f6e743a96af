"""JSON answers are compressed when asked for; streams and what is small or enormous pass as they are."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from pixano_inference.gateway.compression import TO_BYTES, CompressionMiddleware, accepts_gzip


async def answer(request: Request) -> Response:
    size = int(request.query_params.get("size", 5000))
    kind = request.query_params.get("kind", "json")
    if kind == "stream":
        return StreamingResponse(iter([b"[1,", b"2" * size, b"]"]), media_type="application/json")
    if kind == "file":
        headers = {"Content-Length": str(size + 2)}
        return StreamingResponse(iter([b'"', b"2" * size, b'"']), media_type="application/json", headers=headers)
    return JSONResponse("x" * size) if kind == "json" else PlainTextResponse("x" * size)


async def get(accept: str | None, **parameters: Any) -> httpx.Response:
    app = CompressionMiddleware(Starlette(routes=[Route("/", answer)]))
    headers = {"Accept-Encoding": accept if accept is not None else "identity"}
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        return await client.get("/", params=parameters, headers=headers)


@pytest.mark.parametrize("size", [1023, 5000, 200_000])
async def test_a_compressed_answer_is_the_same_answer(size: int) -> None:
    plain, packed = await get(None, size=size), await get("gzip, deflate", size=size)
    assert packed.json() == plain.json()
    assert packed.headers["content-encoding"] == "gzip"
    assert packed.headers["vary"] == "Accept-Encoding"
    assert int(packed.headers["content-length"]) < size / 5


@pytest.mark.parametrize(
    "parameters", [{"size": 900}, {"size": TO_BYTES}, {"kind": "stream"}, {"kind": "file"}, {"kind": "text"}], ids=str
)
async def test_what_is_small_enormous_streamed_or_no_json_passes_as_it_is(parameters: dict[str, Any]) -> None:
    response = await get("gzip", **parameters)
    assert "content-encoding" not in response.headers
    assert response.content == (await get(None, **parameters)).content


async def test_who_does_not_ask_gets_it_plain() -> None:
    assert "content-encoding" not in (await get(None)).headers


@pytest.mark.parametrize(
    ("value", "accepted"),
    [
        ("gzip", True), ("GZIP", True), ("br, gzip;q=0.5", True), ("*", True), ("deflate, *;q=0.1", True),
        ("", False), ("identity", False), ("gzip;q=0", False), ("*;q=0", False), ("gzip;q=0, *", False),
        ("gzip;q=x", False), ("x-gzip", False),
    ],
)  # fmt: skip
def test_what_accept_encoding_means(value: str, accepted: bool) -> None:
    assert accepts_gzip(value) is accepted
