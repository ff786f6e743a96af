"""The cases, in the order of the report."""

from __future__ import annotations

from benchmarks.results import Case

from . import arrays, idle, images, overload, sam2, sam2_video, small, streams

CASES: dict[str, Case] = {
    "idle": idle.run,
    "small": small.run,
    "images": images.run,
    "arrays": arrays.run,
    "overload": overload.run,
    "streams": streams.run,
    "sam2": sam2.run,
    "sam2-video": sam2_video.run,
}
