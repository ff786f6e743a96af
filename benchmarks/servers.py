"""Starting the server and the yardstick, and asking the system what their processes use."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil

ROOT = Path(__file__).resolve().parents[1]


def free_port() -> int:
    """Return a port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Use:
    """What a process has used.

    Attributes:
        cpu_seconds: User and system time since its start.
        memory_mb: Resident memory in MB, what it shares with its siblings included.
    """

    cpu_seconds: float
    memory_mb: float


class Served:
    """A running server: the program's process and all its children.

    Attributes:
        url: Its base URL.
        ready_seconds: From the start of the process to the first "ready".
    """

    def __init__(self, process: subprocess.Popen[bytes], port: int, ready_seconds: float) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.ready_seconds = ready_seconds
        self._process = psutil.Process(process.pid)

    def use(self) -> dict[str, Use]:
        """Return what each process has used, by its role."""
        used: dict[str, Use] = {}
        for process in [self._process, *self._process.children(recursive=True)]:
            with contextlib.suppress(psutil.NoSuchProcess):
                name = _role(process)
                while name in used:
                    name += "'"
                times = process.cpu_times()
                used[name] = Use(times.user + times.system, process.memory_info().rss / 1e6)
        return used

    def cpu_seconds(self) -> float:
        """Return the CPU time of all processes together."""
        return sum(use.cpu_seconds for use in self.use().values())


def _role(process: psutil.Process) -> str:
    words = process.cmdline()
    if "--service-name" in words:
        return words[words.index("--service-name") + 1]
    if any("resource_tracker" in word for word in words):
        return "resource tracker"
    return "yardstick" if any("yardstick" in word for word in words) else "supervisor"


@contextlib.contextmanager
def _started(command: list[str], port: int, environment: dict[str, str], patience_s: float) -> Iterator[Served]:
    with tempfile.TemporaryFile() as log:
        began = time.monotonic()
        process = subprocess.Popen(
            command, cwd=ROOT, env={**os.environ, **environment}, stdout=log, stderr=subprocess.STDOUT
        )
        try:
            while True:
                with contextlib.suppress(httpx.TransportError):
                    if httpx.get(f"http://127.0.0.1:{port}/ready", timeout=5).status_code == 200:
                        break
                if process.poll() is not None or time.monotonic() - began > patience_s:
                    log.seek(0)
                    raise RuntimeError(f"{command} did not start:\n{log.read()[-4000:].decode('utf-8', 'replace')}")
                time.sleep(0.05)
            yield Served(process, port, time.monotonic() - began)
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                for child in psutil.Process(process.pid).children(recursive=True):
                    with contextlib.suppress(psutil.NoSuchProcess):
                        child.kill()
                process.kill()
                process.wait()


@contextlib.contextmanager
def server(models: list[str], environment: dict[str, str] | None = None) -> Iterator[Served]:
    """Serve the named models of :mod:`benchmarks.model_set`."""
    port = free_port()
    command = [sys.executable, "-m", "pixano_inference.cli", "--config", str(ROOT / "benchmarks" / "model_set.py")]
    with tempfile.TemporaryDirectory(prefix="pixano-benchmark-") as home:
        settings = {
            "PIXANO_BENCHMARK_MODELS": ",".join(models),
            "PYTHONPATH": str(ROOT),
            "BENTOML_HOME": home,
            **(environment or {}),
        }
        with _started([*command, "--port", str(port)], port, settings, patience_s=300) as served:
            yield served


@contextlib.contextmanager
def yardstick() -> Iterator[Served]:
    """Serve the same models in a plain FastAPI app."""
    port = free_port()
    with _started([sys.executable, "-m", "benchmarks.yardstick", "--port", str(port)], port, {}, 60) as served:
        yield served
