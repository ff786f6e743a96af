"""Float arrays on the wire."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Any, Self

import numpy as np
import numpy.typing as npt
from pydantic import (
    Field,
    ModelWrapValidatorHandler,
    PrivateAttr,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from .base import FiniteFloat, Schema

if TYPE_CHECKING:
    import torch

Float32Array = npt.NDArray[np.float32]

_LARGEST = 3.4028235e38
Float32 = Annotated[FiniteFloat, Field(ge=-_LARGEST, le=_LARGEST)]
"""A number that float32 can hold."""


class NDArrayFloat(Schema):
    """A float32 array as a flat list and its shape.

    An array made with :meth:`from_numpy` keeps the numpy array and makes the list only when someone asks for it, so
    that arrays of millions of values cross the server without becoming Python objects.

    Attributes:
        values: Row-major values.
        shape: Positive sizes; their product is the number of values.
    """

    values: list[Float32]
    shape: list[int] = Field(min_length=0)
    _array: Float32Array | None = PrivateAttr(default=None)

    @model_validator(mode="wrap")
    @classmethod
    def _accept_bytes(cls, data: Any, handler: ModelWrapValidatorHandler[Self]) -> NDArrayFloat:
        if not (isinstance(data, dict) and isinstance(data.get("values"), bytes)):
            return handler(data)
        shape, raw = data.get("shape"), data["values"]
        if not isinstance(shape, list) or not all(type(size) is int and size > 0 for size in shape):
            raise ValueError("shape must be a list of positive ints")
        if math.prod(shape) * 4 != len(raw):
            raise ValueError(f"shape {shape[:8]} asks for {math.prod(shape) * 4} bytes, values holds {len(raw)}")
        array = np.frombuffer(raw, dtype="<f4")
        if not np.isfinite(array).all():
            raise ValueError("values holds NaN or infinity")
        return cls.from_numpy(array.reshape(shape))

    @model_validator(mode="after")
    def _product_matches(self) -> Self:
        if any(size < 1 for size in self.shape):
            raise ValueError(f"every size in shape must be positive, got {self.shape[:8]}")
        if self._array is None and math.prod(self.shape) != len(self.values):
            raise ValueError(
                f"shape {self.shape[:8]} asks for {math.prod(self.shape)} values, values holds {len(self.values)}"
            )
        return self

    def __getattr__(self, name: str) -> Any:
        if name == "values":
            array = self._array
            if array is not None:
                values: list[float] = array.ravel().tolist()
                self.__dict__["values"] = values
                return values
        return super().__getattr__(name)  # type: ignore[misc]  # pydantic defines it at run time only

    @model_serializer(mode="wrap")
    def _serialize(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        _ = self.values  # makes the list of a lazy array
        serialized: dict[str, Any] = handler(self)
        return serialized

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, NDArrayFloat):
            return NotImplemented
        return self.shape == other.shape and bool(np.array_equal(self.to_numpy(), other.to_numpy()))

    __hash__ = None  # type: ignore[assignment]  # mutable, as every schema

    @classmethod
    def from_numpy(cls, array: npt.NDArray[Any]) -> NDArrayFloat:
        """Wrap a numeric array of any shape without empty axes; it is converted to float32."""
        data = np.ascontiguousarray(array, dtype=np.float32)
        if data.size == 0:
            raise ValueError(f"an array with an empty axis cannot be sent, got shape {array.shape}")
        self = cls.model_construct({"values", "shape"}, shape=list(np.shape(array)))  # type: ignore[call-arg]  # lazy
        self._array = data.reshape(np.shape(array))
        return self

    def to_numpy(self) -> Float32Array:
        """Return the array as float32 of ``shape``. It may be read-only; copy it before writing."""
        if self._array is None:
            self._array = np.asarray(self.values, dtype=np.float32).reshape(self.shape)
        return self._array

    @classmethod
    def from_torch(cls, tensor: torch.Tensor) -> NDArrayFloat:
        """Wrap a tensor of any device and dtype; it is copied to the CPU as float32."""
        return cls.from_numpy(tensor.detach().float().cpu().numpy())

    def to_torch(self) -> torch.Tensor:
        """Return a float32 CPU tensor of ``shape``."""
        import torch

        array = self.to_numpy()
        return torch.from_numpy(array if array.flags.writeable else array.copy())
