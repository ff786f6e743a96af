"""Processes in place of containers: started with the arguments and variables that the rendered manifests give them."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import httpx
import psutil

from tests.servers import ROOT

WAIT_S = 60.0


class Container:
    """A process in place of a container: the manifest's arguments and environment, another address and folder.

    Args:
        manifest: The Deployment whose pod has the container.
        config: The model set, which a pod has mounted.
        folder: Where its scratch folder is made.
        address: Host and port to listen on, in place of the manifest's.
        name: Part of the name of its scratch folder.
        wrapper: A command that the container's own is run by.
        changed: Environment variables on top of the manifest's.
    """

    def __init__(
        self,
        manifest: dict[str, Any],
        config: Path,
        folder: Path,
        address: tuple[str, int],
        name: str = "pod",
        wrapper: Sequence[str] = (),
        **changed: str,
    ) -> None:
        (container,) = manifest["spec"]["template"]["spec"]["containers"]
        self.probes = {name: container[name]["httpGet"]["path"] for name in ("readinessProbe", "livenessProbe")}
        host, port = address
        self.url = f"http://{host}:{port}"
        arguments = list(container["args"])
        assert arguments[0] == "python"
        arguments[0] = sys.executable
        arguments[arguments.index("--host") + 1] = host
        arguments[arguments.index("--port") + 1] = str(port)
        scratch = folder / f"{name}-{port}"
        scratch.mkdir()
        given = {entry["name"]: entry["value"] for entry in container["env"] if "value" in entry}
        moved = {key: value.replace("/tmp", str(scratch)) for key, value in given.items()}
        own = {"PIXANO_CONFIG": str(config), "PIXANO_RUNNER_SECRET": "shared", "PIXANO_DATA_DIR": str(scratch)}
        inherited = {key: value for key, value in os.environ.items() if not key.startswith(("PIXANO_", "BENTOML_"))}
        self.log = scratch / "log"
        with self.log.open("wb") as output:
            self.process = subprocess.Popen(
                [*wrapper, *arguments],
                env={**inherited, **moved, **own, "PYTHONPATH": str(ROOT), **changed},
                stdout=output,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                cwd=scratch,
            )

    def answers(self, probe: str) -> bool:
        """Whether a probe of the manifest succeeds now."""
        with contextlib.suppress(httpx.TransportError):
            # loading certificates, which nothing here has, would cost more than the request
            return httpx.get(self.url + self.probes[probe], timeout=5, verify=False).status_code == 200
        return False

    def wait_until_ready(self) -> None:
        """Return when the readiness probe succeeds."""
        wait_for(lambda: self.answers("readinessProbe"), self)

    def kill(self) -> None:
        """End everything in the container at once, as the kernel does when it is out of memory."""
        with contextlib.suppress(psutil.NoSuchProcess):
            for child in psutil.Process(self.process.pid).children(recursive=True):
                child.kill()
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """Stop as the kubelet does, and return the exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=WAIT_S)


def wait_for(condition: Callable[[], bool], container: Container, seconds: float = WAIT_S) -> None:
    """Return once ``condition`` is true.

    Raises:
        AssertionError: It was not in time, or the container ended; the message is the container's log.
    """
    give_up = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > give_up or container.process.poll() is not None:
            raise AssertionError(container.log.read_text())
        time.sleep(0.1)
