"""Where traces go on a cluster, in terms that a NetworkPolicy knows."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from pixano_inference.errors import ConfigError

_LABEL = r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?"
_SERVICE = re.compile(rf"{_LABEL}\.(?P<namespace>{_LABEL})\.svc(\.[a-z0-9.-]+)?")
_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True)
class Collector:
    """An OpenTelemetry collector that pods can be let through to.

    Attributes:
        port: Its port. A policy sees the port of the pod behind a Service, which is taken to be the same.
        namespace: Namespace of its Service, or null for an address.
        block: The address as a block of one, or null for a Service.
    """

    port: int
    namespace: str | None = None
    block: str | None = None

    @classmethod
    def at(cls, endpoint: str) -> Collector:
        """Return the collector that an endpoint names.

        Raises:
            ConfigError: It is neither a Service of the cluster nor an address: a policy cannot name other hosts.
        """
        wrong = ConfigError(
            f"the OTLP endpoint {endpoint!r} must be http(s)://NAME.NAMESPACE.svc:PORT or http(s)://ADDRESS:PORT"
        )
        try:
            parts = urlsplit(endpoint)
            host, port = parts.hostname or "", parts.port or _PORTS[parts.scheme]
        except (KeyError, ValueError):
            raise wrong from None
        if parts.scheme not in _PORTS:
            raise wrong
        service = _SERVICE.fullmatch(host)
        if service is not None:
            return cls(port, namespace=service["namespace"])
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            raise wrong from None
        return cls(port, block=f"{address}/{address.max_prefixlen}")
