"""Clicks on one image go to one replica, where its embedding is; when that replica dies, they move once."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

import pytest

from .load import Answer, Load
from .pods import Cluster, Pod, metric, replicas_up, until

pytestmark = [pytest.mark.system, pytest.mark.timeout(120)]

RUNNER = "runner-clicks"
IMAGES = 30
CLICKS = 6
EVENTS = ("hits", "misses")


def replicas_of_images(answers: Sequence[Answer]) -> dict[int, set[str]]:
    found: defaultdict[int, set[str]] = defaultdict(set)
    for answer in answers:
        assert answer.replica is not None
        found[answer.image].add(answer.replica)
    return found


class Caches:
    """What the caches of the living replicas did since the last look, as the gateway exports it."""

    def __init__(self, gateway: Pod) -> None:
        self._gateway = gateway
        self._seen = self._read()

    def _read(self) -> Counter[str]:
        return Counter(
            {event: int(metric(self._gateway, "pixano_cache_events", model="clicks", event=event)) for event in EVENTS}
        )

    def encodings(self, clicks: int) -> int:
        """Return the images encoded since the last look, once the metric has heard of that many clicks."""
        until(lambda: (self._read() - self._seen).total() >= clicks)
        now = self._read()
        new, self._seen = now - self._seen, now
        assert new.total() == clicks
        return new["misses"]


def test_an_image_is_encoded_on_one_replica_and_moves_once_when_that_dies(cluster: Cluster, gateway: Pod) -> None:
    cluster.scale(RUNNER, 3)
    until(lambda: replicas_up(gateway, "clicks") == 3)
    caches = Caches(gateway)
    images = range(1000, 1000 + IMAGES)

    def click() -> list[Answer]:
        with Load(lambda: [gateway.container.url], images=images) as load:
            until(lambda: len(load.answers) >= IMAGES * CLICKS, 60)
        assert load.failed == []
        return load.answers

    answers = click()
    made, possible = caches.encodings(len(answers)), len(answers) - IMAGES
    hits = len(answers) - made
    print(f"\n{len(answers)} clicks on {IMAGES} images: {made} encodings, {hits} of {possible} possible cache hits")
    assert hits >= 0.95 * possible
    homes = replicas_of_images(answers)
    assert len(set.union(*homes.values())) == 3

    lost = cluster.pods[RUNNER][0]
    lost_images = sum(lost.address in found for found in homes.values())
    cluster.kill(lost)
    until(lambda: replicas_up(gateway, "clicks") == 2)
    caches = Caches(gateway)
    answers = click()
    made, possible = caches.encodings(len(answers)), len(answers) - lost_images
    hits = len(answers) - made
    print(f"the replica of {lost_images} of them dies: {made} encodings, {hits} of {possible} possible cache hits")
    assert made >= lost_images
    assert hits >= 0.95 * possible
