"""A cluster for the tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .names import why_impossible
from .pods import Cluster, Pod, free_network


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster without pods yet."""
    folder, network = tmp_path_factory.mktemp("cluster"), free_network()
    reason = why_impossible(f"{network}.53", folder)
    if reason is not None:
        pytest.skip(reason)
    with Cluster(folder, network) as cluster:
        yield cluster


@pytest.fixture
def gateway(cluster: Cluster) -> Pod:
    """The cluster's gateway, which is started once."""
    running = [pod for pod in cluster.pods["gateway"] if not pod.deleted]
    if not running:
        running = [cluster.add("gateway")]
    cluster.wait_until_ready(running[0])
    return running[0]
