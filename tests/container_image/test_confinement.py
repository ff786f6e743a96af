"""What a process in each container may do, seen from within."""

from __future__ import annotations

import json

import pytest

from .cluster import Cluster

pytestmark = [pytest.mark.system, pytest.mark.usefixtures("inside"), pytest.mark.timeout(1800)]

SEEN_FROM_WITHIN = """
import json, os, pathlib
def written(folder):
    try:
        (pathlib.Path(folder) / "written").write_text("x")
    except OSError:
        return False
    return True
places = ("/", "/app", "/data", "/etc", "/home/bentoml", "/home/bentoml/bento/src", "/tmp")
folders = [place for place in places if written(place)]
lines = pathlib.Path("/proc/1/status").read_text().splitlines()
print(json.dumps({"uid": os.getuid(), "folders": folders, **dict(line.split(":\\t", 1) for line in lines)}))
"""


@pytest.mark.parametrize("name", ["gateway", "sam2-image-1", "disk-1", "disk-2", "still-1", "odd-1"])
def test_a_container_is_confined_as_its_manifest_says(cluster: Cluster, name: str) -> None:
    pod = cluster.pods[name]
    seen = json.loads(pod.python(SEEN_FROM_WITHIN))
    assert seen["uid"] == 1034
    assert seen["folders"] == (["/data", "/tmp"] if name == "gateway" else ["/tmp"])
    assert int(seen["Uid"].split()[1]) == 1034
    for capabilities in ("CapEff", "CapPrm", "CapInh", "CapBnd", "CapAmb"):
        assert int(seen[capabilities], 16) == 0, capabilities
    assert seen["NoNewPrivs"] == "1"
    assert seen["Seccomp"] == "2", "no filter of system calls"
    assert int(pod.cgroup("memory.limit_in_bytes", "memory.max")) == pod.memory_limit


def test_every_probe_of_the_manifests_succeeds(cluster: Cluster) -> None:
    for pod in cluster.pods.values():
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            assert pod.answers(probe), (pod.name, probe)


def test_the_image_holds_nothing_of_the_host_that_built_it(cluster: Cluster) -> None:
    program = 'import pathlib; print(*(pathlib.Path(p).read_text() for p in ("/etc/pip.conf", "/etc/uv/uv.toml")))'
    assert cluster.gateway.python(program).strip() == ""
