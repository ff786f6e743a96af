"""Which images the server has seen, so that they are uploaded once."""

from __future__ import annotations

from collections import OrderedDict
from threading import Lock


class KnownImages:
    """Digests of images that the server has answered for, the latest ones.

    What is remembered here is a guess: the server may have forgotten an image, and then asks for it. The guess only
    decides what is sent first.

    Args:
        capacity: Most digests kept; the one unused for longest goes first.
    """

    def __init__(self, capacity: int = 1024) -> None:
        self.capacity = capacity
        self.supported = True
        """False once the server has shown that it does not know images by digest at all."""
        self._digests: OrderedDict[str, None] = OrderedDict()
        self._lock = Lock()

    def __contains__(self, digest: str) -> bool:
        with self._lock:
            if digest not in self._digests:
                return False
            self._digests.move_to_end(digest)
            return self.supported

    def __len__(self) -> int:
        return len(self._digests)

    def add(self, digest: str) -> None:
        """Remember that the server holds the image with this SHA-256."""
        with self._lock:
            self._digests[digest] = None
            self._digests.move_to_end(digest)
            while len(self._digests) > self.capacity:
                self._digests.popitem(last=False)
