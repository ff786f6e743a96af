"""What a case measured."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal


@dataclass(frozen=True)
class Setup:
    """How a run is done.

    Attributes:
        folder: Where request bodies and weights are put.
        quick: Few requests: to see that everything works, not to publish.
        device: Where SAM2 computes.
        scale: Share of the requests of a full run that are sent, for machines with little time.
    """

    folder: Path
    quick: bool
    device: Literal["cpu", "cuda"]
    scale: float = 1.0

    def count(self, full: int, quick: int) -> int:
        """Return a number of requests: at least the quick run's."""
        return quick if self.quick else max(quick, round(full * self.scale))


@dataclass(frozen=True)
class Bar:
    """What is to be reached: at most, or at least, this much of the ratio (of the value, where there is no ratio)."""

    limit: float
    at_least: bool = False

    def met(self, figure: float) -> bool:
        """Whether ``figure`` reaches it."""
        return figure >= self.limit if self.at_least else figure <= self.limit


@dataclass(frozen=True)
class Result:
    """One line of the table.

    Attributes:
        case: What was sent to what.
        measure: What was measured, with its unit.
        value: The server's figure.
        against: What it is compared with: the yardstick's figure, or the same server's in another situation.
        against_what: What that is.
        bar: What is to be reached.
        note: Why there is no figure, or what to know about it.
    """

    case: str
    measure: str
    value: float | None
    against: float | None = None
    against_what: str = "yardstick"
    bar: Bar | None = None
    note: str = ""

    @property
    def ratio(self) -> float | None:
        """Server over comparison."""
        return self.value / self.against if self.value is not None and self.against else None

    @property
    def met(self) -> bool | None:
        """Whether the bar is reached; null where there is none or no figure."""
        figure = self.ratio if self.against is not None else self.value
        return None if self.bar is None or figure is None else self.bar.met(figure)


@dataclass
class Series:
    """Figures over concurrency, for a plot."""

    title: str
    unit: str
    lines: dict[str, dict[int, float]] = field(default_factory=dict)

    def add(self, line: str, concurrency: int, value: float) -> None:
        """Add a point."""
        self.lines.setdefault(line, {})[concurrency] = value


@dataclass
class Outcome:
    """Everything that a case has to tell."""

    results: list[Result]
    plots: list[Series] = field(default_factory=list)


Case = Callable[[Setup], Outcome]


def median(values: Sequence[float]) -> float:
    """Return the median; a noisy machine has outliers in one direction."""
    return statistics.median(values)
