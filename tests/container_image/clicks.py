"""Clicks on drawn scenes, whose masks are known."""

from __future__ import annotations

import io

import httpx
import numpy as np
from PIL import Image

from pixano_inference.schemas import CompressedRLE
from training.scenes import draw_scene, random_click

from .requests import data_uri


def click_on_a_scene(http: httpx.Client, seed: int) -> float:
    """Click on an object of a scene and return the IoU of the best of the three masks with the truth.

    Args:
        http: A caller of the gateway.
        seed: Number of the scene; training drew none above 900 000.
    """
    rng = np.random.default_rng(seed)
    scene = draw_scene(seed)
    truth = scene.mask(int(rng.choice(scene.objects)))
    buffer = io.BytesIO()
    Image.fromarray(scene.image).save(buffer, "PNG")
    click = {"points": [[random_click(rng, truth)]], "labels": [[1]]}
    answer = http.post(
        "/inference/segmentation/", json={"model": "sam2-image", "image": data_uri(buffer.getvalue()), **click}
    )
    assert answer.status_code == 200, answer.text[:300]
    masks = [CompressedRLE(**mask).to_mask().astype(bool) for mask in answer.json()["data"]["masks"][0]]
    return max(float((mask & truth).sum() / (mask | truth).sum()) for mask in masks)
