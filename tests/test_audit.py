"""What ``scripts/audit`` calls allowed, weak, and not looked at."""

from __future__ import annotations

import runpy
from importlib.metadata import Distribution
from pathlib import Path
from typing import Any

import pytest

SCRIPT: dict[str, Any] = runpy.run_path(str(Path(__file__).resolve().parents[1] / "scripts" / "audit_dependencies.py"))


@pytest.mark.parametrize(
    ("expression", "allowed"),
    [
        ("MIT", True),
        ("GPL-3.0-only", False),
        ("MIT OR GPL-3.0-only", True),
        ("MIT AND GPL-3.0-only", False),
        ("MPL-2.0 AND (Apache-2.0 OR MIT)", True),
        ("GPL-3.0-only AND (Apache-2.0 OR MIT)", False),
        ("MIT OR GPL-3.0-only AND LGPL-3.0-only", True),
        ("(MIT OR GPL-3.0-only) AND LGPL-3.0-only", False),
        ("Apache-2.0 WITH LLVM-exception AND MIT", True),
        ("GPL-2.0-only WITH LLVM-exception", False),
        ("Apache-2.0 WITH", False),
        ("MIT AND", False),
        ("MIT GPL-3.0-only", False),
        ("(MIT", False),
        ("LicenseRef-Proprietary", False),
        ("", False),
    ],
)
def test_an_expression_is_allowed_only_if_every_part_that_binds_is(expression: str, allowed: bool) -> None:
    assert SCRIPT["allows"](expression) is allowed


@pytest.mark.parametrize(
    ("lines", "license"),
    [
        (["License-Expression: MIT OR Apache-2.0", "License: GPL"], "MIT OR Apache-2.0"),
        (["License: Apache 2.0"], "Apache-2.0"),
        (["License: see the file", "Classifier: License :: OSI Approved :: BSD License"], "BSD-3-Clause"),
        (
            [
                "Classifier: License :: OSI Approved :: MIT License",
                "Classifier: License :: OSI Approved :: GNU General Public License v3 (GPLv3)",
            ],
            "GNU General Public License v3 (GPLv3) AND MIT",
        ),
        (["License: " + "All rights reserved. " * 20], "All rights reserved. " * 19 + "All rights reserved."),
        ([], "nothing"),
    ],
)
def test_what_a_package_says_of_its_licence(tmp_path: Path, lines: list[str], license: str) -> None:
    folder = tmp_path / "some-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("\n".join(["Metadata-Version: 2.4", "Name: some", "Version: 1.0", *lines, ""]))
    assert SCRIPT["license_of"](Distribution.at(folder)) == license


def test_every_installed_dependency_is_allowed(capsys: pytest.CaptureFixture[str]) -> None:
    assert SCRIPT["refused_licenses"]() == []
    told = capsys.readouterr().out
    assert int(told.partition("licences: ")[2].split()[0]) > 50


def test_a_report_tells_weaknesses_and_what_was_not_looked_up() -> None:
    report = {
        "dependencies": [
            {"name": "sound", "version": "1.0", "vulns": []},
            {"name": "weak", "version": "2.0", "vulns": [{"id": "PYSEC-1", "fix_versions": ["2.1"]}]},
            {"name": "hopeless", "version": "3.0", "vulns": [{"id": "PYSEC-2", "fix_versions": []}]},
            {"name": "private", "skip_reason": "Dependency not found"},
        ]
    }
    assert SCRIPT["read_report"](report) == (
        ["weak 2.0: PYSEC-1, fixed in 2.1", "hopeless 3.0: PYSEC-2, fixed in no version yet"],
        ["private"],
        3,
    )


@pytest.mark.parametrize(
    ("weak", "arguments", "status"),
    [(None, ["--strict"], 1), (None, [], 0), ([], ["--strict"], 0), (["weak 2.0: PYSEC-1"], [], 1)],
)
def test_advisories_that_were_not_checked_are_no_success_when_strict(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    weak: list[str] | None,
    arguments: list[str],
    status: int,
) -> None:
    main = SCRIPT["main"]
    monkeypatch.setitem(main.__globals__, "known_weaknesses", lambda: weak)
    assert main(arguments) == status
    assert ("ADVISORIES WERE NOT CHECKED" in capsys.readouterr().out) is (weak is None)
