"""A gateway and its runners as containers, as the rendered manifests say."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx

from pixano_inference.kubernetes.options import RenderOptions
from pixano_inference.kubernetes.render import render
from pixano_inference.model_sets.loader import resolve
from tests.servers import MODEL_SETS, ROOT

from .engine import NAMESPACE, Engine
from .pod import Pod

CONFIG = Path(__file__).parent / "model_set.py"
OUTSIDE = "93.184.215.14"
"""A public address, which in the containers' namespace is a server of the test."""
READY_WITHIN_S = 180.0

_HOSTS = [
    ("localhost", "127.0.0.1"),
    ("images.test", OUTSIDE),
    ("other.test", "127.0.0.1"),
    ("metadata.test", "169.254.169.254"),
    ("mixed.test", OUTSIDE),
    ("mixed.test", "127.0.0.1"),
    ("127.0.0.1.nip.test", "127.0.0.1"),
]
"""Names of the corpus of attacks."""


class Cluster:
    """One gateway, one runner of SAM2, two of a small model, one of a tracker, one of a model that fails.

    The containers share a network namespace that has only the loopback interface, so that nothing outside is reached;
    every pod has an address of its own in it, and /etc/hosts gives the runners' names their addresses, as headless
    Services would. A container that does nothing holds the namespace, as a pod's sandbox does.

    Args:
        engine: Podman.
        image: The image, with the custom models.
        say: Told what takes how long.
    """

    def __init__(self, engine: Engine, image: str, say: Callable[[str], None]) -> None:
        self._engine, self._image, self._say = engine, image, say
        folder = engine.folder / "models"
        folder.mkdir(exist_ok=True)
        config = Path(shutil.copy(CONFIG, folder))
        shutil.copy(MODEL_SETS / "plain_models.py", folder)
        if not (folder / "demo").exists():
            (folder / "demo").symlink_to(ROOT / "models" / "demo")
        rendered = render(resolve(config), config.read_text(), RenderOptions(image=image))
        objects = {(m["kind"], m["metadata"]["name"]): m for m in rendered.manifests()}
        (config_map,) = [m for (kind, _), m in objects.items() if kind == "ConfigMap"]
        self.pods: dict[str, Pod] = {}
        self._addresses: list[tuple[str, str]] = []
        number = 2
        for (kind, name), manifest in objects.items():
            if kind == "Deployment" and name != "gateway":
                for replica in range(1, manifest["spec"].get("replicas", 1) + 1):
                    pod_name, address = f"{name.removeprefix('runner-')}-{replica}", f"127.0.0.{number}"
                    self.pods[pod_name] = Pod(engine, pod_name, manifest, config_map, address)
                    self._addresses.append((name, address))
                    number += 1
        self.gateway = Pod(engine, "gateway", objects["Deployment", "gateway"], config_map, "127.0.0.1")
        self.pods["gateway"] = self.gateway
        self.url = self.gateway.url
        self.lost: str | None = None
        """Why the containers cannot be used any more, so that no further test waits for them."""

    def start(self) -> None:
        """Start all pods and return when all are ready."""
        began = time.monotonic()
        hosts = self._engine.folder / "hosts"
        hosts.write_text("".join(f"{address} {name}\n" for name, address in [*_HOSTS, *self._addresses]))
        hosts.chmod(0o644)
        holder = ["--name", NAMESPACE, "--network=none", "--entrypoint", "sleep", self._image, "infinity"]
        self._engine.podman("run", "--detach", "--cap-drop=all", "--read-only", "--stop-signal=KILL", *holder)
        self._namespace = Path(
            f"/proc/{self._engine.podman('inspect', '--format', '{{.State.Pid}}', NAMESPACE)}/ns/net"
        )
        with self.inside():
            subprocess.run(["ip", "address", "add", f"{OUTSIDE}/32", "dev", "lo"], check=True)
        for pod in self.pods.values():
            pod.start(NAMESPACE, hosts)
        for pod in self.pods.values():
            self.wait_for(pod.answers, pod)
            self._say(f"{pod.name} ready {time.monotonic() - began:.0f} s after the first container was started")
        self.wait_until_ready()

    @contextlib.contextmanager
    def inside(self) -> Iterator[None]:
        """Move the calling thread, and threads that it starts, into the containers' network namespace."""
        with Path("/proc/self/task", str(_thread_id()), "ns/net").open() as outside, self._namespace.open() as inside:
            _set_namespace(inside.fileno())
            try:
                yield
            finally:
                _set_namespace(outside.fileno())

    def wait_until_ready(self, within_s: float = READY_WITHIN_S) -> float:
        """Return the seconds until the gateway says that every model answers."""
        return self.wait_for(lambda: _status(f"{self.url}/ready") == 200, within_s=within_s)

    def wait_for(
        self, condition: Callable[[], bool], pod: Pod | None = None, within_s: float = READY_WITHIN_S
    ) -> float:
        """Wait for a condition and return the seconds that it took; ``pod`` is whose log tells why it took too long."""
        began = time.monotonic()
        with self.inside():
            while not condition():
                if time.monotonic() - began > within_s:
                    raise AssertionError(f"not within {within_s:g} s\n{(pod or self.gateway).log()}")
                time.sleep(0.1)
        return time.monotonic() - began


def _status(url: str) -> int | None:
    with contextlib.suppress(httpx.TransportError):
        return httpx.get(url, timeout=5).status_code
    return None


def _thread_id() -> int:
    return int(ctypes.CDLL(None).gettid())


def _set_namespace(descriptor: int) -> None:
    # os.setns needs Python 3.12
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(descriptor, 0x40000000) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
