"""The host's pip configuration, handed to the builds of images: the same index serves both, whatever it is."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
"""Where Debian's programs look for certificates, in the image as on the host."""

_WORDS = ("extra-index-url", "find-links", "trusted-host")
"""Options of pip that take several values."""


@dataclass(frozen=True)
class PackageIndex:
    """Where packages come from: pip's options, such as ``index-url`` and ``find-links``, with their values."""

    options: dict[str, list[str]]

    @classmethod
    def of_this_host(cls) -> PackageIndex:
        """Read pip's configuration: its files and the environment's ``PIP_*``."""
        listed = subprocess.run(
            [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True
        ).stdout
        options: dict[str, list[str]] = {}
        for section, option, value in re.findall(r"^([\w:-]+)\.([\w-]+)=('.*'|\".*\")$", listed, re.MULTILINE):
            if section in ("global", "install", ":env:"):
                known = options.setdefault(option, [])
                known += [word for word in str(ast.literal_eval(value)).split() if word not in known]
        return cls(options)

    def answers(self, package: str, folder: Path) -> bool:
        """Whether a small package can be downloaded into a folder."""
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder), package]
        try:
            return subprocess.run(command, capture_output=True, timeout=120, check=False).returncode == 0
        except subprocess.TimeoutExpired:
            return False

    def volumes(self, folder: Path) -> list[str]:
        """Write configuration files for pip and uv into ``folder``, and return the mounts that a build needs.

        Nothing of it stays in the image: what is mounted during a build is no part of a layer.
        """
        pip_conf, uv_toml = folder / "pip.conf", folder / "uv.toml"
        pip_conf.write_text("\n".join(["[global]", *self._pip_lines()]) + "\n")
        uv_toml.write_text("\n".join(self._uv_lines()) + "\n")
        mounts = {"/etc/pip.conf": pip_conf, "/etc/uv/uv.toml": uv_toml}
        mounts |= {str(place): place for place in self._folders()}
        certificates = next((Path(path) for path in self.options.get("cert", [])), CERTIFICATES)
        if certificates.exists():
            mounts[str(CERTIFICATES)] = certificates
        return [f"{source}:{target}:ro" for target, source in mounts.items()]

    def _pip_lines(self) -> list[str]:
        lines = [f"cert = {CERTIFICATES}"]
        for option in ("index-url", *_WORDS):
            if self.options.get(option):
                lines.append(f"{option} = {' '.join(self.options[option])}")
        return lines

    def _uv_lines(self) -> list[str]:
        # like pip: the best version of all indexes, not the best of the first index that knows the package
        lines = ['index-strategy = "unsafe-best-match"', "system-certs = true"]
        if self.options.get("index-url"):
            lines.append(f"index-url = {json.dumps(self.options['index-url'][-1])}")
        for option in _WORDS:
            if self.options.get(option):
                name = "allow-insecure-host" if option == "trusted-host" else option
                lines.append(f"{name} = {json.dumps(self.options[option])}")
        return lines

    def _folders(self) -> list[Path]:
        """Return the folders of this host that the configuration names."""
        places = []
        for option in ("index-url", "extra-index-url", "find-links"):
            for value in self.options.get(option, []):
                if value.startswith("file:"):
                    path = Path(url2pathname(urlsplit(value).path))
                    # an index's pages lead to files beside it
                    places.append(path.parent if option != "find-links" else path)
                elif Path(value).is_dir():
                    places.append(Path(value).resolve())
        return list(dict.fromkeys(place for place in places if place.is_dir() and place != Path("/")))
