"""Real servers for the system tier: the command as a user starts it, on a free port of 127.0.0.1."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import psutil

ROOT = Path(__file__).resolve().parents[1]
MODEL_SETS = Path(__file__).parent / "model_sets"


def free_port() -> int:
    """Return a port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Server:
    """A running server; use it as a context manager.

    Args:
        config: The model set.
        arguments: Further arguments of the command.
        environment: Environment variables on top of this process's.
        log: File that its output goes to.
        wait_s: Longest time until it is ready.
        role: ``role gateway`` or ``role runner --model NAME``, for a part of a server.
    """

    def __init__(
        self,
        config: Path | None,
        log: Path,
        arguments: list[str] | None = None,
        environment: dict[str, str] | None = None,
        wait_s: float = 90.0,
        role: Sequence[str] = (),
    ) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = log
        command = [sys.executable, "-m", "pixano_inference.cli", *role, "--port", str(self.port)]
        if config is not None:
            command += ["--config", str(config)]
        inherited = {
            key: value
            for key, value in os.environ.items()
            if not key.startswith(("PIXANO_", "BENTOML_", "COV_CORE", "PROMETHEUS_"))
        }
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                [*command, *(arguments or [])],
                stdout=output,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                cwd=log.parent,
                env={**inherited, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **(environment or {})},
            )
        self._wait_s = wait_s

    def wait_until_ready(self) -> None:
        """Return when ``/ready`` says so."""
        give_up = time.monotonic() + self._wait_s
        while time.monotonic() < give_up:
            if self.process.poll() is not None:
                raise AssertionError(f"the server ended with {self.process.returncode}:\n{self.text()}")
            try:
                if httpx.get(f"{self.url}/ready", timeout=5).status_code == 200:
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.1)
        raise AssertionError(f"the server is not ready after {self._wait_s} s:\n{self.text()}")

    def text(self) -> str:
        """Return what the server has printed."""
        return self.log.read_text(errors="replace")

    def runner_pids(self, model: str) -> list[int]:
        """Return the process ids of the runners of a model whose name is letters, digits and dashes."""
        service = "runner_" + "".join(c if c.isascii() and c.isalnum() else f"_{ord(c):x}_" for c in model)
        return [
            child.pid
            for child in psutil.Process(self.process.pid).children(recursive=True)
            if service in child.cmdline() or any(part.startswith(f"{service}__") for part in child.cmdline())
        ]

    def gateway_pid(self) -> int:
        """Return the process id of the gateway."""
        for child in psutil.Process(self.process.pid).children(recursive=True):
            if "gateway" in child.cmdline():
                return int(child.pid)
        raise AssertionError("the gateway does not run")

    def kill_runner(self, model: str) -> None:
        """End the runners of a model with SIGKILL."""
        for pid in self.runner_pids(model):
            os.kill(pid, signal.SIGKILL)

    def stop(self) -> int:
        """Ask the server to end, wait for it, and return its exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            for child in psutil.Process(self.process.pid).children(recursive=True):
                child.kill()
            self.process.kill()
            raise AssertionError(f"the server did not end within 60 s:\n{self.text()}") from None

    def __enter__(self) -> Server:
        try:
            self.wait_until_ready()
        except BaseException:  # no process is left behind, whatever it was
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def start_server(config: Path | None, log: Path, arguments: list[str] | None = None, **environment: Any) -> Server:
    """Start a server; values of ``environment`` become strings."""
    return Server(config, log, arguments, {key: str(value) for key, value in environment.items()})
