"""What all schemas share."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

PixelCoordinate = Annotated[int, Field(ge=-(2**31), lt=2**31)]
"""A coordinate in pixels of the image as it was sent."""

FiniteFloat = Annotated[float, Field(allow_inf_nan=False)]


class Schema(BaseModel):
    """Base of every request and response: unknown fields are ignored, so that newer callers keep working."""

    model_config = ConfigDict(extra="ignore", protected_namespaces=())
