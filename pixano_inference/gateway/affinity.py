"""Which replica should get a request: the one that has its image, unless that one has too much to do."""

from __future__ import annotations

import hashlib
import math
import time
from collections import OrderedDict
from collections.abc import Sequence

from .replica import Replica

_MOST_REMEMBERED = 20_000


class Affinity:
    """Ranks replicas by rendezvous hashing on the image's digest, with a bound on load.

    A replica may hold a little more than the average load before the next in rank takes over (bounded-load hashing).
    Where the model keeps embeddings, an image that went elsewhere for that reason stays there: a click on an image
    whose embedding is at hand is short, so waiting behind others is better than encoding the image once more, and the
    bound is wider. Only a replica that came later and ranks first takes an image over, which is how new replicas get
    work. Several gateways agree on the ranks without a word between them.
    """

    def __init__(self) -> None:
        self._homes: OrderedDict[str, tuple[str, float]] = OrderedDict()

    def rank(self, replicas: Sequence[Replica], digest: str | None) -> list[Replica]:
        """Return replicas in the order in which they should be tried; ``digest`` is the image's, or null."""
        if digest is None:
            return sorted(replicas, key=lambda replica: replica.in_flight)
        ranked = sorted(replicas, key=lambda replica: _weight(digest, replica.address), reverse=True)
        average = (sum(replica.in_flight for replica in ranked) + 1) / max(1, len(ranked))
        bound = min(math.ceil(1.25 * average), math.ceil(average) + 1)
        chosen = sorted(ranked, key=lambda replica: replica.in_flight >= bound)  # stable: rank decides within
        home = self._home(digest, ranked)
        if home is not None and home.in_flight < math.ceil(1.5 * average) + 2:
            chosen.remove(home)
            chosen.insert(0, home)
        return chosen

    def _home(self, digest: str, ranked: Sequence[Replica]) -> Replica | None:
        if digest not in self._homes:
            return None
        address, since = self._homes[digest]
        if ranked and ranked[0].ready_since > since:
            return None
        return next((replica for replica in ranked if replica.address == address), None)

    def remember(self, digest: str | None, replica: Replica) -> None:
        """Tell that a request with this image is sent to a replica now."""
        if digest is None or not replica.keeps_embeddings:
            return
        address, since = self._homes.get(digest, (None, 0.0))
        self._homes[digest] = (replica.address, since if address == replica.address else time.monotonic())
        self._homes.move_to_end(digest)
        if len(self._homes) > _MOST_REMEMBERED:
            self._homes.popitem(last=False)


def _weight(digest: str, address: str) -> bytes:
    return hashlib.blake2b(f"{digest} {address}".encode(), digest_size=8).digest()
