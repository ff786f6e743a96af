"""Masks of a job as they are kept: a compressed chunk per so many frames."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder().decode


def pack_frames(frames: Sequence[dict[str, Any]]) -> bytes:
    """Compress frames, each a plain :class:`~pixano_inference.schemas.FrameMasks`."""
    rows = [
        [frame["frame_index"], frame["objects_ids"], [[*mask["size"], mask["counts"]] for mask in frame["masks"]]]
        for frame in frames
    ]
    return zlib.compress(_encode(rows), 1)


def unpack_output(chunks: Iterable[bytes]) -> dict[str, Any]:
    """Return the plain :class:`~pixano_inference.schemas.TrackingOutput` of all chunks."""
    objects_ids: list[int] = []
    frame_indexes: list[int] = []
    masks: list[dict[str, Any]] = []
    for chunk in chunks:
        for index, ids, rows in _decode(zlib.decompress(chunk)):
            objects_ids += ids
            frame_indexes += [index] * len(ids)
            masks += [{"size": [height, width], "counts": counts} for height, width, counts in rows]
    return {"objects_ids": objects_ids, "frame_indexes": frame_indexes, "masks": masks}
