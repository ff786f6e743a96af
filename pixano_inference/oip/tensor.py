"""Tensors of the Open Inference Protocol: their datatypes, what is declared of them, and their values.

Source: the "Open Inference Protocol", version 2, and its binary tensor data extension.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

DTYPES: dict[str, npt.DTypeLike] = {
    "BOOL": "?",
    "UINT8": "u1",
    "UINT16": "<u2",
    "UINT32": "<u4",
    "UINT64": "<u8",
    "INT8": "i1",
    "INT16": "<i2",
    "INT32": "<i4",
    "INT64": "<i8",
    "FP16": "<f2",
    "FP32": "<f4",
    "FP64": "<f8",
}
"""Numeric datatypes and how their values lie in a binary section: little-endian, row-major."""

BYTES = "BYTES"
"""The datatype whose elements are byte strings; in JSON they are strings, in a binary section each has a length."""

_INTEGERS = frozenset(name for name in DTYPES if "INT" in name)
_FLOATS = frozenset(name for name in DTYPES if name.startswith("FP"))


@dataclass(frozen=True)
class TensorSpec:
    """What is declared of a tensor.

    Attributes:
        name: Its name.
        datatype: Its datatype, as the metadata tells it.
        shape: Its shape; -1 is a size that varies.
        description: What its values mean: units, coordinate order.
        limits: For each axis the name of the setting that bounds its size, or null. Shorter than the shape: null.
        on_request: Whether an output is given only to callers that name it.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]
    description: str
    limits: tuple[str | None, ...] = ()
    on_request: bool = False

    @property
    def accepted(self) -> frozenset[str]:
        """Datatypes that are read: other widths lose nothing, save for pixels, which would only be larger."""
        if self.datatype in _INTEGERS and self.datatype != "UINT8":
            return _INTEGERS
        return _FLOATS if self.datatype in _FLOATS else frozenset({self.datatype})

    def fits(self, shape: Iterable[int]) -> bool:
        """Whether a shape is one of those declared."""
        sizes = tuple(shape)
        return len(sizes) == len(self.shape) and all(
            declared in (-1, size) for declared, size in zip(self.shape, sizes, strict=True)
        )


@dataclass(frozen=True)
class Tensor:
    """A tensor with its values.

    Attributes:
        spec: What is declared of it.
        shape: Its shape.
        values: An array of that shape, or for BYTES the elements in row-major order.
    """

    spec: TensorSpec
    shape: tuple[int, ...]
    values: npt.NDArray[np.generic] | list[bytes]

    @property
    def array(self) -> npt.NDArray[np.generic]:
        """The values of a numeric tensor."""
        if isinstance(self.values, list):
            raise TypeError(f"{self.spec.name} is BYTES")
        return self.values

    @property
    def elements(self) -> list[bytes]:
        """The values of a BYTES tensor."""
        if not isinstance(self.values, list):
            raise TypeError(f"{self.spec.name} is {self.spec.datatype}")
        return self.values

    @classmethod
    def of_array(cls, spec: TensorSpec, array: npt.NDArray[np.generic]) -> Tensor:
        """Make a numeric tensor of the declared datatype."""
        return cls(spec, array.shape, np.ascontiguousarray(array, dtype=DTYPES[spec.datatype]))

    @classmethod
    def of_texts(cls, spec: TensorSpec, texts: Iterable[str], shape: tuple[int, ...]) -> Tensor:
        """Make a BYTES tensor of texts, in UTF-8."""
        return cls(spec, shape, [text.encode("utf-8", "replace") for text in texts])
