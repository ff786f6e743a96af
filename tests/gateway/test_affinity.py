"""Which replica is tried first, as loads and replicas change."""

from __future__ import annotations

from collections import Counter

import pytest

from pixano_inference.gateway.affinity import Affinity
from pixano_inference.gateway.replica import Replica


def make(*addresses: str, embeddings: bool = True, ready_since: float = 0.0) -> list[Replica]:
    """Make ready replicas, without a connection."""
    made = []
    for address in addresses:
        replica = Replica(f"http://{address}:3000", None, lambda: None, "sam2")
        replica.status = {"state": "ready", "metadata": {"embedding_cache": {}} if embeddings else {}}
        replica.ready_since = ready_since
        made.append(replica)
    return made


def first_of_all(affinity: Affinity, replicas: list[Replica], digest: str) -> Replica:
    """Choose a replica and say that the request is sent there."""
    chosen = affinity.rank(replicas, digest)[0]
    affinity.remember(digest, chosen)
    return chosen


def test_an_image_that_went_elsewhere_for_the_load_stays_there() -> None:
    affinity, replicas = Affinity(), make("10.0.0.1", "10.0.0.2", "10.0.0.3")
    preferred = affinity.rank(replicas, "image")[0]
    preferred.in_flight = 1
    other = first_of_all(affinity, replicas, "image")
    assert other is not preferred
    preferred.in_flight, other.in_flight = 0, 1
    assert first_of_all(affinity, replicas, "image") is other


@pytest.mark.parametrize("embeddings", [True, False])
def test_only_replicas_that_keep_embeddings_are_waited_for(embeddings: bool) -> None:
    affinity, replicas = Affinity(), make("10.0.0.1", "10.0.0.2", embeddings=embeddings)
    home = first_of_all(affinity, replicas, "image")
    home.in_flight = 2
    assert (first_of_all(affinity, replicas, "image") is home) == embeddings


def test_an_image_that_everybody_wants_is_given_to_more_replicas() -> None:
    affinity, replicas = Affinity(), make("10.0.0.1", "10.0.0.2", "10.0.0.3")
    for _ in range(60):
        first_of_all(affinity, replicas, "image").in_flight += 1
    loads = sorted(replica.in_flight for replica in replicas)
    assert loads[-1] <= 1.5 * 20 + 3
    assert loads[1] > 0


def test_images_of_a_replica_that_goes_move_and_no_others() -> None:
    affinity, replicas = Affinity(), make("10.0.0.1", "10.0.0.2", "10.0.0.3")
    before = {name: first_of_all(affinity, replicas, name) for name in map(str, range(90))}
    gone = replicas.pop()
    after = {name: first_of_all(affinity, replicas, name) for name in before}
    assert {name for name in before if before[name] is not after[name]} == {n for n in before if before[n] is gone}


def test_a_new_replica_takes_over_its_share_of_known_images() -> None:
    affinity, replicas = Affinity(), make("10.0.0.1", "10.0.0.2")
    before = {name: first_of_all(affinity, replicas, name) for name in map(str, range(90))}
    (new,) = make("10.0.0.3", ready_since=float("inf"))
    after = {name: first_of_all(affinity, [*replicas, new], name) for name in before}
    moved = [name for name in before if before[name] is not after[name]]
    assert 15 <= len(moved) <= 45
    assert all(after[name] is new for name in moved)


def test_gateways_agree_on_new_images() -> None:
    replicas = make("10.0.0.1", "10.0.0.2", "10.0.0.3")
    chosen = [[Affinity().rank(replicas, str(image))[0].address for image in range(90)] for _ in range(2)]
    assert chosen[0] == chosen[1]
    assert min(Counter(chosen[0]).values()) >= 15


def test_without_an_image_the_least_loaded_is_first() -> None:
    affinity, replicas = Affinity(), make("10.0.0.1", "10.0.0.2")
    replicas[0].in_flight = 1
    assert first_of_all(affinity, replicas, "image") in replicas
    assert affinity.rank(replicas, None)[0] is replicas[1]
