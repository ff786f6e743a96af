"""Fetching URLs: the policy, with the attempts to walk around it."""

from __future__ import annotations

import asyncio
import time

import pytest

from pixano_inference.errors import InvalidInput, TooLarge
from pixano_inference.media import fetch
from pixano_inference.media.fetch import UrlFetcher
from tests.attacks import HOSTS_INSIDE, NO_MEDIA, ODD_URLS, REDIRECTS_INSIDE, answer

from .conftest import Names, RawServer

LIMIT = 100_000
PUBLIC = "93.184.215.14"


def names() -> Names:
    return Names(
        **{
            "localhost": ["127.0.0.1"],
            "localhost.": ["127.0.0.1"],
            "127.0.0.1.nip.test": ["127.0.0.1"],
            "0x7f.1": ["127.0.0.1"],
            "0x7f000001": ["127.0.0.1"],
            "metadata.test": ["169.254.169.254"],
            "mixed.test": [f"{PUBLIC}+127.0.0.1"],
            "images.test": ["127.0.0.1"],
            "other.test": ["127.0.0.1"],
        }
    )


def fetcher(timeout_s: float = 5.0) -> UrlFetcher:
    return UrlFetcher(["images.test"], resolver=names(), timeout_s=timeout_s)


async def refusal(url: str, timeout_s: float = 5.0) -> str:
    one = fetcher(timeout_s)
    try:
        with pytest.raises(InvalidInput) as caught:
            await one.fetch(url, LIMIT, ("body", "image"))
    finally:
        await one.aclose()
    assert caught.value.location == ("body", "image")
    return caught.value.message


async def test_an_allowed_host_may_be_inside(server: RawServer) -> None:
    server.replies["/a.png"] = answer(b"bytes")
    one = fetcher()
    assert await one.fetch(server.url("/a.png"), LIMIT) == b"bytes"
    assert "cookie" not in server.requests[0].lower()
    await one.aclose()


@pytest.mark.parametrize("host", HOSTS_INSIDE)
async def test_hosts_inside_are_refused_in_the_same_words(server: RawServer, host: str) -> None:
    server.replies["/"] = answer(b"secret")
    message = await refusal(server.url("/", host))
    assert message.endswith(fetch._UNREACHABLE)
    assert server.requests == []


@pytest.mark.parametrize("url", ODD_URLS)
async def test_odd_urls_are_refused(url: str) -> None:
    message = await refusal(url)
    assert "images.test" not in message
    assert "passwd" not in message


async def test_a_name_that_changes_its_answer_is_dialled_at_the_checked_address(server: RawServer) -> None:
    dns = Names(rebind_test=[PUBLIC, "127.0.0.1"])
    one = UrlFetcher([], resolver=dns, timeout_s=0.4)
    # the first answer is public: it is dialled (nobody is there), and the name is not asked again
    with pytest.raises(InvalidInput):
        await one.fetch(server.url("/", "rebind.test"), LIMIT)
    assert dns.asked == ["rebind.test"]
    # the second answer is checked anew
    with pytest.raises(InvalidInput, match="cannot be reached"):
        await one.fetch(server.url("/", "rebind.test"), LIMIT)
    assert server.requests == []
    await one.aclose()


@pytest.mark.parametrize("status", ["301 x", "302 x", "303 x", "307 x", "308 x"])
async def test_redirects_are_followed(server: RawServer, status: str) -> None:
    server.replies["/from"] = answer(b"", "location: /to", "content-length: 0", status=status)
    server.replies["/to"] = answer(b"there")
    one = fetcher()
    assert await one.fetch(server.url("/from"), LIMIT) == b"there"
    await one.aclose()


@pytest.mark.parametrize("target", REDIRECTS_INSIDE)
async def test_a_redirect_to_the_inside_is_refused(server: RawServer, target: str) -> None:
    target = target.format(port=server.port)
    server.replies["/from"] = answer(b"", f"location: {target}", "content-length: 0", status="302 Found")
    server.replies["/in"] = answer(b"secret")
    await refusal(server.url("/from"))
    assert len(server.requests) == 1


async def test_redirects_that_never_end_are_refused(server: RawServer) -> None:
    server.replies["/loop"] = answer(b"", "location: /loop", "content-length: 0", status="302 Found")
    assert "redirects more than 3 times" in await refusal(server.url("/loop"))
    assert len(server.requests) == 4


@pytest.mark.parametrize(("reply", "words"), NO_MEDIA)
async def test_answers_that_are_no_medium_are_refused(server: RawServer, reply: bytes, words: str) -> None:
    server.replies["/"] = reply
    assert words in await refusal(server.url("/"))


async def test_a_declared_size_over_the_cap_is_refused_before_the_body(server: RawServer) -> None:
    server.replies["/"] = answer(b"", f"content-length: {10**12}")
    one = fetcher()
    with pytest.raises(TooLarge):
        await one.fetch(server.url("/"), LIMIT)
    await one.aclose()


async def test_an_endless_body_is_cut_at_the_cap(server: RawServer) -> None:
    sent = 0

    async def endless(writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        while True:
            writer.write(b"10000\r\n" + b"x" * 65536 + b"\r\n")
            sent += 65536
            await writer.drain()

    server.replies["/"] = endless
    one = fetcher()
    with pytest.raises(TooLarge):
        await one.fetch(server.url("/"), LIMIT)
    await one.aclose()
    assert sent < 50_000_000


async def test_a_dripping_body_ends_at_the_deadline(server: RawServer) -> None:
    async def drip(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n")
        while True:
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.02)

    server.replies["/"] = drip
    began = time.monotonic()
    assert "did not arrive within 0.2 s" in await refusal(server.url("/"), timeout_s=0.2)
    assert time.monotonic() - began < 3


async def test_proxies_of_the_environment_are_ignored(server: RawServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    server.replies["/a"] = answer(b"direct")
    one = fetcher()
    assert await one.fetch(server.url("/a"), LIMIT) == b"direct"
    await one.aclose()
