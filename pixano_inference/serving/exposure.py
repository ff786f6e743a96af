"""A word to the operator when whoever reaches the server may use it."""

from __future__ import annotations

import ipaddress
import os
import sys

from pixano_inference.configs.server_settings import server_settings
from pixano_inference.errors import ConfigError

from .strict import SUPERVISOR_VARIABLE


def warn_when_open(host: str) -> None:
    """Warn when the gateway listens on an address that others can reach, and asks for no API key.

    Raises:
        ConfigError: ``host`` is no IP address.
    """
    try:
        loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        raise ConfigError(f"--host must be an IP address, got {host!r}") from None
    settings = server_settings()
    if not loopback and not settings.api_keys and settings.api_keys_file is None:
        sys.stderr.write(
            f"pixano-inference: warning: listening on {host} without API keys: whoever reaches it may use it "
            "(set PIXANO_API_KEYS or PIXANO_API_KEYS_FILE)\n"
        )


def warn_when_bento_opens() -> None:
    """Warn likewise when ``bentoml serve --host ...`` is what started this process."""
    import click

    context = click.get_current_context(silent=True)
    host = context.params.get("host") if context is not None else None
    if isinstance(host, str) and SUPERVISOR_VARIABLE not in os.environ:
        warn_when_open(host)
