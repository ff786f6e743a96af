"""The operator is told when everybody may use the server."""

from __future__ import annotations

from collections.abc import Iterator

import click
import pytest

from pixano_inference.configs.server_settings import server_settings
from pixano_inference.errors import ConfigError
from pixano_inference.serving.exposure import warn_when_bento_opens, warn_when_open
from pixano_inference.serving.strict import SUPERVISOR_VARIABLE


@pytest.fixture(autouse=True)
def settings_are_read_again() -> Iterator[None]:
    server_settings.cache_clear()
    yield
    server_settings.cache_clear()


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.4", "::"])
def test_an_open_address_without_keys_is_told(host: str, capsys: pytest.CaptureFixture[str]) -> None:
    warn_when_open(host)
    assert f"warning: listening on {host} without API keys" in capsys.readouterr().err


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.9", "::1"])
def test_the_loopback_is_nobody_elses(host: str, capsys: pytest.CaptureFixture[str]) -> None:
    warn_when_open(host)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("variable", ["PIXANO_API_KEYS", "PIXANO_API_KEYS_FILE"])
def test_with_keys_there_is_nothing_to_tell(
    variable: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(variable, "key")
    warn_when_open("0.0.0.0")
    assert capsys.readouterr().err == ""


def test_a_name_is_no_address() -> None:
    with pytest.raises(ConfigError, match=r"must be an IP address, got 'example\.org'"):
        warn_when_open("example.org")


@pytest.mark.parametrize(("host", "told"), [("0.0.0.0", True), ("127.0.0.1", False), (None, False)])
def test_bentos_own_command_is_looked_at(
    host: str | None, told: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv(SUPERVISOR_VARIABLE, raising=False)
    command = click.Command("serve", params=[click.Option(["--host"])], callback=lambda host: warn_when_bento_opens())
    command.main(["--host", host] if host else [], standalone_mode=False)
    assert ("without API keys" in capsys.readouterr().err) is told
    warn_when_bento_opens()  # outside of any command
    assert capsys.readouterr().err == ""
