"""How good a SAM2 image model is on drawn scenes: mean IoU of one click, of a box, of a click refined."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
import torch.nn.functional as functional
from transformers import Sam2Model

from training.sam2_architecture import decode, encode, normalize
from training.scenes import draw_scene, mask_box, random_click


def _iou(logits: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """IoU of upsampled logits [rows, masks, 64, 64] with bool [rows, 256, 256]: [rows, masks]."""
    masks = functional.interpolate(logits, size=truth.shape[-2:], mode="bilinear", align_corners=False) > 0
    both = (masks & truth[:, None]).sum((2, 3))
    return both / (masks | truth[:, None]).sum((2, 3)).clamp(min=1)


def refining_click(mask: np.ndarray, truth: np.ndarray, rng: np.random.Generator) -> tuple[tuple[int, int], int]:
    """The next click of a careful annotator: inside the larger of what is missing and what is too much.

    Returns:
        The pixel (x, y) and its label, 1 or 0.
    """
    missing, spilt = truth & ~mask, mask & ~truth
    if missing.sum() > spilt.sum():
        return random_click(rng, missing, 2), 1
    if spilt.any():
        return random_click(rng, spilt, 2), 0
    return random_click(rng, truth), 1


@torch.no_grad()
def image_scores(model: Sam2Model, seeds: Iterable[int]) -> dict[str, float]:
    """Mean IoU over every object of the scenes (an opened model, see `open_decoder`).

    Returns:
        `click`: one positive click, best of three. `chosen`: the one of the three that the model scores highest.
        `single`: the single mask. `box`: best of three for the box. `refined`: that click's best mask, a second click
        on its error and the mask's logits, single mask.
    """
    found: dict[str, list[torch.Tensor]] = {k: [] for k in ("click", "chosen", "single", "box", "refined")}
    for seed in seeds:
        scene = draw_scene(seed)
        rng = np.random.default_rng([seed, 3])
        truth = torch.from_numpy(np.stack([scene.mask(k) for k in scene.objects]))
        count = len(truth)
        features, _ = encode(model, normalize(torch.from_numpy(scene.image)[None]))
        rows = [level.repeat_interleave(count, 0) for level in features]
        clicks = torch.tensor([[random_click(rng, t.numpy())] for t in truth], dtype=torch.float32)
        ones = torch.ones(count, 1, dtype=torch.int32)
        logits, said, _ = decode(model, rows, clicks, ones)
        iou = _iou(logits, truth)
        found["single"].append(iou[:, 0])
        found["click"].append(iou[:, 1:].amax(1))
        found["chosen"].append(iou[:, 1:].gather(1, said[:, 1:].argmax(1, keepdim=True))[:, 0])
        boxes = torch.tensor([mask_box(t.numpy()) for t in truth], dtype=torch.float32).view(count, 2, 2)
        corners = torch.tensor([[2, 3]], dtype=torch.int32).expand(count, -1)
        found["box"].append(_iou(decode(model, rows, boxes, corners)[0], truth)[:, 1:].amax(1))
        earlier = logits[torch.arange(count), iou[:, 1:].argmax(1) + 1][:, None]
        masks = functional.interpolate(earlier, size=truth.shape[-2:], mode="bilinear", align_corners=False)[:, 0] > 0
        second = [refining_click(m.numpy(), t.numpy(), rng) for m, t in zip(masks, truth, strict=True)]
        points = torch.cat([clicks, torch.tensor([[p] for p, _ in second], dtype=torch.float32)], 1)
        signs = torch.cat([ones, torch.tensor([[s] for _, s in second], dtype=torch.int32)], 1)
        found["refined"].append(_iou(decode(model, rows, points, signs, earlier)[0], truth)[:, 0])
    return {name: round(float(torch.cat(values).mean()), 4) for name, values in found.items()}
