"""What is wrong with a manifest."""

from __future__ import annotations

from dataclasses import dataclass

from pixano_inference.kubernetes.manifest import Manifest


@dataclass(frozen=True)
class Problem:
    """One thing that a cluster would refuse, or accept and never run.

    Attributes:
        rule: Short name of the rule.
        where: ``Kind/name`` of the object.
        message: What is wrong, and what is allowed.
    """

    rule: str
    where: str
    message: str

    def __str__(self) -> str:
        return f"{self.where}: {self.message} [{self.rule}]"


def where(manifest: Manifest) -> str:
    """Return ``Kind/name``."""
    return f"{manifest.get('kind', '?')}/{manifest.get('metadata', {}).get('name', '?')}"
