"""What both clients are made of: the address, the settings, and what every request carries."""

from __future__ import annotations

import ssl
import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache
from typing import Any

import httpx
from pydantic import Field, PrivateAttr, field_validator

from pixano_inference import __version__
from pixano_inference.schemas import Settings, TrackingJob

from .known_images import KnownImages
from .operations import Call

DEFAULT_TIMEOUT = httpx.Timeout(connect=10.0, write=60.0, read=300.0, pool=None)
"""Seconds; reading waits longer than the server's own limits, so that it is the server who says what took too long."""

LIMITS = httpx.Limits(max_connections=None, max_keepalive_connections=32, keepalive_expiry=4.0)
"""Idle connections are dropped before servers do it (5 s is common), so that none is closed while it is being used."""


@lru_cache(maxsize=1)
def _tls() -> ssl.SSLContext:
    # reading the certificates takes longer than a request: once per process, not once per client
    return httpx.create_ssl_context()


Progress = bool | Callable[[int, int | None], None]
"""A function of frames done and frames in all (null where the video does not tell), or whether to draw a bar."""


class ClientBase(Settings):
    """The server's settings, and its address.

    Attributes:
        url: Base URL without a slash at the end.
    """

    url: str = Field(description="Base URL of the server")
    _known_images: KnownImages = PrivateAttr(default_factory=KnownImages)
    _http_options: dict[str, Any] = PrivateAttr(default_factory=dict)

    def __init__(
        self,
        url: str,
        *,
        api_key: str | None = None,
        timeout: float | httpx.Timeout | None = DEFAULT_TIMEOUT,
        headers: Mapping[str, str] | None = None,
        transport: Any = None,
        **settings: Any,
    ) -> None:
        """Make a client without asking the server for its settings; ``connect`` does ask.

        Args:
            url: Base URL, for instance ``http://127.0.0.1:7463``.
            api_key: Key to send, where the server wants one.
            timeout: Seconds for each step of a request, or null for no limit.
            headers: More headers for every request.
            transport: How httpx reaches the server, instead of over the network.
            settings: Fields of :class:`~pixano_inference.schemas.Settings`.

        Raises:
            ValueError: ``url`` is no http or https URL.
        """
        super().__init__(url=url, **settings)
        # a bearer token rather than X-API-Key, because httpx knows not to hand it on when redirected to another host
        key = {"authorization": f"Bearer {api_key}"} if api_key is not None else {}
        self._http_options = {
            "base_url": self.url + "/",
            "timeout": timeout,
            "follow_redirects": True,
            "limits": LIMITS,
            "transport": transport,
            "verify": _tls(),
            "headers": {
                "user-agent": f"pixano-inference-client/{__version__}",
                # answers are small or asked for as binary: compressing them would cost the server more than it saves
                "accept-encoding": "identity",
                **key,
                **(headers or {}),
            },
        }

    @field_validator("url")
    @classmethod
    def _is_http(cls, url: str) -> str:
        try:
            parsed = httpx.URL(url)
        except httpx.InvalidURL:
            parsed = httpx.URL("")
        if parsed.scheme not in ("http", "https") or not parsed.host:
            raise ValueError(f"Invalid URL, got {url!r}: it must begin with http:// or https:// and name a host")
        return url.rstrip("/")


def request_arguments(call: Call) -> dict[str, Any]:
    """Return the arguments of httpx's ``build_request`` for a call."""
    arguments: dict[str, Any] = {"method": call.method, "url": call.path.lstrip("/"), **call.options}
    if call.headers:
        arguments["headers"] = dict(call.headers)
    if call.parts is not None:
        arguments["files"] = call.parts
    elif call.content is not None:
        arguments["content"] = call.content
    return arguments


def progress_reporter(progress: Progress) -> AbstractContextManager[Callable[[TrackingJob], None]]:
    """Return what reports the state of a job: to a function, in a bar, or to nobody.

    A bar needs tqdm; without it nothing is drawn.
    """
    if callable(progress):
        tell = progress
        return nullcontext(lambda job: tell(*_frames(job)))
    if progress:
        try:
            return _Bar()
        except ImportError:
            pass
    return nullcontext(lambda job: None)


def _frames(job: TrackingJob) -> tuple[int, int | None]:
    done, total = job.metadata.get("frames_done"), job.metadata.get("frames_total")
    return int(done or 0), int(total) if total is not None else None


class _Bar(AbstractContextManager[Callable[[TrackingJob], None]]):
    def __init__(self) -> None:
        from tqdm import tqdm

        self._bar = tqdm(unit="frame", file=sys.stderr)

    def __enter__(self) -> Callable[[TrackingJob], None]:
        return self._show

    def _show(self, job: TrackingJob) -> None:
        done, self._bar.total = _frames(job)
        self._bar.set_description(job.status)
        self._bar.update(done - self._bar.n)

    def __exit__(self, *exc_info: object) -> None:
        self._bar.close()
