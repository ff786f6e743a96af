"""Images that callers may name by digest instead of sending them again."""

from __future__ import annotations

from collections import OrderedDict

from pixano_inference.errors import NotFound
from pixano_inference.schemas import ImageBytes
from pixano_inference.schemas.media_bytes import DIGEST_PREFIX


class SeenImages:
    """The least recently used images are dropped once all together are over ``max_bytes``.

    What one API key has sent cannot be named by another.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._images: OrderedDict[tuple[str, str], ImageBytes] = OrderedDict()

    def remember(self, key_id: str, image: ImageBytes) -> None:
        """Keep an image for callers with this key."""
        size = len(image.data)
        if size > self._max_bytes // 2:
            return
        entry = (key_id, image.digest)
        if entry not in self._images:
            self._images[entry] = image
            self._bytes += size
        self._images.move_to_end(entry)
        while self._bytes > self._max_bytes:
            _, dropped = self._images.popitem(last=False)
            self._bytes -= len(dropped.data)

    def find(self, key_id: str, reference: str) -> ImageBytes:
        """Return the image that ``sha256:<hex>`` names.

        Raises:
            NotFound: Nobody with this key has sent it lately; the caller is to send the bytes.
        """
        entry = (key_id, reference.removeprefix(DIGEST_PREFIX).lower())
        image = self._images.get(entry)
        if image is None:
            raise NotFound("the image of this digest is not here (any more): send the image itself", code="send_image")
        self._images.move_to_end(entry)
        return image
