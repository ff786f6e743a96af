"""The corpus of attacks, against a gateway and runners in containers with default settings.

Refused means: a 4xx in the contract's shape, without a word about the inside, and nothing inside was asked.
"""

from __future__ import annotations

import asyncio
import json
import pickle
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator

import httpx
import pytest
import pytest_asyncio

from pixano_inference.protocol.messages import MEDIA_TYPE
from pixano_inference.runner.wire_names import SECRET_HEADER
from tests.attacks import (
    BROKEN_BODIES,
    CONTENT_TYPE,
    END,
    HOSTS_INSIDE,
    NO_MEDIA,
    NO_MULTIPART,
    NO_OBJECTS,
    NO_REFERENCES,
    ODD_URLS,
    PATHS_OUTSIDE,
    REDIRECTS_INSIDE,
    WHOLE,
    answer,
    bomb,
    part,
)
from tests.media.conftest import RawServer

from .cluster import OUTSIDE, Cluster
from .requests import assert_refused, data_uri, disk, is_the_disk, png

pytestmark = [pytest.mark.system, pytest.mark.usefixtures("inside"), pytest.mark.timeout(1800)]

SEGMENTATION, BINARY = "/inference/segmentation/", "/inference/segmentation/binary"
JSON = {"Content-Type": "application/json"}
MIB = 2**20
FLAT = 96 * MIB  # of which 64 may be freed memory that the gateway keeps
"""How much more the gateway may hold after an attack: what its allocator keeps, not what the attack sent."""


@pytest.fixture(autouse=True)
def still_well(cluster: Cluster, http: httpx.Client) -> Iterator[None]:
    """After each attack: the same processes, no more memory, and the next request is answered."""
    before = {name: pod.state["Pid"] for name, pod in cluster.pods.items()}
    memory = cluster.gateway.memory()
    yield
    assert is_the_disk(disk(http, 11), 11)
    assert {name: pod.state["Pid"] for name, pod in cluster.pods.items()} == before
    grown = cluster.gateway.memory() - memory
    assert grown < FLAT, f"{grown / MIB:.0f} MiB"


@pytest_asyncio.fixture
async def outside(cluster: Cluster) -> AsyncIterator[RawServer]:
    """A server at a public address, which the containers reach without any setting."""
    server = RawServer()
    await server.start(OUTSIDE, 80)
    yield server
    await server.stop()


def send(http: httpx.Client, reference: str) -> httpx.Response:
    # some of the corpus is no valid UTF-8: JSON escapes carry it
    body = json.dumps({"model": "disk", "image": reference, "points": [[[1, 1]]]})
    return http.post(SEGMENTATION, content=body.encode(), headers=JSON)


async def ask(cluster: Cluster, reference: str) -> httpx.Response:
    async with httpx.AsyncClient(base_url=cluster.url, timeout=60) as http:
        body = {"model": "disk", "image": reference, "points": [[[1, 1]]]}
        return await http.post(SEGMENTATION, json=body)


def test_no_url_leads_inside(http: httpx.Client) -> None:
    refusals = set()
    for host in HOSTS_INSIDE:
        # the gateway itself, and a runner, which listens in the same namespace
        for port, path in ((7463, "/health"), (3000, "/livez")):
            response = send(http, f"http://{host}:{port}{path}")
            assert_refused(response, 422)
            refusals.add(response.json()["detail"][0]["msg"].replace(host, "HOST"))
    assert len(refusals) == 1, refusals


def test_odd_urls_texts_and_paths_are_refused(http: httpx.Client) -> None:
    paths = [path.format(tree="/home/bentoml/bento/src") for path in PATHS_OUTSIDE]
    inside = ["/home/bentoml/bento/src/models/demo.py", "/proc/1/environ", "/sys/fs/cgroup", "/tmp/bentoml", "/dev/shm"]
    for reference in [*ODD_URLS, *NO_REFERENCES, *paths, *inside]:
        assert_refused(send(http, reference), 422)


async def test_a_server_outside_is_reached_by_default(cluster: Cluster, outside: RawServer) -> None:
    """Or the next tests would prove nothing."""
    outside.replies["/a.png"] = answer(png())
    assert (await ask(cluster, "http://images.test/a.png")).status_code == 200
    assert len(outside.requests) == 1


async def test_no_redirect_leads_inside(cluster: Cluster, outside: RawServer) -> None:
    for target in REDIRECTS_INSIDE:
        location = f"location: {target.format(port=7463)}"
        outside.replies["/from"] = answer(b"", location, "content-length: 0", status="302 Found")
        assert_refused(await ask(cluster, "http://images.test/from"), 422)
    assert len(outside.requests) == len(REDIRECTS_INSIDE)


async def test_answers_that_are_no_medium_are_refused(cluster: Cluster, outside: RawServer) -> None:
    for reply, _ in NO_MEDIA:
        outside.replies["/"] = reply
        assert_refused(await ask(cluster, "http://images.test/"), 422)


async def test_endless_and_dripping_bodies_end(cluster: Cluster, outside: RawServer) -> None:
    sent = 0

    async def endless(writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        while True:
            writer.write(b"100000\r\n" + b"x" * MIB + b"\r\n")
            sent += MIB
            await writer.drain()

    async def drip(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n")
        while True:
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.1)

    outside.replies |= {"/endless": endless, "/drip": drip, "/giant": answer(b"", f"content-length: {10**12}")}
    began = time.monotonic()
    dripping = asyncio.create_task(ask(cluster, "http://images.test/drip"))
    assert_refused(await ask(cluster, "http://images.test/giant"), 413)
    assert_refused(await ask(cluster, "http://images.test/endless"), 413)
    assert sent < 200 * MIB
    assert_refused(await dripping, 422)
    assert time.monotonic() - began < 45  # the deadline for a medium is 20 s


def test_image_bombs_are_refused_from_their_header(http: httpx.Client) -> None:
    data = bomb()
    for _ in range(8):
        assert_refused(send(http, data_uri(data)), 413)
        upload = {"metadata": b'{"model": "disk"}', "image": data}
        assert_refused(http.post(BINARY, files=upload), 413)


def test_a_giant_body_is_refused_before_it_is_sent(cluster: Cluster) -> None:
    for path in (SEGMENTATION, BINARY, "/inference/tracking/binary", "/inference/tracking/jobs/binary"):
        with socket.create_connection(("127.0.0.1", 7463), timeout=30) as connection:
            kind = "application/json" if path == SEGMENTATION else CONTENT_TYPE
            connection.sendall(
                f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: {kind}\r\nContent-Length: {10**12}\r\n\r\n".encode()
            )
            assert connection.recv(100).startswith(b"HTTP/1.1 413 "), path


def test_an_endless_chunked_body_is_cut_at_the_limit(
    cluster: Cluster, http: httpx.Client, say: Callable[[str], None]
) -> None:
    """The limit is 256 MiB by default, which the gateway may hold, and no more."""
    highest = before = cluster.gateway.memory()

    def endless() -> Iterator[bytes]:
        nonlocal highest
        for number in range(400):
            if number % 50 == 0:
                highest = max(highest, cluster.gateway.memory())
            yield b" " * MIB

    assert_refused(http.post(SEGMENTATION, content=endless(), headers=JSON), 413)
    say(f"a body of 400 MiB, in chunks: the gateway held up to {(highest - before) / MIB:.0f} MiB of it")
    assert highest - before < 600 * MIB


def test_broken_uploads_are_bad_requests(http: httpx.Client) -> None:
    headers = {"Content-Type": CONTENT_TYPE}
    for body in BROKEN_BODIES:
        assert_refused(http.post(BINARY, content=body, headers=headers), 400)
    for kind in NO_MULTIPART:
        assert_refused(http.post(BINARY, content=WHOLE, headers={b"Content-Type": kind.encode("latin-1")}), 400, 415)


def test_floods_of_parts_are_refused(http: httpx.Client) -> None:
    headers = {"Content-Type": CONTENT_TYPE}
    metadata = part("metadata", b'{"model": "disk"}')
    floods = [
        metadata + part("x", b"") * 200_000 + END,
        metadata + part("frames", b"x") * 100_000 + END,
        metadata + part("image", b"", headers="x: y\r\n" * 100_000) + END,
        b"--limit\r\n" * 1_000_000,
    ]
    for path in (BINARY, "/inference/tracking/binary"):
        for flood in floods:
            assert_refused(http.post(path, content=flood, headers=headers), 400, 413, 422)


def test_hostile_json_is_refused(http: httpx.Client) -> None:
    for metadata in NO_OBJECTS:
        assert_refused(http.post(SEGMENTATION, content=metadata, headers=JSON), 400, 422)
        body = part("metadata", metadata) + part("image", png()) + END
        assert_refused(http.post(BINARY, content=body, headers={"Content-Type": CONTENT_TYPE}), 400)
    lies: list[dict[str, object]] = [
        {"mask_input": {"values": [], "shape": [100_000, 100_000]}},
        {"points": [[[1, 2**70]]]},
        {"points": [[[0, 0]]] * 5000},
        {"labels": [[1]]},
        {"boxes": "x" * 1000},
        {"image_embedding": {"values": [1.0], "shape": [1]}},
    ]
    for lie in lies:
        body_ = {"model": "disk", "image": data_uri(png()), **lie}
        assert_refused(http.post(SEGMENTATION, json=body_), 413, 422)


def test_no_port_reads_pickle_or_answers_without_the_secret(cluster: Cluster) -> None:
    body = pickle.dumps({"model": "disk"})
    kinds = ("application/vnd.bentoml+pickle", "application/octet-stream", "application/pickle")
    for pod in cluster.pods.values():
        with httpx.Client(base_url=pod.url, timeout=30) as http:
            for path in ("/inference/segmentation/",) if pod is cluster.gateway else ("/rpc/predict", "/rpc/stream"):
                for kind in kinds:
                    status = http.post(path, content=body, headers={"Content-Type": kind}).status_code
                    assert status == 415, (pod.name, path, kind, status)
            if pod is not cluster.gateway:
                for header in ("X-Request-ID", SECRET_HEADER, "Authorization"):
                    headers = {"Content-Type": MEDIA_TYPE, header: "guess"}
                    status = http.post("/rpc/predict", content=b"", headers=headers).status_code
                    assert status == 403, (pod.name, header, status)
