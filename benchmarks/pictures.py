"""Pictures to send: a red disk on a textured ground, made from a seed."""

from __future__ import annotations

import base64
import io
from functools import lru_cache

import numpy as np
from PIL import Image

SMALL = (640, 480)
MEGAPIXEL = (1152, 864)
TWELVE_MEGAPIXELS = (4000, 3000)


@lru_cache(maxsize=32)
def picture(width: int, height: int, seed: int = 0, form: str = "JPEG") -> bytes:
    """Return an encoded picture. The texture makes a JPEG about as large as a photograph's."""
    random = np.random.default_rng(seed)
    coarse = random.integers(0, 90, (height // 8 + 1, width // 8 + 1, 3), dtype=np.uint8)
    ground = np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)).copy()
    ground += random.integers(0, 12, ground.shape, dtype=np.uint8)
    y, x = np.ogrid[:height, :width]
    center_x, center_y = width * random.uniform(0.3, 0.7), height * random.uniform(0.3, 0.7)
    disk = (x - center_x) ** 2 + (y - center_y) ** 2 < (0.2 * min(width, height)) ** 2
    ground[disk, 0] = 230
    stream = io.BytesIO()
    if form == "JPEG":
        Image.fromarray(ground).save(stream, "JPEG", quality=90)
    else:
        Image.fromarray(ground).save(stream, form)
    return stream.getvalue()


def data_uri(data: bytes, kind: str = "jpeg") -> str:
    """Return the bytes as a data URI."""
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
