"""Callers without a key, with another one's, with bombs and endless bodies: what a server with keys lets them have."""

from __future__ import annotations

import contextlib
import hashlib
import socket
from collections.abc import Iterator

import httpx
import psutil
import pytest

from tests.attacks import bomb
from tests.servers import Server

from .fragile import BOB, as_alice, data_uri, png, serve

pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serve(tmp_path_factory) as server:
        yield server


@pytest.fixture(scope="module")
def http(server: Server) -> Iterator[httpx.Client]:
    with as_alice(server) as http:
        yield http


def test_only_callers_with_a_key_are_answered(server: Server) -> None:
    with httpx.Client(base_url=server.url, timeout=20) as anonymous:
        for path in ("/", "/health", "/ready"):
            assert anonymous.get(path).status_code == 200
        for method, path in [
            ("GET", "/app/settings/"),
            ("GET", "/app/models/"),
            ("POST", "/inference/segmentation/"),
            ("POST", "/inference/segmentation/binary"),
            ("POST", "/inference/tracking/binary"),
            ("GET", "/no/such/path"),
        ]:
            response = anonymous.request(method, path)
            assert response.status_code == 401, path
            assert response.headers["www-authenticate"] == "Bearer"
            assert "detail" in response.json()
            unknown = {b"X-API-Key": "clé".encode()}
            assert anonymous.request(method, path, headers=unknown).status_code == 401
        assert anonymous.get("/app/models/", headers=BOB).status_code == 200


def test_an_image_of_one_key_cannot_be_named_by_another(server: Server, http: httpx.Client) -> None:
    secret = png(40, 30, 77)
    body = {"model": "disk", "image": data_uri(secret), "points": [[[5, 5]]]}
    assert http.post("/inference/segmentation/", json=body).status_code == 200
    named = {**body, "image": "sha256:" + hashlib.sha256(secret).hexdigest()}
    assert http.post("/inference/segmentation/", json=named).status_code == 200
    refused = httpx.post(f"{server.url}/inference/segmentation/", json=named, headers=BOB, timeout=20)
    assert refused.status_code == 404
    assert refused.json()["code"] == "send_image"


def test_every_port_is_local(server: Server) -> None:
    processes = [psutil.Process(server.process.pid), *psutil.Process(server.process.pid).children(recursive=True)]
    listening = {
        connection.laddr.ip
        for process in processes
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    }
    assert listening == {"127.0.0.1"}


def test_an_image_bomb_costs_nothing(server: Server, http: httpx.Client) -> None:
    data = bomb()
    assert len(data) < 60_000
    before = psutil.Process(server.gateway_pid()).memory_info().rss
    as_json = http.post("/inference/segmentation/", json={"model": "disk", "image": data_uri(data)})
    upload = {"metadata": b'{"model": "disk"}', "image": data}
    as_part = http.post("/inference/segmentation/binary", files=upload)
    assert as_json.status_code == as_part.status_code == 413
    assert "20000 × 20000" in as_json.text
    assert psutil.Process(server.gateway_pid()).memory_info().rss - before < 10 * 2**20


def test_a_body_over_the_limit_is_refused_with_flat_memory(server: Server, http: httpx.Client) -> None:
    process = psutil.Process(server.gateway_pid())
    before = process.memory_info().rss
    highest = before

    def endless(megabytes: int) -> Iterator[bytes]:
        nonlocal highest
        for _ in range(megabytes):
            highest = max(highest, process.memory_info().rss)
            yield b" " * 2**20

    # chunked: no length is declared; small enough to be read to its end, which keeps the connection
    response = http.post("/inference/segmentation/", content=endless(12), headers={"Content-Type": "application/json"})
    assert response.status_code == 413
    assert "4194304 bytes" in response.text
    assert http.get("/health").status_code == 200
    # a terabyte is announced, and refused before a byte of it is sent
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
        connection.sendall(
            b"POST /inference/segmentation/ HTTP/1.1\r\nHost: x\r\nX-API-Key: key of alice\r\n"
            b"Content-Type: application/json\r\nContent-Length: 1000000000000\r\n\r\n"
        )
        assert connection.recv(100).startswith(b"HTTP/1.1 413 ")
    assert highest - before < 24 * 2**20


def test_headers_without_end_are_refused_with_flat_memory(server: Server, http: httpx.Client) -> None:
    process = psutil.Process(server.gateway_pid())
    before = highest = process.memory_info().rss
    for flood in (b"a" * 2**20, b"x: y\r\n" * 100_000):
        with (
            contextlib.suppress(ConnectionError),
            socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection,
        ):
            connection.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\nX: ")
            for _ in range(60):
                connection.sendall(flood)
                highest = max(highest, process.memory_info().rss)
            pytest.fail("everything was taken")
    assert http.get("/health").status_code == 200
    assert highest - before < 24 * 2**20


def test_the_server_cannot_be_sent_to_itself(server: Server, http: httpx.Client) -> None:
    for url in (
        f"{server.url}/health",
        f"http://localhost:{server.port}/health",
        "file:///etc/hostname",
        "/etc/hostname",
    ):
        response = http.post("/inference/segmentation/", json={"model": "disk", "image": url})
        assert response.status_code == 422, url
        assert response.json()["detail"][0]["loc"] == ["body", "image"]
        assert "127.0.0.1" not in response.text
