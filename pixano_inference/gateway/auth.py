"""API keys: who calls."""

from __future__ import annotations

import hashlib
import hmac
import logging
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pixano_inference.configs.server_settings import ServerSettings
from pixano_inference.errors import ConfigError, NotAuthenticated

logger = logging.getLogger(__name__)

_RELOAD_INTERVAL_S = 1.0
_HASHED = re.compile(r"sha256:([0-9a-fA-F]{64})")


@dataclass(frozen=True)
class Caller:
    """Who sent a request.

    Attributes:
        key_id: Short stable name of the caller's key, safe to log and to keep caches and jobs apart by;
            ``"anonymous"`` where no keys are configured.
    """

    key_id: str


ANONYMOUS = Caller("anonymous")


class ApiKeys:
    """The API keys of this server.

    Only digests of the keys are held. A key file is read again when it changes, so that keys rotate without a restart;
    a file that cannot be read, or has become empty, keeps the keys that were valid before.

    Args:
        keys: Keys in plain text.
        file: File of keys, one a line: plain, or ``sha256:<hex>`` of the key. Empty lines and lines that begin with
            ``#`` are skipped.

    Raises:
        ConfigError: The file cannot be read, or holds no key: an open server must be asked for by naming no file.
    """

    def __init__(self, keys: list[str], file: Path | None = None) -> None:
        self._fixed = [_digest(key) for key in keys]
        self._file = file
        self._digests = list(self._fixed)
        self._stamp: tuple[int, ...] | None = None
        self._next_look = 0.0
        if file is not None:
            try:
                self._stamp = _stamp(file)
                self._digests = self._fixed + _read_keys(file)
            except (OSError, ValueError) as error:
                raise ConfigError(f"the file of API keys {file} cannot be used: {error}") from error

    @classmethod
    def from_settings(cls, settings: ServerSettings) -> ApiKeys:
        """Make the keys that the settings name.

        Raises:
            ConfigError: The file of keys cannot be used.
        """
        return cls(settings.api_keys, settings.api_keys_file)

    @property
    def required(self) -> bool:
        """Whether callers need a key at all."""
        return bool(self._fixed) or self._file is not None

    def identify(self, headers: Mapping[str, str]) -> Caller:
        """Return who sent these headers.

        Args:
            headers: Request headers with lower-case names, or a case-insensitive mapping. The key is in ``X-API-Key``,
                or in ``Authorization`` as a bearer token.

        Raises:
            NotAuthenticated: Keys are configured, and the request carries none or an unknown one.
        """
        if not self.required:
            return ANONYMOUS
        self._look_at_file()
        key = _sent_key(headers)
        if key is None:
            raise NotAuthenticated("an API key is needed: send it as X-API-Key or as a bearer token")
        digest = hashlib.sha256(key).digest()
        known = False
        for candidate in self._digests:
            # all are compared, so that the time does not tell which one, or how much of one, matched
            known |= hmac.compare_digest(candidate, digest)
        if not known:
            raise NotAuthenticated("the API key is not known to this server")
        return Caller(hashlib.sha256(b"key id:" + digest).hexdigest()[:12])

    def _look_at_file(self) -> None:
        now = time.monotonic()
        if self._file is None or now < self._next_look:
            return
        self._next_look = now + _RELOAD_INTERVAL_S
        try:
            stamp = _stamp(self._file)
            if stamp != self._stamp:
                self._digests = self._fixed + _read_keys(self._file)
                self._stamp = stamp
                logger.info("API keys were read again: %d keys", len(self._digests))
        except (OSError, ValueError) as error:
            logger.error("the file of API keys cannot be used, the keys before stay valid: %s", error)


def _sent_key(headers: Mapping[str, str]) -> bytes | None:
    key = headers.get("x-api-key")
    if key is None:
        scheme, _, token = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            return None
        key = token
    try:
        # header bytes arrive as latin-1; a key of other letters is sent as UTF-8
        sent = key.encode("latin-1")
    except UnicodeEncodeError:
        sent = key.encode("utf-8", "replace")
    return sent.strip() or None


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.strip().encode("utf-8")).digest()


def _read_keys(file: Path) -> list[bytes]:
    digests: list[bytes] = []
    for line in file.read_text("utf-8").splitlines():
        if not (text := line.strip()) or text.startswith("#"):
            continue
        hashed = _HASHED.fullmatch(text)
        if hashed is None and text.startswith("sha256:"):
            raise ValueError("a line that begins with sha256: must hold 64 hexadecimal digits")
        digests.append(bytes.fromhex(hashed[1]) if hashed else _digest(text))
    if not digests:
        raise ValueError("it holds no key")
    return digests


def _stamp(file: Path) -> tuple[int, ...]:
    status = file.stat()
    return status.st_ino, status.st_mtime_ns, status.st_size
