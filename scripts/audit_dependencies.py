"""Checks what the server is built from: licences against a list, versions against published advisories."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterable, Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
EXTRAS = ("server", "transformers")

# Permissive licences, and MPL-2.0, which asks only that changes to its own files stay open: none is changed here.
ALLOWED = {
    "0BSD", "Apache-2.0", "Apache-2.0 WITH LLVM-exception", "BSD-2-Clause", "BSD-3-Clause", "BSD-3-Clause-Clear",
    "BSL-1.0", "CC0-1.0", "CNRI-Python", "ISC", "MIT", "MIT-CMU", "MPL-2.0", "PSF-2.0", "Zlib",
}  # fmt: skip
# Names from before licence expressions; "BSD" does not tell its number of clauses, each of which is allowed.
_OLD_NAMES = {
    "apache 2.0": "Apache-2.0",
    "apache 2.0 license": "Apache-2.0",
    "apache license 2.0": "Apache-2.0",
    "apache software license": "Apache-2.0",
    "bsd": "BSD-3-Clause",
    "bsd license": "BSD-3-Clause",
    "freebsd": "BSD-2-Clause",
    "isc license": "ISC",
    "isc license (iscl)": "ISC",
    "mit license": "MIT",
    "mozilla public license 2.0 (mpl 2.0)": "MPL-2.0",
    "python software foundation license": "PSF-2.0",
}
# The CUDA build of torch brings them, under NVIDIA's own terms; they are named, and left to the operator.
_NVIDIA = re.compile(r"(nvidia|cuda)-(?!ml-py)")


def allows(expression: str) -> bool:
    """Return whether an SPDX expression can be met with allowed licences alone."""
    tokens = re.findall(r"[()]|[^\s()]+", expression)

    def either() -> bool:
        value = both()
        while tokens[:1] == ["OR"]:
            tokens.pop(0)
            value = both() or value
        return value

    def both() -> bool:
        value = one()
        while tokens[:1] == ["AND"]:
            tokens.pop(0)
            value = one() and value
        return value

    def one() -> bool:
        if not tokens:
            return False
        name = tokens.pop(0)
        if name == "(":
            value = either()
            return tokens[:1] == [")"] and bool(tokens.pop(0)) and value
        if tokens[:1] == ["WITH"]:
            name = " ".join([name, tokens.pop(0), *tokens[:1]])
            del tokens[:1]
        return name in ALLOWED

    return either() and not tokens


def license_of(package: Distribution) -> str:
    """Return what a package says of its licence, as an SPDX expression where it can be read as one."""
    metadata = package.metadata
    if expression := metadata.get("License-Expression"):
        return str(expression)
    classifiers = [str(line) for line in metadata.get_all("Classifier") or []]
    told = [line.rpartition(" :: ")[2] for line in classifiers if line.startswith("License :: OSI Approved :: ")]
    text = str(metadata.get("License") or "").strip()
    names = told or [text if len(text) < 80 else text.partition("\n")[0]]  # some put the whole text there
    return " AND ".join(sorted({_OLD_NAMES.get(name.lower(), name) for name in names})) or "nothing"


def installed(requirements: Iterable[Requirement]) -> Iterator[Distribution]:
    """Yield the installed packages that satisfy requirements, and those that they need in turn, each once."""
    todo = list(requirements)
    seen: set[tuple[str, str]] = set()
    told: set[str] = set()
    while todo:
        requirement = todo.pop()
        name = canonicalize_name(requirement.name)
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        for extra in ("", *requirement.extras):
            if (name, extra) in seen:
                continue
            seen.add((name, extra))
            try:
                package = distribution(name)
            except PackageNotFoundError:
                print(f"not installed, so not looked at: {name}")
                break
            if name not in told:
                told.add(name)
                yield package
            for line in package.requires or ():
                needed = Requirement(line)
                if needed.marker is None or needed.marker.evaluate({"extra": extra}):
                    needed.marker = None
                    todo.append(needed)


def refused_licenses() -> list[str]:
    """Return a line per package whose licence is not allowed."""
    project: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = [*project["dependencies"], *(line for extra in EXTRAS for line in project["optional-dependencies"][extra])]
    refused, count, nvidia = [], 0, []
    for package in installed(Requirement(line) for line in lines):
        count += 1
        name = canonicalize_name(package.name)
        if _NVIDIA.match(name):
            nvidia.append(name)
        elif not allows(license_of(package)):
            refused.append(f"{name} {package.version}: {license_of(package)}")
    print(f"licences: {count} packages of {' and '.join(EXTRAS)}, {len(refused)} not allowed")
    if nvidia:
        print(f"under NVIDIA's own terms: {', '.join(sorted(nvidia))}")
    return refused


def read_report(report: dict[str, Any]) -> tuple[list[str], list[str], int]:
    """Return a line per known weakness, the packages that the database did not know, and how many it knew."""
    weak, unknown, known = [], [], 0
    for package in report["dependencies"]:
        if "skip_reason" in package:
            unknown.append(package["name"])
            continue
        known += 1
        for weakness in package["vulns"]:
            fixed = ", ".join(weakness["fix_versions"]) or "no version yet"
            weak.append(f"{package['name']} {package['version']}: {weakness['id']}, fixed in {fixed}")
    return weak, unknown, known


def known_weaknesses() -> list[str] | None:
    """Return a line per known weakness of a pinned version; null when the database cannot be asked."""
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder) / "report.json"
        command = [sys.executable, "-m", "pip_audit", "--requirement", str(ROOT / "requirements" / "constraints.txt")]
        command += ["--no-deps", "--disable-pip", "--progress-spinner", "off", "--format", "json"]
        run = subprocess.run([*command, "--output", str(answer)], capture_output=True, text=True)  # noqa: S603  # our own command
        # it ends with 1 both for a finding and for a database that is out of reach; only the first leaves a report
        if not answer.exists() or not answer.read_text().strip():
            print(f"pip-audit gave no report: {(run.stderr.strip().splitlines() or ['it said nothing'])[-1]}")
            return None
        weak, unknown, known = read_report(json.loads(answer.read_text()))
    if unknown:
        print(f"the database does not know {len(unknown)} packages: {', '.join(unknown)}")
    print(f"advisories: {known} pinned versions looked up, {len(weak)} known weaknesses")
    return weak if known else None


def main(arguments: list[str]) -> int:
    """Print what was found; return the exit status."""
    refused = refused_licenses()
    weak = known_weaknesses()
    if weak is None:
        print("ADVISORIES WERE NOT CHECKED: their database could not be asked from here")
    for line in [*refused, *(weak or [])]:
        print(f"FOUND {line}")
    return 1 if refused or weak or (weak is None and "--strict" in arguments) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
