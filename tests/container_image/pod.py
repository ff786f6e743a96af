"""A container that runs as a rendered Deployment says."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

import httpx
import psutil

from .engine import Engine

SECRET = "shared by gateway and runners"


class Pod:
    """A pod of one container, in a network namespace that it shares with the other pods.

    User, capabilities, read-only root, memory limit, environment, volumes, arguments and probes are the manifest's.
    Written differently: the address that it listens on, since all share one namespace; the Secret's value; and who
    starts it again, which is podman (``--restart=always``) in place of the kubelet, without its growing pauses.

    Args:
        engine: Podman.
        name: Name of the container.
        manifest: The Deployment.
        config_map: The model set's ConfigMap.
        address: Address to listen on.
    """

    def __init__(
        self, engine: Engine, name: str, manifest: dict[str, Any], config_map: dict[str, Any], address: str
    ) -> None:
        self.engine, self.name, self.address = engine, name, address
        self._spec = manifest["spec"]["template"]["spec"]
        (self.container,) = self._spec["containers"]
        self.url = f"http://{address}:{self.container['ports'][0]['containerPort']}"
        self._config = config_map["data"]

    def start(self, network_of: str, hosts: Path) -> None:
        """Create and start the container.

        Args:
            network_of: Container whose network namespace it joins.
            hosts: Its /etc/hosts, in place of a cluster's name service.
        """
        arguments = list(self.container["args"])
        arguments[arguments.index("--host") + 1] = self.address
        options = ["--name", self.name, "--restart=always", *self._confinement()]
        options += [f"--network=container:{network_of}", "--no-hosts", f"--volume={hosts}:/etc/hosts:ro"]
        for variable in self.container["env"]:
            if "value" in variable:
                options += ["--env", f"{variable['name']}={variable['value']}"]
        options += ["--env", f"PIXANO_RUNNER_SECRET={SECRET}"]
        self.engine.podman("run", "--detach", *options, *self._mounts(), self.container["image"], *arguments)

    def _confinement(self) -> list[str]:
        security, user = self.container["securityContext"], self._spec["securityContext"]["runAsUser"]
        options = [f"--user={user}:{user}", f"--memory={self.memory_limit}"]
        options += [f"--cap-drop={capability}" for capability in security["capabilities"]["drop"]]
        if security["readOnlyRootFilesystem"]:
            options += ["--read-only", "--read-only-tmpfs=false"]
        if not security["allowPrivilegeEscalation"]:
            options += ["--security-opt=no-new-privileges"]
        return options

    def _mounts(self) -> list[str]:
        volumes = {volume["name"]: volume for volume in self._spec["volumes"]}
        options = []
        for mount in self.container["volumeMounts"]:
            if "emptyDir" in volumes[mount["name"]]:
                options.append(f"--volume={self._empty_folder(mount['name'])}:{mount['mountPath']}")
            else:
                file = self.engine.folder / mount["subPath"]
                file.write_text(self._config[mount["subPath"]])
                file.chmod(0o644)
                options.append(f"--volume={file}:{mount['mountPath']}:ro")
        return options

    def _empty_folder(self, volume: str) -> Path:
        # as an emptyDir: new for the pod, kept when its container is started again, writable by its group
        folder = self.engine.folder / "volumes" / self.name / volume
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        os.chown(folder, 0, self._spec["securityContext"]["fsGroup"])
        folder.chmod(0o2770)
        return folder

    def answers(self, probe: str = "readinessProbe") -> bool:
        """Whether a probe of the manifest succeeds now."""
        with contextlib.suppress(httpx.TransportError):
            path = self.container[probe]["httpGet"]["path"]
            return httpx.get(self.url + path, timeout=5).status_code == 200
        return False

    @property
    def state(self) -> dict[str, Any]:
        """Podman's view of the container: ``Pid``, ``ExitCode``, ``OOMKilled`` and so on."""
        (inspected,) = json.loads(self.engine.podman("inspect", "--type", "container", self.name))
        return {**inspected["State"], "RestartCount": inspected["RestartCount"]}

    @property
    def memory_limit(self) -> int:
        """What the manifest allows, in bytes."""
        limit: str = self.container["resources"]["limits"]["memory"]
        return int(limit[:-2]) * {"Mi": 2**20, "Gi": 2**30}[limit[-2:]]

    def memory(self) -> int:
        """Return the resident memory of all its processes, in bytes."""
        total = 0
        for process in self.processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                total += process.memory_info().rss
        return total

    def cgroup(self, version_1: str, version_2: str) -> str:
        """Return the text of a file of its memory cgroup, by its names in both versions."""
        path = self.state["CgroupPath"]
        files = [Path(f"/sys/fs/cgroup/memory{path}") / version_1, Path(f"/sys/fs/cgroup{path}") / version_2]
        return next(file for file in files if file.exists()).read_text()

    def python(self, program: str) -> str:
        """Run a Python program in the container and return what it prints."""
        return self.engine.podman("exec", self.name, "python", "-c", program)

    def processes(self) -> list[psutil.Process]:
        """Return all its processes, the first one first."""
        first = psutil.Process(self.state["Pid"])
        return [first, *first.children(recursive=True)]

    def kill(self, processes: list[psutil.Process] | None = None) -> None:
        """End everything in it at once with SIGKILL; podman starts it again.

        Args:
            processes: What :meth:`processes` has returned, where the moment matters.
        """
        for process in reversed(self.processes() if processes is None else processes):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()

    def stop(self) -> int:
        """Stop it as the kubelet does: SIGTERM, the grace period, SIGKILL. Return the exit status."""
        grace = int(self._spec["terminationGracePeriodSeconds"])
        self.engine.podman("stop", "--time", str(grace), self.name, timeout_s=grace + 60)
        return int(self.state["ExitCode"])

    def start_again(self) -> None:
        """Start it after :meth:`stop`."""
        self.engine.podman("start", self.name)

    def log(self) -> str:
        """Return the last words of its processes."""
        return self.engine.podman("logs", "--tail", "60", self.name)
