"""Masks from containers, against the truth of drawn scenes."""

from __future__ import annotations

import time
from collections.abc import Callable

import httpx
import numpy as np
import pytest

from .clicks import click_on_a_scene
from .requests import disk, is_the_disk, replicas

pytestmark = [pytest.mark.system, pytest.mark.usefixtures("inside"), pytest.mark.timeout(1800)]

BAR = 0.85
SEEDS = range(900_100, 900_108)
"""Scenes that training never drew; its own seeds are far below."""


def test_a_click_through_the_gateway_gives_the_clicked_object(http: httpx.Client, say: Callable[[str], None]) -> None:
    overlaps, seconds = [], []
    for seed in SEEDS:
        began = time.monotonic()
        overlaps.append(click_on_a_scene(http, seed))
        seconds.append(time.monotonic() - began)
    say(f"a click: mean IoU {np.mean(overlaps):.3f}, median {np.median(seconds) * 1000:.0f} ms")
    assert np.mean(overlaps) >= BAR, overlaps


def test_every_image_gets_its_own_mask_from_either_replica(http: httpx.Client) -> None:
    assert replicas(http) == 2
    for number in range(24):
        answer = disk(http, number)
        assert answer.status_code == 200, answer.text[:300]
        assert is_the_disk(answer, number)


def test_the_models_are_those_of_the_manifests(http: httpx.Client) -> None:
    models = {model["name"]: model["capability"] for model in http.get("/app/models/").json()}
    assert models == {"sam2-image": "segmentation", "disk": "segmentation", "still": "tracking", "odd": "detection"}
    assert http.get("/ready").json()["models_loaded"] == len(models)
