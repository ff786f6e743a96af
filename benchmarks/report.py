"""Results as a page of the docs: a table, plots, and the machine they come from."""

from __future__ import annotations

import datetime
import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil

from pixano_inference import __version__

from .results import Outcome, Result, Series

HEAD = """# Benchmarks

Written by `python -m benchmarks` (`--quick` for a short run, `--device cuda` for a GPU), which anyone can run; nothing
here is typed in by hand. Figures of the server stand beside those of a **yardstick** from the same run: a plain FastAPI
app ([benchmarks/yardstick.py](../benchmarks/yardstick.py)) that holds the same model in one process with one worker
thread. Seconds depend on the machine and on what else it does; ratios do so much less. The load comes from a closed
loop of callers in a process of its own, on the same machine.
"""


def machine(remark: str) -> str:
    """Describe what the figures come from."""
    memory = psutil.virtual_memory().total / 2**30
    lines = [
        f"- {_processor()}, {os.cpu_count()} logical cores, {memory:.0f} GiB of memory, {platform.system()}, "
        f"Python {platform.python_version()}",
        f"- pixano-inference {__version__}, " + ", ".join(_versions("bentoml", "fastapi", "uvicorn", "torch")),
        f"- {datetime.datetime.now(datetime.UTC):%Y-%m-%d}, load average before the run {os.getloadavg()[0]:.1f}",
    ]
    if remark:
        lines.append(f"- {remark}")
    return "\n".join(lines)


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []:
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _versions(*names: str) -> list[str]:
    found = []
    for name in names:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            found.append(f"without {name}")
    return found


def _figure(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def row(result: Result) -> str:
    """Return a line of the table."""
    against = f"{_figure(result.against)} ({result.against_what})" if result.against is not None else ""
    ratio = f"{result.ratio:.2f}" if result.ratio is not None else ""
    bar = ""
    if result.bar is not None:
        limit = f"{result.bar.limit:.3g}"
        bar = ("≥ " if result.bar.at_least else "≤ ") + limit
        bar += {True: " ✓", False: " **missed**", None: " not measured"}[result.met]
    cells = [result.case, result.measure, _figure(result.value), against, ratio, bar, result.note]
    return "| " + " | ".join(cells) + " |"


def write(outcomes: dict[str, Outcome], docs: Path, described: str) -> Path:
    """Write ``benchmarks.md`` and its plots below ``docs``; return the page."""
    images = docs / "images" / "benchmarks"
    images.mkdir(parents=True, exist_ok=True)
    lines = [HEAD, "## The machine\n", described, "", "## Figures\n"]
    lines += ["| case | measure | server | compared with | ratio | bar | remark |", "|---|---|---|---|---|---|---|"]
    lines += [row(result) for outcome in outcomes.values() for result in outcome.results]
    plots = [plot for outcome in outcomes.values() for plot in outcome.plots]
    if plots:
        lines += ["", "## Over concurrency", ""]
    for series in plots:
        name = "".join(c if c.isalnum() else "-" for c in series.title.lower()).strip("-")
        while "--" in name:
            name = name.replace("--", "-")
        draw(series, images / f"{name}.png")
        lines.append(f"![{series.title}](images/benchmarks/{name}.png)")
    page = docs / "benchmarks.md"
    page.write_text("\n".join(lines) + "\n")
    return page


def draw(series: Series, file: Path) -> None:
    """Draw a plot over concurrency."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6.4, 3.6), layout="constrained")
    for name, points in series.lines.items():
        axes.plot(list(points), list(points.values()), marker="o", label=name)
    axes.set_xscale("log", base=2)
    ticks = sorted({concurrency for points in series.lines.values() for concurrency in points})
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
    axes.set_ylim(bottom=0)
    axes.set_xlabel("callers")
    axes.set_ylabel(series.unit)
    axes.set_title(series.title)
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(file, dpi=110)
    pyplot.close(figure)
