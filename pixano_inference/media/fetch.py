"""Media that requests name by URL: fetched under one policy, which the server cannot be talked out of."""

from __future__ import annotations

import asyncio
import socket

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from pixano_inference.errors import InvalidInput, TooLarge

from .addresses import is_public
from .fair_slots import FairSlots
from .system_resolver import CALLER, SystemResolver

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_MAX_URL_LENGTH = 8192
CONNECTIONS = 64
"""Media fetched at a time."""
_HEADERS = {"Accept": "image/*, video/*, */*;q=0.5", "Accept-Encoding": "identity", "User-Agent": "pixano-inference"}

Location = tuple[str | int, ...]


class _Refused(Exception):
    """The URL is refused or cannot be fetched; the message is for the caller."""


class _NotAllowed(OSError):
    """A name resolves to an address that may not be dialled."""


_UNREACHABLE = "its host cannot be reached, or is not one that this server may fetch from"


class CheckedResolver(AbstractResolver):
    """Resolves names for the connector, and hands out only addresses that may be dialled.

    The connector dials what this returns and resolves nothing a second time, so that a name that answers differently
    later (DNS rebinding) gains nothing.

    Args:
        allowed_hosts: Names that may resolve to any address.
        inner: Does the resolving.
    """

    def __init__(self, allowed_hosts: frozenset[str], inner: AbstractResolver) -> None:
        self._allowed_hosts = allowed_hosts
        self._inner = inner

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Resolve a name.

        Raises:
            OSError: It does not resolve, or to an address that is not public.
        """
        answers = await self._inner.resolve(host, port, family)
        if host.rstrip(".").lower() not in self._allowed_hosts and not all(
            is_public(answer["host"]) for answer in answers
        ):
            raise _NotAllowed("not a public address")
        return answers

    async def close(self) -> None:
        """Close the resolver within."""
        await self._inner.close()


class UrlFetcher:
    """Fetches http(s) URLs.

    Every address dialled is public unless the host is allow-listed, each redirect is checked again, proxies and
    cookies are ignored, the size is bounded while bytes arrive, and one deadline holds for all of it.

    Args:
        allowed_hosts: Hosts (names or addresses) that may be private ones.
        timeout_s: Deadline for one medium, redirects included, in seconds.
        max_redirects: Most redirects followed.
        resolver: Resolves names; null is the system's resolver.
        per_caller: Most media fetched at a time for one caller, of :data:`CONNECTIONS` in all.
    """

    def __init__(
        self,
        allowed_hosts: list[str],
        *,
        timeout_s: float = 20.0,
        max_redirects: int = 3,
        resolver: AbstractResolver | None = None,
        per_caller: int = CONNECTIONS,
    ) -> None:
        self._allowed_hosts = frozenset(host.strip("[]").rstrip(".").lower() for host in allowed_hosts)
        self._timeout_s = timeout_s
        self._max_redirects = max_redirects
        self._inner_resolver = resolver or SystemResolver(CONNECTIONS, per_caller)
        self._slots = FairSlots(CONNECTIONS, per_caller)
        self._session: aiohttp.ClientSession | None = None

    async def fetch(self, url: str, limit: int, location: Location = (), caller: str = "") -> bytes:
        """Return the body behind a URL.

        Args:
            url: http or https.
            limit: Most bytes.
            location: Field of the request that holds the URL, for the error.
            caller: Opaque id of who asks for it; callers cannot keep each other from fetching.

        Raises:
            InvalidInput: The URL is refused, or does not answer 200 with a complete body before the deadline.
            TooLarge: The body is larger than ``limit``.
        """
        try:
            CALLER.set(caller)
            async with asyncio.timeout(self._timeout_s), self._slots.hold(caller):
                return await self._follow(url, limit, location)
        except _Refused as refusal:
            reason = str(refusal)
        except TimeoutError:
            reason = f"it did not arrive within {self._timeout_s:g} s"
        except (aiohttp.ClientPayloadError, aiohttp.ServerDisconnectedError):
            reason = "the connection closed before the body was complete"
        except aiohttp.ClientConnectorError:
            # one text for "no such name", "not allowed" and "refused": none of them describes an inner network
            reason = _UNREACHABLE
        except (aiohttp.ClientError, OSError, ValueError):
            reason = "its server does not answer with valid HTTP"
        raise InvalidInput(f"the URL cannot be fetched: {reason}", code="media_url", location=location or None)

    async def aclose(self) -> None:
        """Close the pooled connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None
        await self._inner_resolver.close()

    def _open_session(self) -> aiohttp.ClientSession:
        if self._session is None:
            connector = aiohttp.TCPConnector(
                resolver=CheckedResolver(self._allowed_hosts, self._inner_resolver),
                use_dns_cache=False,
                limit=CONNECTIONS,
                keepalive_timeout=5.0,
            )
            self._session = aiohttp.ClientSession(
                connector=connector,
                cookie_jar=aiohttp.DummyCookieJar(),
                trust_env=False,
                auto_decompress=False,
                timeout=aiohttp.ClientTimeout(total=None),  # fetch() holds the one deadline
                headers=_HEADERS,
            )
        return self._session

    async def _follow(self, reference: str, limit: int, location: Location) -> bytes:
        url = self._checked(reference)
        for _ in range(self._max_redirects + 1):
            async with self._open_session().get(url, allow_redirects=False) as response:
                if response.status not in _REDIRECTS:
                    return await _body(response, limit, location)
                target = response.headers.get("Location")
                if not target:
                    raise _Refused("its server redirects to nowhere")
            url = self._checked(target, base=url)
        raise _Refused(f"it redirects more than {self._max_redirects} times")

    def _checked(self, reference: str, base: URL | None = None) -> URL:
        if len(reference) > _MAX_URL_LENGTH:
            raise _Refused(f"it is longer than {_MAX_URL_LENGTH} characters")
        # browsers, libraries and proxies disagree on these characters, which is how checks are walked around
        if any(character in "\\\x7f" or ord(character) <= 32 for character in reference):
            raise _Refused("it holds a backslash, a space or a control character")
        try:
            # parsed once, by the library that dials: there is no second parser to disagree with
            url = URL(reference)
            url = base.join(url) if base is not None else url
            host, _ = url.raw_host, url.port
        except ValueError:
            raise _Refused("it is not a valid URL") from None
        if url.scheme not in ("http", "https"):
            raise _Refused("only http and https are allowed")
        if not host:
            raise _Refused("it has no host")
        if url.raw_user is not None or url.raw_password is not None:
            raise _Refused("user names and passwords are not allowed in it")
        host = host.rstrip(".").lower()
        # numeric hosts never pass the resolver
        if host not in self._allowed_hosts and _is_numeric(host) and not is_public(host):
            raise _Refused(_UNREACHABLE)
        return url


async def _body(response: aiohttp.ClientResponse, limit: int, location: Location) -> bytes:
    if response.status != 200:
        raise _Refused(f"its server answers with status {response.status}")
    # compressed bodies would have to be bounded again after inflating; we asked for none
    if response.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise _Refused("its server compresses the body although it was asked not to")
    too_large = TooLarge(
        f"the medium behind the URL is larger than the allowed {limit} bytes",
        code="media_bytes",
        location=location or None,
    )
    if (response.content_length or 0) > limit:
        response.close()
        raise too_large
    chunks: list[bytes] = []
    size = 0
    async for chunk in response.content.iter_any():
        size += len(chunk)
        if size > limit:
            response.close()
            raise too_large
        chunks.append(chunk)
    return b"".join(chunks)


def _is_numeric(host: str) -> bool:
    """Tell whether a host is an address, or what a system resolver may take for one (0x7f.1, 017700000001)."""
    last = host.rsplit(".", 1)[-1]
    return ":" in host or last.isdigit() or last.startswith("0x")
