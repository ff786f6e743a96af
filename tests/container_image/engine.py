"""Podman with storage, run-time folder and configuration of its own, which leaves nothing behind."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import psutil

NAMESPACE = "namespace"
"""Name of the container whose network namespace the others share."""

_PREFIX = "pixano-containers-"

_COMMANDS = {
    "podman": "podman",
    "buildah": "buildah",
    "runc": "runc",
    "conmon": "conmon",
    "debootstrap": "debootstrap",
    "ip": "iproute2",
    "nsenter": "util-linux",
}
"""Commands that the tests need, and the Debian packages that have them."""

_STORAGE = """
[storage]
driver = "overlay"
graphroot = "{folder}/images"
runroot = "{folder}/run"
"""

# runc and cgroupfs work without systemd and on old and new kernels; locks and events in files are gone with the folder
_CONTAINERS = """
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
lock_type = "file"
tmp_dir = "{folder}/tmp"
image_copy_tmp_dir = "{folder}"
[network]
network_backend = "netavark"
[containers]
default_ulimits = ["nofile=20000:20000", "nproc=20000:20000"]
"""


def missing() -> list[str]:
    """Return what this machine lacks for building and running images; nothing when it can."""
    lacks = [] if os.geteuid() == 0 else ["root"]
    lacks += sorted({f"package {package}" for command, package in _COMMANDS.items() if shutil.which(command) is None})
    if "overlay" not in Path("/proc/filesystems").read_text():
        lacks.append("kernel feature overlayfs")
    if not any((Path(folder) / "netavark").exists() for folder in ("/usr/lib/podman", "/usr/libexec/podman")):
        lacks.append("package netavark")
    version_1, version_2 = Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup/cgroup.controllers")
    if not version_1.is_dir() and not (version_2.exists() and "memory" in version_2.read_text()):
        lacks.append("kernel feature memory cgroup")
    return lacks


class EngineError(RuntimeError):
    """A command of podman failed; the text holds its last words."""


class Engine:
    """Podman on a folder of its own.

    Args:
        folder: Where images, containers and configuration go; some gigabytes, on a disk.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        storage, containers = folder / "storage.conf", folder / "containers.conf"
        storage.write_text(_STORAGE.format(folder=folder))
        containers.write_text(_CONTAINERS.format(folder=folder))
        self.environment = {
            **os.environ,
            "CONTAINERS_STORAGE_CONF": str(storage),
            "CONTAINERS_CONF": str(containers),
            "TMPDIR": str(folder),
        }

    def configuration_for_builds(self, volumes: list[str]) -> Path:
        """Write a configuration with which builds use the host's network and mounts, and return its path.

        Bento's command hands one volume at most to podman.
        """
        path = self.folder / "build.conf"
        path.write_text(
            (self.folder / "containers.conf").read_text() + f'netns = "host"\nvolumes = {json.dumps(volumes)}\n'
        )
        return path

    def podman(self, *arguments: str, timeout_s: float = 120) -> str:
        """Run podman and return what it prints.

        Raises:
            EngineError: It failed.
        """
        return self.run(["podman", *arguments], timeout_s=timeout_s)

    def run(self, command: list[str], *, timeout_s: float, tries: int = 1, **environment: str) -> str:
        """Run a command that uses podman, and return what it prints.

        Args:
            command: The command.
            timeout_s: Longest time for it.
            tries: How often to try: what downloads packages may fail once.
            **environment: Variables on top of those that lead podman to this storage.

        Raises:
            EngineError: It failed, or took longer.
        """
        for _ in range(tries - 1):
            with contextlib.suppress(EngineError):
                return self._run(command, timeout_s, environment)
        return self._run(command, timeout_s, environment)

    def _run(self, command: list[str], timeout_s: float, environment: dict[str, str]) -> str:
        given = {**self.environment, **environment}
        try:
            done = subprocess.run(
                command,
                capture_output=True,
                text=True,
                errors="replace",
                stdin=subprocess.DEVNULL,
                env=given,
                timeout=timeout_s,
                check=False,
            )
        except subprocess.TimeoutExpired as expired:
            raise EngineError(f"{' '.join(command[:4])} took longer than {timeout_s:g} s") from expired
        if done.returncode != 0:
            said = (done.stdout + done.stderr)[-4000:]
            raise EngineError(f"{' '.join(command[:4])} ended with {done.returncode}:\n{said}")
        return done.stdout.strip()

    def has_image(self, name: str) -> bool:
        """Whether an image is in the storage."""
        try:
            self.podman("image", "exists", name)
        except EngineError:
            return False
        return True

    def remove_containers(self) -> None:
        """End and remove all containers of this storage, first those that share another's namespace."""
        names = self.podman("ps", "--all", "--format", "{{.Names}}").split()
        sharing = [name for name in names if name != NAMESPACE]
        for group in (sharing, [NAMESPACE] if NAMESPACE in names else []):
            if group:
                self.podman("rm", "--force", "--time", "0", *group)

    @classmethod
    def temporary(cls) -> Engine:
        """Return an engine in a new folder, after removing what processes left that were killed before they could."""
        parent = Path("/var/tmp")  # on a disk, which /tmp may not be
        for owner in parent.glob(f"{_PREFIX}*/owner"):
            if not psutil.pid_exists(int(owner.read_text())):
                cls(owner.parent).destroy()
        engine = cls(Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent)))
        (engine.folder / "owner").write_text(str(os.getpid()))
        # nothing is built twice here: without a cache of layers a build takes a fifth less time, and half the disk
        engine.environment["BUILDAH_LAYERS"] = "false"
        return engine

    def release(self) -> None:
        """Remove containers and mounts; images stay."""
        try:
            self.remove_containers()
        finally:
            # deepest first
            mounted = [line.split(" ")[1] for line in Path("/proc/mounts").read_text().splitlines()]
            for place in sorted((m for m in mounted if m.startswith(f"{self.folder}/")), reverse=True):
                subprocess.run(["umount", "--lazy", place], check=False)

    def destroy(self) -> None:
        """Remove containers, mounts and the folder."""
        try:
            self.release()
        finally:
            # some hundred thousand files
            subprocess.run(["rm", "-rf", "--one-file-system", str(self.folder)], check=False)
