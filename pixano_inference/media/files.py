"""Files that requests name by path: only regular files below the configured media roots."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pixano_inference.errors import InvalidInput, TooLarge

FRAME_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"})
"""Files of a folder that count as frames of a video."""

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# O_NONBLOCK: opening a FIFO must not wait for its writer
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC

Location = tuple[str | int, ...]


class MediaRoots:
    """The folders that requests may name files in.

    A path is absolute, or relative to a root. Symbolic links are followed while they stay inside the root; the file
    is then opened one folder at a time without following any link, so that a folder swapped for a link meanwhile
    cannot lead outside. Every refusal reads the same, whether the path exists or not.

    Args:
        roots: The folders.
    """

    def __init__(self, roots: list[Path]) -> None:
        self._roots = [root.absolute() for root in roots]

    def read(self, reference: str, limit: int, location: Location = ()) -> bytes:
        """Return the content of a file.

        Args:
            reference: The path.
            limit: Largest size in bytes.
            location: Field of the request that names the file, for the error.

        Raises:
            InvalidInput: The path is not a regular file below a root.
            TooLarge: The file is larger than ``limit``.
        """
        root, parts = self._locate(reference, location)
        with _refused_alike(location), _opened(root, parts, _FILE) as descriptor:
            return _content(descriptor, limit, location)

    def read_video(self, reference: str, limit: int, max_frames: int, location: Location = ()) -> bytes | list[bytes]:
        """Return the content of a video file, or of the frames in a folder, in natural order of their names.

        Args:
            reference: The path of a file or folder.
            limit: Largest size in bytes, of all frames together.
            max_frames: Most frames.
            location: Field of the request that names the video, for the error.

        Raises:
            InvalidInput: The path is neither below a root, or the folder holds no frames.
            TooLarge: There are more bytes or frames than allowed.
        """
        root, parts = self._locate(reference, location)
        with _refused_alike(location), _opened(root, parts, _FILE) as descriptor:
            if not stat.S_ISDIR(os.fstat(descriptor).st_mode):
                return _content(descriptor, limit, location)
            return _frames(descriptor, limit, max_frames, location)

    def _locate(self, reference: str, location: Location) -> tuple[Path, tuple[str, ...]]:
        if not self._roots:
            raise InvalidInput(
                "this server reads no local paths (no media root is configured); send a data URI or an http(s) URL",
                code="media_path",
                location=location or None,
            )
        if "\0" in reference or len(reference) > 4096:
            raise _refusal(location)
        with _refused_alike(location):
            for root in self._roots:
                real_root = Path(os.path.realpath(root))
                real = Path(os.path.realpath(root / reference))
                if real.is_relative_to(real_root) and os.path.lexists(real):
                    return real_root, real.relative_to(real_root).parts
        raise _refusal(location)


def _refusal(location: Location) -> InvalidInput:
    return InvalidInput(
        "the path is not a readable file below a media root of this server",
        code="media_path",
        location=location or None,
    )


@contextmanager
def _refused_alike(location: Location) -> Iterator[None]:
    try:
        yield
    except (OSError, UnicodeError, ValueError):
        raise _refusal(location) from None


@contextmanager
def _opened(root: Path, parts: tuple[str, ...], flags: int) -> Iterator[int]:
    descriptor = os.open(root, _DIRECTORY)
    try:
        for index, part in enumerate(parts):
            inner = os.open(part, flags if index == len(parts) - 1 else _DIRECTORY, dir_fd=descriptor)
            os.close(descriptor)
            descriptor = inner
        yield descriptor
    finally:
        os.close(descriptor)


def _content(descriptor: int, limit: int, location: Location) -> bytes:
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        raise _refusal(location)
    # one byte more than allowed: the file may grow while it is read
    with open(descriptor, "rb", closefd=False) as file:
        data = file.read(limit + 1) if status.st_size <= limit else b""
    if status.st_size > limit or len(data) > limit:
        raise TooLarge(
            f"the file is larger than the allowed {limit} bytes", code="media_bytes", location=location or None
        )
    return data


def _frames(folder: int, limit: int, max_frames: int, location: Location) -> list[bytes]:
    names = sorted(
        (name for name in os.listdir(folder) if Path(name).suffix.lower() in FRAME_SUFFIXES), key=_natural_order
    )
    if not names:
        raise InvalidInput("the folder holds no images", code="media_path", location=location or None)
    if len(names) > max_frames:
        raise TooLarge(
            f"the folder holds {len(names)} frames; allowed are {max_frames}", code="frames", location=location or None
        )
    frames: list[bytes] = []
    left = limit
    for name in names:
        descriptor = os.open(name, _FILE, dir_fd=folder)
        try:
            frames.append(_content(descriptor, left, location))
        finally:
            os.close(descriptor)
        left -= len(frames[-1])
    return frames


def _natural_order(name: str) -> list[tuple[int, int | str]]:
    # "frame-10" comes after "frame-9"
    return [(0, int(part)) if part.isdecimal() else (1, part) for part in re.split(r"(\d+)", name) if part]
