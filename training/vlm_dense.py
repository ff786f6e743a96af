"""First phase of the demo VLM: its vision tower learns, patch by patch, what is drawn there."""

from __future__ import annotations

import random
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageDraw
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  # the name that everybody knows it by
from transformers import LlavaForConditionalGeneration

from training.vlm_model import GRID, PATCH, SIDE, WIDTH
from training.vlm_scenes import COLORS, SHAPES, DrawnShape, corners, draw_shapes, paint, render

DIRECTIONS = 16
MASK_CELLS = 36
SIZES = [1 + len(COLORS), 1 + len(SHAPES), 1, 2, MASK_CELLS, DIRECTIONS]
COLOR_WORDS, SHAPE_WORDS = list(COLORS), list(SHAPES)


def outline_reach(shape: DrawnShape) -> npt.NDArray[np.float32]:
    """Distance from centre to outline in `DIRECTIONS` directions, as fractions of the side."""
    if shape.shape == "circle":
        return np.full(DIRECTIONS, shape.radius * 0.88, np.float32)
    start = np.array(corners(shape, 1)) - (shape.x, shape.y)
    edge = np.roll(start, -1, 0) - start
    turn = np.arange(DIRECTIONS) / DIRECTIONS * 2 * np.pi
    ray = np.stack([np.cos(turn), np.sin(turn)], 1)[:, None]
    with np.errstate(all="ignore"):
        cross = ray[..., 0] * edge[:, 1] - ray[..., 1] * edge[:, 0]
        reach = (start[:, 0] * edge[:, 1] - start[:, 1] * edge[:, 0])[None] / cross
        along = (start[:, 0] * ray[..., 1] - start[:, 1] * ray[..., 0]) / cross
    met = (reach > 0) & (along >= -1e-6) & (along <= 1 + 1e-6)
    return np.where(met, reach, 0).max(1).astype(np.float32)


class LabelledScene:
    """One drawn scene: pixels, and per patch what is there."""

    def __init__(self, rng: random.Random) -> None:
        """Draw the scene."""
        self.shapes = draw_shapes(rng)
        self.pixels = np.asarray(render(self.shapes, rng, 2 * SIDE).reduce(2))
        index = Image.new("L", (SIDE, SIDE), 0)
        canvas = ImageDraw.Draw(index)
        for number, shape in enumerate(self.shapes):
            paint(canvas, shape, SIDE, number + 1)
        owner = np.asarray(index)
        cells = owner.reshape(GRID, PATCH, GRID, PATCH)
        cover = np.stack([(cells == i + 1).mean((1, 3)) for i in range(len(self.shapes))])
        label = np.where(cover.max(0) > 0.3, cover.argmax(0) + 1, 0)
        self.centre = np.zeros((GRID, GRID), np.float32)
        for number, shape in enumerate(self.shapes):
            at = min(GRID - 1, int(shape.y * GRID)), min(GRID - 1, int(shape.x * GRID))
            label[at], self.centre[at] = number + 1, 1
        self.color = np.array([0] + [1 + COLOR_WORDS.index(s.color) for s in self.shapes])[label]
        self.shape = np.array([0] + [1 + SHAPE_WORDS.index(s.shape) for s in self.shapes])[label]
        self.place = np.array([(0, 0)] + [(s.x, s.y) for s in self.shapes], np.float32)[label]
        fine = (owner > 0).astype(np.float32).reshape(GRID, 6, 2, GRID, 6, 2).mean((2, 5))
        self.mask = fine.transpose(0, 2, 1, 3).reshape(GRID, GRID, MASK_CELLS)
        self.reach = np.stack([np.zeros(DIRECTIONS, np.float32), *map(outline_reach, self.shapes)])[label]


def stack(scenes: list[LabelledScene]) -> dict[str, Tensor]:
    """Batch scenes: pixel values [n, 3, 96, 96] in [-1, 1], the rest [n, cells, ...]."""
    pixels = torch.from_numpy(np.stack([s.pixels for s in scenes])).permute(0, 3, 1, 2).float() / 127.5 - 1
    fields = ("color", "shape", "centre", "place", "mask", "reach")
    return {"pixels": pixels} | {
        f: torch.from_numpy(np.stack([getattr(s, f) for s in scenes])).flatten(1, 2) for f in fields
    }


class Trainer:
    """Muon for the matrices inside the layers, AdamW for the rest; both rates fall to nothing as the time runs out."""

    def __init__(self, layers: list[nn.Module], rest: list[nn.Module], muon: float, adam: float, seconds: float):
        """Start the clock."""
        inside = [p for m in layers for p in m.parameters()]
        matrices = [p for p in inside if p.ndim == 2]
        others = [p for p in inside if p.ndim != 2] + [p for m in rest for p in m.parameters()]
        self.parameters = list({id(p): p for p in matrices + others}.values())
        chosen = {id(p) for p in matrices}
        others = [p for p in self.parameters if id(p) not in chosen]
        self.optimizers: list[torch.optim.Optimizer] = [
            torch.optim.Muon(matrices, lr=muon, momentum=0.95, weight_decay=0.02),
            torch.optim.AdamW(others, lr=adam, betas=(0.9, 0.98), weight_decay=0.01),
        ]
        self.rates = [muon, adam]
        self.seconds, self.began, self.steps = seconds, time.time(), 0

    @property
    def done(self) -> float:
        """Share of the time that is over, 0 to 1."""
        return min(1.0, (time.time() - self.began) / self.seconds)

    def step(self, loss: Tensor) -> None:
        """One update of both optimizers."""
        # How many steps fit into the time depends on who else uses the machine: decay late, by the clock.
        decay = min(1.0, (1 - self.done) / 0.45)
        factor = min(1.0, (self.steps + 1) / 40) * max(0.01, decay)
        for optimizer, rate in zip(self.optimizers, self.rates, strict=True):
            optimizer.zero_grad()
            for group in optimizer.param_groups:
                group["lr"] = rate * factor
        loss.backward()
        nn.utils.clip_grad_norm_(self.parameters, 1.0)
        for optimizer in self.optimizers:
            optimizer.step()
        self.steps += 1


def features(model: LlavaForConditionalGeneration, pixels: Tensor) -> Tensor:
    """What the projector reads: [n, cells, width]."""
    with torch.autocast("cpu", dtype=torch.bfloat16):
        return model.model.vision_tower(pixels, output_hidden_states=True).hidden_states[-1]


def train_dense(model: LlavaForConditionalGeneration, seconds: float, checkpoint: Path) -> None:
    """Phase 1: the vision tower learns what covers each patch."""
    head = nn.Sequential(nn.LayerNorm(WIDTH), nn.Linear(WIDTH, sum(SIZES)))
    tower = model.model.vision_tower
    trainer = Trainer([tower.encoder], [tower.embeddings, head], 0.02, 1e-3, seconds)
    rng = random.Random("dense")
    check = stack([LabelledScene(random.Random(f"check {i}")) for i in range(256)])
    report = 0.0
    while trainer.done < 1:
        batch = stack([LabelledScene(rng) for _ in range(32)])
        color, shape, centre, place, mask, reach = head(features(model, batch["pixels"]).float()).split(SIZES, -1)
        inside = (batch["color"] > 0).float()
        weight = inside + 0.15 + 2 * batch["centre"]
        loss = (
            (F.cross_entropy(color.transpose(1, 2), batch["color"], reduction="none") * weight).mean()
            + (F.cross_entropy(shape.transpose(1, 2), batch["shape"], reduction="none") * weight).mean()
            + F.binary_cross_entropy_with_logits(centre[..., 0], batch["centre"], pos_weight=torch.tensor(2.0))
            + ((place - batch["place"]).abs().sum(-1) * inside).mean()
            + F.binary_cross_entropy_with_logits(mask, batch["mask"])
            + 3 * ((reach - 6 * batch["reach"]).abs().mean(-1) * inside).mean()
        )
        trainer.step(loss)
        if trainer.done >= report:
            report += 0.05
            with torch.no_grad():
                color, shape, centre, place, *_ = head(features(model, check["pixels"]).float()).split(SIZES, -1)
            at = check["centre"] > 0
            found = centre[..., 0] > 0
            print(
                f"dense {trainer.done:.2f} step {trainer.steps} loss {loss.item():.3f}"
                f" color {(color.argmax(-1) == check['color'])[at].float().mean():.3f}"
                f" shape {(shape.argmax(-1) == check['shape'])[at].float().mean():.3f}"
                f" centre F1 {2 * (found & at).sum() / (found.sum() + at.sum()):.3f}"
                f" place {(place - check['place']).abs().sum(-1)[at].mean():.3f}",
                flush=True,
            )
    torch.save(tower.state_dict(), checkpoint)
