"""Requests of the Open Inference Protocol, written as a client writes them."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from pixano_inference.oip.tensor import DTYPES

Value = npt.NDArray[Any] | Sequence[bytes]
NAMES = {np.dtype(dtype): name for name, dtype in DTYPES.items()}


def png(width: int = 64, height: int = 48) -> bytes:
    """Return a red image."""
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), (200, 0, 0)).save(buffer, "PNG")
    return buffer.getvalue()


def section(value: Value) -> bytes:
    """Return values as a binary section."""
    if isinstance(value, np.ndarray):
        return value.tobytes()
    return b"".join(len(element).to_bytes(4, "little") + element for element in value)


def declared(name: str, value: Value) -> dict[str, Any]:
    """Return name, datatype and shape."""
    if isinstance(value, np.ndarray):
        return {"name": name, "datatype": NAMES[value.dtype], "shape": list(value.shape)}
    return {"name": name, "datatype": "BYTES", "shape": [len(value)]}


def binary_body(values: Mapping[str, Value], **fields: Any) -> tuple[bytes, int]:
    """Return a body whose tensors are binary sections, and how much of it is JSON."""
    sections = {name: section(value) for name, value in values.items()}
    inputs = [
        {**declared(name, value), "parameters": {"binary_data_size": len(sections[name])}}
        for name, value in values.items()
    ]
    header = json.dumps({"inputs": inputs, **fields}).encode()
    return b"".join([header, *sections.values()]), len(header)


def json_body(values: Mapping[str, Value], *, nested: bool = False, **fields: Any) -> bytes:
    """Return a body that is JSON alone."""
    inputs = []
    for name, value in values.items():
        if isinstance(value, np.ndarray):
            data = value.tolist() if nested else value.ravel().tolist()
        else:
            data = [element.decode() for element in value]
        inputs.append({**declared(name, value), "data": data})
    return json.dumps({"inputs": inputs, **fields}).encode()
