"""Pages that are made from the code agree with it."""

from __future__ import annotations

import re
import runpy
from pathlib import Path
from typing import Any

import pytest

from pixano_inference.configs.server_settings import ServerSettings
from pixano_inference.gateway import metrics

ROOT = Path(__file__).resolve().parents[2]
SCRIPT: dict[str, Any] = runpy.run_path(str(ROOT / "scripts" / "render_docs.py"))


@pytest.mark.parametrize("page", SCRIPT["PAGES"])
def test_a_page_is_current(page: str) -> None:
    written = (ROOT / "docs" / "operators" / page).read_text(encoding="utf-8")
    assert written == SCRIPT["PAGES"][page](), "run `python scripts/render_docs.py`"


def test_every_setting_says_what_it_means() -> None:
    assert [name for name, field in ServerSettings.model_fields.items() if not field.description] == []


def test_every_exported_metric_is_in_the_catalogue() -> None:
    exported = set(re.findall(r"^# TYPE (\S+)", metrics.exposition().decode(), re.MULTILINE))
    page = (ROOT / "docs" / "operators" / "metrics.md").read_text(encoding="utf-8")
    described = set(re.findall(r"^\| `(pixano_\w+)`", page, re.MULTILINE))
    # a counter's moment of creation needs no words
    assert {name for name in exported if not name.endswith("_created")} == described
