"""API keys: who is let in, and what is not told."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
from starlette.datastructures import Headers

from pixano_inference.configs.server_settings import ServerSettings
from pixano_inference.errors import ConfigError, NotAuthenticated
from pixano_inference.gateway.auth import ANONYMOUS, ApiKeys


def headers(**fields: str) -> Headers:
    return Headers(raw=[(name.replace("_", "-").lower().encode(), value.encode()) for name, value in fields.items()])


def keys(*some: str) -> ApiKeys:
    return ApiKeys(list(some))


def test_without_keys_everybody_is_anonymous() -> None:
    open_server = ApiKeys.from_settings(ServerSettings())
    assert not open_server.required
    assert open_server.identify(headers()) == ANONYMOUS
    assert open_server.identify(headers(x_api_key="anything")) == ANONYMOUS


@pytest.mark.parametrize(
    "sent",
    [
        {"x_api_key": "second"},
        {"X_API_Key": "second"},
        {"authorization": "Bearer second"},
        {"authorization": "bearer   second "},
        {"x_api_key": " second "},
        {"x_api_key": "second", "authorization": "Basic dXNlcjpwYXNz"},
    ],
)
def test_a_known_key_is_identified_by_either_header(sent: dict[str, str]) -> None:
    caller = keys("first", "second", "third").identify(headers(**sent))
    assert caller == keys("second").identify(headers(x_api_key="second"))
    assert caller != keys("first").identify(headers(x_api_key="first"))
    assert "second" not in caller.key_id
    assert caller.key_id not in hashlib.sha256(b"second").hexdigest()


@pytest.mark.parametrize(
    "sent",
    [
        {},
        {"x_api_key": ""},
        {"x_api_key": "   "},
        {"x_api_key": "firs"},
        {"x_api_key": "first2"},
        {"x_api_key": "FIRST"},
        {"x_api_key": "first, second"},
        {"x_api_key": "é🎈"},
        {"x_api_key": "x" * 100_000},
        {"x_api_key": "wrong", "authorization": "Bearer first"},
        {"authorization": "first"},
        {"authorization": "Basic first"},
        {"authorization": "Bearer"},
        {"authorization": "Bearer "},
        {"x_api_key": "sha256:" + hashlib.sha256(b"first").hexdigest()},
        {"x_api_key": hashlib.sha256(b"first").hexdigest()},
    ],
)
def test_everything_else_is_refused_without_telling_the_key(sent: dict[str, str]) -> None:
    with pytest.raises(NotAuthenticated) as caught:
        keys("first", "second").identify(headers(**sent))
    assert caught.value.status == 401
    for value in sent.values():
        assert not value.strip() or value not in caught.value.message


def test_keys_may_hold_any_letters() -> None:
    assert keys("schlüssel🎈").identify(headers(x_api_key="schlüssel🎈")) != ANONYMOUS
    # as a client that writes headers in latin-1 sends it, and as a plain mapping of text
    assert keys("schlüssel🎈").identify({"x-api-key": "schlüssel🎈"}) != ANONYMOUS


def test_keys_come_from_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIXANO_API_KEYS", "one, two,")
    several = ApiKeys.from_settings(ServerSettings())
    assert several.identify(headers(x_api_key="two")).key_id != several.identify(headers(x_api_key="one")).key_id
    with pytest.raises(NotAuthenticated):
        several.identify(headers(x_api_key=""))


def test_a_file_holds_keys_in_plain_text_or_hashed(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text(f"# the team\nplain\n\nsha256:{hashlib.sha256(b'hashed').hexdigest()}\n")
    both = ApiKeys(["fixed"], file)
    for key in ("plain", "hashed", "fixed"):
        assert both.identify(headers(x_api_key=key)) != ANONYMOUS
    # the same key is the same caller, however it is kept
    assert both.identify(headers(x_api_key="hashed")) == keys("hashed").identify(headers(x_api_key="hashed"))
    with pytest.raises(NotAuthenticated):
        both.identify(headers(x_api_key="# the team"))


@pytest.mark.parametrize("content", ["", "# nothing\n", "sha256:123\n", b"\xff\xfe"])
def test_a_file_that_cannot_be_used_stops_the_start(tmp_path: Path, content: str | bytes) -> None:
    file = tmp_path / "keys"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ConfigError, match="keys"):
        ApiKeys([], file)
    with pytest.raises(ConfigError):
        ApiKeys([], tmp_path / "missing")


def test_a_changed_file_is_read_again_and_never_opens_the_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("pixano_inference.gateway.auth._RELOAD_INTERVAL_S", 0.0)
    file = tmp_path / "keys"
    file.write_text("old\n")
    rotating = ApiKeys([], file)
    old = rotating.identify(headers(x_api_key="old"))
    # as Kubernetes replaces a mounted Secret: a new file under the same name
    (tmp_path / "new").write_text("old\nnew\n")
    os.replace(tmp_path / "new", file)
    assert rotating.identify(headers(x_api_key="new")) != old
    assert rotating.identify(headers(x_api_key="old")) == old
    (tmp_path / "new").write_text("new only\n")
    os.replace(tmp_path / "new", file)
    with pytest.raises(NotAuthenticated):
        rotating.identify(headers(x_api_key="old"))
    for break_it in (lambda: file.write_text(""), file.unlink):
        break_it()
        assert rotating.identify(headers(x_api_key="new only")) != ANONYMOUS
        with pytest.raises(NotAuthenticated):
            rotating.identify(headers())
    assert "new only" not in caplog.text
