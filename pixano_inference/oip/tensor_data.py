"""The values of input tensors, from JSON or from a binary section, checked before anything is made of them."""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Iterable
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from pixano_inference.configs.server_settings import ServerSettings
from pixano_inference.errors import BadRequest, InvalidInput, TooLarge

from .media import Location
from .tensor import BYTES, DTYPES, Tensor, TensorSpec

MAX_JSON_VALUES = 1 << 23
"""Most numbers of a tensor in JSON, where each costs dozens of bytes while it is read; larger tensors come as bytes."""

_NESTED = re.compile(rb"\[\s*\[")
_LENGTH = struct.Struct("<I")


def check_tensor(spec: TensorSpec, datatype: str, shape: list[int], settings: ServerSettings) -> None:
    """Refuse a tensor that is not what is declared, or larger than allowed.

    Raises:
        InvalidInput: Datatype or shape is wrong, or an axis is over its limit.
        TooLarge: It holds too many values.
    """
    location = ("body", spec.name)
    if datatype not in spec.accepted:
        raise InvalidInput(
            f"datatype {datatype[:16]!r} is not read here; declared is {spec.datatype}, accepted are "
            f"{', '.join(sorted(spec.accepted))}",
            code="datatype",
            location=location,
        )
    if not spec.fits(shape) or min(shape) < 1:
        raise InvalidInput(
            f"shape {_shown(shape)} does not fit {list(spec.shape)}, where -1 is any positive size",
            code="shape",
            location=location,
        )
    for size, name in zip(shape, spec.limits, strict=False):
        if name is not None and size > (limit := getattr(settings, name)):
            raise InvalidInput(f"{size} along an axis; allowed are {limit}", code="bounds", location=location)
    if spec.datatype == "UINT8":
        height, width = shape[-3:-1]
        if height * width > settings.max_image_pixels:
            raise TooLarge(
                f"an image has {width} × {height} pixels; allowed are {settings.max_image_pixels}",
                code="image_pixels",
                location=location,
            )
    elif math.prod(shape) > settings.max_array_values:
        raise TooLarge(
            f"shape {_shown(shape)} holds more than the allowed {settings.max_array_values} values",
            code="bounds",
            location=location,
        )


def from_json(spec: TensorSpec, datatype: str, shape: list[int], data: bytes) -> Tensor:
    """Read values written as JSON, flat or nested as the shape says.

    Raises:
        InvalidInput: They are not as many, or not of the kind, that shape and datatype say.
        TooLarge: They are too many for JSON.
    """
    location = ("body", spec.name, "data")
    count = math.prod(shape)
    nested = _NESTED.match(data) is not None
    if datatype == BYTES:
        # an upper bound of the strings, within twice their number, before any is made
        if data.count(b'"') - data.count(b'\\"') > 2 * count:
            raise _wrong_count(shape, location)
        strings = _decoded(data, str, len(shape) if nested else 1, location)
        elements = [text.encode() for text in (_flattened(strings, len(shape) - 1) if nested else strings)]
        if len(elements) != count:
            raise _wrong_count(shape, location)
        return Tensor(spec, tuple(shape), elements)
    if count > MAX_JSON_VALUES:
        raise TooLarge(
            f"{count} values; allowed in JSON are {MAX_JSON_VALUES}: send them as binary data",
            code="bounds",
            location=location,
        )
    if data.count(b",") != count - 1:
        raise _wrong_count(shape, location)
    element = bool if datatype == "BOOL" else float if datatype.startswith("FP") else int
    values = _decoded(data, element, len(shape) if nested else 1, location)
    try:
        with np.errstate(over="ignore"):  # infinities are refused below
            array = np.array(values, dtype=DTYPES[datatype])
    except (OverflowError, ValueError):
        raise InvalidInput(
            f"a value is out of the range of {datatype}, or lists differ in length", code="data", location=location
        ) from None
    if array.shape != (tuple(shape) if nested else (count,)):
        raise _wrong_count(shape, location)
    return _numeric(spec, shape, array)


def from_section(spec: TensorSpec, datatype: str, shape: list[int], data: memoryview) -> Tensor:
    """Read values of a binary section.

    Raises:
        InvalidInput: The section is not as long as shape and datatype say, or holds values that are no numbers.
        BadRequest: The lengths inside a BYTES section do not add up.
    """
    if datatype == BYTES:
        return Tensor(spec, tuple(shape), _elements(spec, math.prod(shape), data))
    dtype = np.dtype(DTYPES[datatype])
    wanted = math.prod(shape) * dtype.itemsize
    if len(data) != wanted:
        raise InvalidInput(
            f"shape {_shown(shape)} of {datatype} takes {wanted} bytes, binary_data_size is {len(data)}",
            code="shape",
            location=("body", spec.name, "shape"),
        )
    # BOOL sections may hold any byte; numpy's bools may not
    array = np.frombuffer(data, "u1") != 0 if datatype == "BOOL" else np.frombuffer(data, dtype)
    return _numeric(spec, shape, array)


def _numeric(spec: TensorSpec, shape: list[int], array: npt.NDArray[Any]) -> Tensor:
    if array.dtype.kind == "f":
        with np.errstate(over="ignore", invalid="ignore"):
            array = array.astype(DTYPES[spec.datatype])
        if not np.isfinite(array).all():
            raise InvalidInput(
                f"a value is NaN, infinite, or out of the range of {spec.datatype}",
                code="data",
                location=("body", spec.name, "data"),
            )
    return Tensor(spec, tuple(shape), array.reshape(shape))


def _elements(spec: TensorSpec, count: int, data: memoryview) -> list[bytes]:
    location = ("body", spec.name)
    elements: list[bytes] = []
    offset = 0
    for index in range(count):
        if len(data) - offset < _LENGTH.size:
            raise BadRequest(f"the section ends before element {index} of {count}", code="binary", location=location)
        (length,) = _LENGTH.unpack_from(data, offset)
        offset += _LENGTH.size
        if length > len(data) - offset:
            raise BadRequest(
                f"element {index} claims {length} bytes, {len(data) - offset} are left",
                code="binary",
                location=location,
            )
        elements.append(bytes(data[offset : offset + length]))
        offset += length
    if offset != len(data):
        raise BadRequest(
            f"{len(data) - offset} bytes are left after {count} elements", code="binary", location=location
        )
    return elements


def _decoded(data: bytes, element: type[Any], depth: int, location: Location) -> Any:
    kind: Any = element
    for _ in range(depth):
        kind = list[kind]
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        names = {bool: "booleans", int: "integers", float: "numbers", str: "strings"}
        raise InvalidInput(
            f"data must be a list of {names[element]}, flat or nested as shape says", code="data", location=location
        ) from None


def _flattened(values: Iterable[Any], levels: int) -> Iterable[Any]:
    for _ in range(levels):
        values = [item for inner in values for item in inner]
    return values


def _wrong_count(shape: list[int], location: Location) -> InvalidInput:
    return InvalidInput(f"data does not hold what shape {_shown(shape)} asks for", code="shape", location=location)


def _shown(shape: list[int]) -> str:
    return f"[{', '.join(map(str, shape[:8]))}{', ...' if len(shape) > 8 else ''}]"
