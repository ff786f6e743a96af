"""How the host's pip configuration reaches the build of an image."""

from __future__ import annotations

import configparser
import tomllib
from pathlib import Path

from .package_index import PackageIndex


def test_indexes_folders_and_certificates_are_written_for_pip_and_uv_and_mounted(tmp_path: Path) -> None:
    wheels, index, certificates = tmp_path / "wheels", tmp_path / "index" / "simple", tmp_path / "ca.pem"
    wheels.mkdir()
    index.mkdir(parents=True)
    certificates.touch()
    out = tmp_path / "out"
    out.mkdir()
    volumes = PackageIndex(
        {
            "index-url": ["https://packages.example.com/simple"],
            "extra-index-url": [index.as_uri(), "https://more.example.com/simple"],
            "find-links": [str(wheels)],
            "trusted-host": ["more.example.com"],
            "cert": [str(certificates)],
        }
    ).volumes(out)
    pip = configparser.ConfigParser()
    pip.read(out / "pip.conf")
    assert pip["global"]["index-url"] == "https://packages.example.com/simple"
    assert pip["global"]["extra-index-url"] == f"{index.as_uri()} https://more.example.com/simple"
    uv = tomllib.loads((out / "uv.toml").read_text())
    assert uv["index-url"] == "https://packages.example.com/simple"
    assert uv["extra-index-url"] == [index.as_uri(), "https://more.example.com/simple"]
    assert uv["find-links"] == [str(wheels)]
    assert uv["allow-insecure-host"] == ["more.example.com"]
    assert f"{wheels}:{wheels}:ro" in volumes
    assert f"{index.parent}:{index.parent}:ro" in volumes, "pages of an index lead to files beside it"
    assert f"{certificates}:/etc/ssl/certs/ca-certificates.crt:ro" in volumes


def test_a_host_without_configuration_hands_over_none_of_its_folders(tmp_path: Path) -> None:
    volumes = PackageIndex({}).volumes(tmp_path)
    assert {volume.split(":")[1] for volume in volumes} <= {
        "/etc/pip.conf",
        "/etc/uv/uv.toml",
        "/etc/ssl/certs/ca-certificates.crt",
    }
    assert "index-url" not in (tmp_path / "uv.toml").read_text()
