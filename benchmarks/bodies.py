"""Request bodies, as files for the load generator."""

from __future__ import annotations

import base64
import hashlib
import tempfile
from pathlib import Path
from typing import Any

import orjson

from .pictures import data_uri, picture

BOUNDARY = "a-boundary-that-no-picture-holds"
MULTIPART = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
BOX = [[10, 10, 200, 200]]


def write(folder: Path, *bodies: bytes) -> list[str]:
    """Write bodies where the generator finds them."""
    paths = []
    for body in bodies:
        with tempfile.NamedTemporaryFile(dir=folder, delete=False) as file:
            file.write(body)
        paths.append(file.name)
    return paths


def segmentation(model: str, image: str, **fields: Any) -> bytes:
    """Return the JSON of a segmentation request."""
    return orjson.dumps({"model": model, "image": image, "boxes": BOX, **fields}, option=orjson.OPT_SERIALIZE_NUMPY)


def pictures(size: tuple[int, int], count: int, form: str = "JPEG", first: int = 0) -> list[str]:
    """Return pictures as data URIs; ``first`` is the seed of the first one."""
    return [data_uri(picture(*size, seed=seed, form=form), form.lower()) for seed in range(first, first + count)]


def digest_of(uri: str) -> str:
    """Return the name by which the server knows an image that was sent as this data URI."""
    return "sha256:" + hashlib.sha256(base64.b64decode(uri.partition(",")[2])).hexdigest()


def upload(model: str, image: bytes) -> bytes:
    """Return a multipart body of metadata and image."""
    metadata = orjson.dumps({"model": model, "boxes": BOX})
    return (
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="metadata"\r\n\r\n'.encode()
        + metadata
        + f'\r\n--{BOUNDARY}\r\nContent-Disposition: form-data; name="image"; filename="i.jpg"\r\n'.encode()
        + b"Content-Type: image/jpeg\r\n\r\n"
        + image
        + f"\r\n--{BOUNDARY}--\r\n".encode()
    )
