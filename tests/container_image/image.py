"""The image under test: the Bento's own, built on a base made from Debian's packages, and a layer of custom models."""

from __future__ import annotations

import importlib.metadata
import json
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from tests.servers import MODEL_SETS, ROOT

from .engine import Engine
from .package_index import PackageIndex

BASE = "docker.io/library/python:3.11-slim"
IMAGE = "localhost/pixano-inference:test"
WITH_CUSTOM_MODELS = "localhost/pixano-inference:test-custom"
MIRROR = "http://deb.debian.org/debian"

Say = Callable[[str], None]


def unreachable(engine: Engine) -> list[str]:
    """Return what of the outside an image's build needs and cannot reach."""
    lacks = []
    mirror = engine.environment.get("PIXANO_DEBIAN_MIRROR", MIRROR)
    try:
        urllib.request.urlopen(f"{mirror}/dists/bookworm/Release", timeout=30).close()
    except (urllib.error.URLError, TimeoutError, OSError) as error:
        lacks.append(f"a Debian mirror ({mirror}: {error}; PIXANO_DEBIAN_MIRROR names another)")
    if not PackageIndex.of_this_host().answers("tqdm", engine.folder / "probe"):
        lacks.append("a package index (pip cannot download tqdm)")
    return lacks


def build(engine: Engine, variant: str, say: Say) -> str:
    """Build base and image where the storage lacks them, and return the image's name.

    Args:
        engine: Where to.
        variant: As ``scripts/build_image`` takes it.
        say: Told what takes how long.
    """
    index = PackageIndex.of_this_host()
    if not engine.has_image(BASE):
        began = time.monotonic()
        engine.run([str(ROOT / "scripts" / "make_base_image"), BASE], timeout_s=600, tries=2)
        say(f"base image made in {time.monotonic() - began:.0f} s")
    name = f"{IMAGE}-{variant}"
    began = time.monotonic()
    command = [str(ROOT / "scripts" / "build_image"), "--variant", variant, "--tag", name]
    engine.run(
        command,
        timeout_s=900,
        tries=2,
        PATH=f"{Path(sys.executable).parent}:{engine.environment['PATH']}",
        BENTOML_HOME=str(engine.folder / "bentos"),
        PIXANO_CONTAINER_BACKEND="podman",
        CONTAINERS_CONF=str(engine.configuration_for_builds(index.volumes(engine.folder))),
        **_torch_index(),
    )
    size = int(json.loads(engine.podman("image", "inspect", name))[0]["Size"])
    say(f"image ({variant}) built in {time.monotonic() - began:.0f} s: {size / 1e6:.0f} MB")
    return name


def add_custom_models(engine: Engine, image: str) -> str:
    """Add the tests' custom models as a layer, as a user adds modules of theirs, and return the image's name."""
    containerfile = engine.folder / "Containerfile"
    containerfile.write_text(f"FROM {image}\nCOPY plain_models.py /home/bentoml/bento/src/models/\n")
    engine.podman("build", "--quiet", "--tag", WITH_CUSTOM_MODELS, "--file", str(containerfile), str(MODEL_SETS))
    return WITH_CUSTOM_MODELS


def _torch_index() -> dict[str, str]:
    # where this environment has a CPU build of torch, its index has it for the image too
    own = importlib.metadata.version("torch")
    return {"PIXANO_TORCH_CPU_INDEX": ""} if own.endswith("+cpu") else {}
