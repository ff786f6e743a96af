"""Train the demo SAM2 image checkpoint on drawn scenes, on a CPU, and write it as a Hugging Face folder.

    python -m training.sam2_image --minutes 60 --out models/demo/sam2-image

Three phases share the time. First the image encoder alone learns to say, at every pixel of a shape, where the shape's
box is and what colour it has (dense targets teach it far faster than a few prompts do). Then the mask decoder alone
learns to answer prompts on those features, starting from attentions that look where positions agree. Then both train
together. The learning rate falls to zero at the end of the time; what is written is a moving average of the weights.
"""

from __future__ import annotations

import argparse
import copy
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as functional
from torch import nn
from torch.utils.data import DataLoader, IterableDataset, get_worker_info
from transformers import Sam2Model

from training.sam2_architecture import decode, encode, new_model, normalize, open_decoder, scale_features
from training.sam2_export import export_image_model
from training.sam2_scores import image_scores
from training.scenes import HELD_OUT_SEED, draw_scene, mask_box, random_click

CLICKS, BOXES = 4, 2
"""Prompts of each kind per image and step."""
HEAD = 8
"""Dense targets per pixel: is it a shape, the shape's box (4), the shape's mean colour (3)."""


@dataclass
class Batch:
    """What one step learns from; leading dimension: images. Coordinates are x, y in pixels of the 256 pixel input."""

    images: torch.Tensor
    labels: torch.Tensor
    dense: torch.Tensor
    clicks: torch.Tensor
    click_objects: torch.Tensor
    boxes: torch.Tensor
    box_objects: torch.Tensor


class SceneStream(IterableDataset[tuple[np.ndarray, ...]]):
    """Endless scenes with their prompts and dense targets; every worker draws seeds of its own."""

    def __init__(self, start: int) -> None:
        self.start = start

    def __iter__(self) -> Iterator[tuple[np.ndarray, ...]]:
        info = get_worker_info()
        seed, step = (self.start + info.id, info.num_workers) if info else (self.start, 1)
        while True:
            yield scene_sample(seed % HELD_OUT_SEED)
            seed += step


def scene_sample(seed: int) -> tuple[np.ndarray, ...]:
    """One scene as the arrays of `Batch`, without the batch dimension."""
    scene = draw_scene(seed)
    rng = np.random.default_rng([seed, 7])
    size = scene.labels.shape[0]
    table = np.zeros((int(scene.labels.max()) + 1, HEAD), np.float32)
    for label in range(1, len(table)):
        mask = scene.mask(label)
        if mask.any():
            box = np.asarray(mask_box(mask), np.float32) / size
            table[label] = [1, *box, *(scene.image[mask].mean(0) / 255)]
    click_objects = rng.choice(scene.objects, CLICKS, replace=len(scene.objects) < CLICKS)
    box_objects = rng.choice(scene.objects, BOXES, replace=len(scene.objects) < BOXES)
    clicks = [random_click(rng, scene.mask(k), int(rng.choice([1, 3, 5]))) for k in click_objects]
    boxes = []
    for k in box_objects:
        x1, y1, x2, y2 = mask_box(scene.mask(k))
        jitter = rng.normal(0, 0.025, 4) * (x2 - x1, y2 - y1, x2 - x1, y2 - y1)
        boxes.append(np.clip(np.array([x1, y1, x2, y2]) + jitter, 0, size - 1).reshape(2, 2))
    return (
        scene.image,
        scene.labels,
        table[scene.labels[2::4, 2::4]],
        np.asarray(clicks, np.float32)[:, None],
        click_objects,
        np.asarray(boxes, np.float32),
        box_objects,
    )


def dense_loss(heads: nn.ModuleList, levels: list[torch.Tensor], dense: torch.Tensor) -> torch.Tensor:
    """How well a linear reading of each feature level knows which shape each pixel belongs to."""
    total = torch.zeros(())
    for head, level in zip(heads, levels, strict=True):
        step = 64 // level.shape[-1]
        target = dense[:, step // 2 :: step, step // 2 :: step]
        said = head(level).permute(0, 2, 3, 1)
        inside = target[..., 0]
        apart = functional.smooth_l1_loss(said[..., 1:], target[..., 1:], reduction="none", beta=0.05).sum(-1)
        total = total + functional.binary_cross_entropy_with_logits(said[..., 0], inside)
        total = total + 4 * (apart * inside).sum() / inside.sum().clamp(min=1)
    return total


def mask_loss(
    logits: torch.Tensor, iou: torch.Tensor, truth: torch.Tensor, single: float = 0.5
) -> tuple[torch.Tensor, torch.Tensor]:
    """Focal and dice loss of the single mask and of the best of three, and of the IoU predicted for all four.

    Args:
        logits: [rows, 4, 64, 64].
        iou: predicted IoU, [rows, 4].
        truth: bool [rows, 256, 256].
        single: Weight of the single mask beside the best of three.

    Returns:
        The loss and the index (1 to 3) of each row's best candidate.
    """
    rows = torch.arange(len(logits))
    target = truth[:, None].float()
    coarse = functional.avg_pool2d(target, 4)
    with torch.no_grad():
        hard, on = (logits > 0).float(), (coarse > 0.5).float()
        overlap = (hard * on).sum((2, 3))
        true_iou = overlap / (hard.sum((2, 3)) + on.sum((2, 3)) - overlap).clamp(min=1)
        soft = logits.sigmoid()
        dice = 2 * (soft * coarse).sum((2, 3)) / (soft.sum((2, 3)) + coarse.sum((2, 3)))
        best = dice[:, 1:].argmax(1) + 1
    chosen = torch.stack([logits[:, 0], logits[rows, best]], 1)
    fine = functional.interpolate(chosen, scale_factor=2, mode="bilinear", align_corners=False)
    wanted = functional.avg_pool2d(target, 2).expand_as(fine)
    chance = fine.sigmoid()
    cross = functional.binary_cross_entropy_with_logits(fine, wanted, reduction="none")
    focal = ((chance - wanted).abs().pow(1.5) * cross).mean((2, 3))
    overlap = 2 * (chance * wanted).sum((2, 3)) + 1
    dice_loss = 1 - overlap / (chance.sum((2, 3)) + wanted.sum((2, 3)) + 1)
    weight = torch.tensor([single, 1.0])
    loss = ((20 * focal + dice_loss) * weight).sum(1).mean() + (iou - true_iou).pow(2).sum(1).mean()
    return loss, best


def correction(logits: torch.Tensor, truth: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """One click per row on the error of a mask: positive where it misses, negative where it spills.

    Args:
        logits: [rows, 64, 64].
        truth: bool [rows, 256, 256].

    Returns:
        Points [rows, 1, 2] and labels [rows, 1]. A faultless mask gets a click inside the object.
    """
    on = truth[:, 2::4, 2::4]
    wrong = (logits > 0) != on
    wrong = torch.where(wrong.flatten(1).any(1)[:, None, None], wrong, on)
    pick = (wrong * (0.1 + torch.rand(wrong.shape))).flatten(1).argmax(1)
    points = torch.stack([pick % 64, pick // 64], -1).float() * 4 + 2
    return points[:, None], on.flatten(1).gather(1, pick[:, None]).int()


class Trainer:
    """The model, its moving average, the optimiser and the three phases."""

    def __init__(self, minutes: float, batch: int, resume: Path | None, seed: int) -> None:
        torch.manual_seed(seed)
        self.model: Sam2Model = new_model(seed)
        self.heads = nn.ModuleList(nn.Conv2d(channels, HEAD, 1) for channels in (16, 32, 128))
        open_decoder(self.model)
        self.seconds, self.started, self.batch = minutes * 60, time.time(), batch
        stream = SceneStream(seed * 10_000_000)
        self.loader = iter(DataLoader(stream, batch_size=batch, num_workers=1, prefetch_factor=4))
        if resume:
            state = torch.load(resume)
            self.model.load_state_dict(state["model"])
            self.heads.load_state_dict(state["heads"])
        else:
            scale_features(self.model, normalize(self.next_batch().images))
        self.average = copy.deepcopy(self.model)
        open_decoder(self.average)
        self.steps = 0

    @property
    def progress(self) -> float:
        """Share of the time that is used up, 0 to 1."""
        return (time.time() - self.started) / self.seconds

    def next_batch(self) -> Batch:
        """The next drawn batch."""
        images, labels, dense, clicks, click_objects, boxes, box_objects = next(self.loader)
        return Batch(images, labels, dense, clicks, click_objects, boxes, box_objects)

    def prompts_loss(self, features: list[torch.Tensor], batch: Batch, refine: bool, toy: bool = False) -> torch.Tensor:
        """Loss over the clicks and the boxes of a batch, and of a correction of each when `refine`."""
        total = torch.zeros(())
        for points, objects, corner in (
            (batch.clicks, batch.click_objects, False),
            (batch.boxes, batch.box_objects, True),
        ):
            count = objects.shape[1]
            rows = [level.repeat_interleave(count, 0) for level in features]
            truth = batch.labels.repeat_interleave(count, 0) == objects.flatten()[:, None, None]
            place = points.flatten(0, 1)
            if toy:
                truth = toy_targets(place, corner)
            kind = torch.tensor([[2, 3]] if corner else [[1]], dtype=torch.int32).expand(len(place), -1)
            logits, iou, score = decode(self.model, rows, place, kind)
            loss, best = mask_loss(logits, iou, truth)
            total = total + loss - 0.05 * functional.logsigmoid(score).mean()
            if refine:
                index = torch.where(torch.rand(len(best)) < 0.5, best, torch.zeros_like(best))
                earlier = logits.detach()[torch.arange(len(best)), index]
                extra, sign = correction(earlier, truth)
                place, kind = torch.cat([extra, place], 1), torch.cat([sign, kind], 1)
                logits, iou, _ = decode(self.model, rows, place, kind, earlier[:, None])
                # a mask that is being refined is asked for as the single one
                total = total + mask_loss(logits, iou, truth, single=1.0)[0]
        return total

    def step(self, optimizer: torch.optim.Optimizer, loss: torch.Tensor, rate: float) -> None:
        """One update at learning rate `rate`, and of the moving average."""
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_([p for group in optimizer.param_groups for p in group["params"]], 1.0)
        optimizer.step()
        self.steps += 1
        decay = min(0.997, (1 + self.steps) / (10 + self.steps))
        with torch.no_grad():
            for mean, now in zip(self.average.parameters(), self.model.parameters(), strict=True):
                mean.lerp_(now, 1 - decay)

    def train_encoder(self, until: float, rate: float) -> None:
        """First phase: the encoder learns the dense targets."""
        kept = [p for n, p in self.model.named_parameters() if n.startswith(("vision_encoder", "mask_decoder.conv_s"))]
        optimizer = torch.optim.AdamW([*kept, *self.heads.parameters()], weight_decay=0.01)
        first = self.steps
        while self.progress < until:
            batch = self.next_batch()
            levels, _ = encode(self.model, normalize(batch.images))
            loss = dense_loss(self.heads, levels, batch.dense)
            self.step(optimizer, loss, rate * min(1.0, (self.steps - first + 1) / 30))
            self.log(20, f"encoder {loss.item():.3f}")

    def train_decoder(self, until: float, toy: float, rate: float) -> None:
        """Second phase: the decoder learns to answer; up to `toy` of the time with targets that need no image."""
        batches = [self.next_batch() for _ in range(16)]
        with torch.no_grad():
            features = [encode(self.model, normalize(batch.images))[0] for batch in batches]
        kept = [p for n, p in self.model.named_parameters() if n.startswith(("prompt_encoder", "mask_decoder"))]
        optimizer = torch.optim.AdamW(kept, weight_decay=0.01)
        first = self.steps
        while self.progress < until:
            pick = self.steps % len(batches)
            toys = self.progress < toy
            loss = self.prompts_loss(features[pick], batches[pick], refine=False, toy=toys)
            self.step(optimizer, loss, rate * min(1.0, (self.steps - first + 1) / 30))
            self.log(20, f"decoder{' toy' if toys else ''} {loss.item():.3f}")

    def train_all(self, rate: float, folder: Path, refine_from: float, every: int) -> None:
        """Third phase: everything on real masks, the rate falling to zero as a cosine.

        After the share `refine_from` of the phase, one step in `every` also learns from corrections.
        """
        optimizer = torch.optim.AdamW([*self.model.parameters(), *self.heads.parameters()], weight_decay=0.01)
        first, start, scored = self.steps, self.progress, time.time()
        while self.progress < 1:
            batch = self.next_batch()
            levels, _ = encode(self.model, normalize(batch.images))
            part = (self.progress - start) / (1 - start)
            loss = self.prompts_loss(levels, batch, refine=part >= refine_from and self.steps % every == 0)
            loss = loss + 0.3 * (1 - part) * dense_loss(self.heads, levels, batch.dense)
            falling = 0.5 * (1 + math.cos(math.pi * min(part, 1.0)))
            self.step(optimizer, loss, rate * falling * min(1.0, (self.steps - first + 1) / 30))
            self.log(20, f"all {loss.item():.3f}")
            if time.time() - scored > 240:
                self.save(folder)
                scored = time.time()
        self.save(folder)

    def log(self, every: int, text: str) -> None:
        """Print a line every so many steps."""
        if self.steps % every == 0:
            print(f"{time.time() - self.started:6.0f}s step {self.steps} {text}", flush=True)

    def save(self, folder: Path) -> None:
        """Score the moving average on held-out scenes and keep it."""
        folder.mkdir(parents=True, exist_ok=True)
        torch.save({"model": self.average.state_dict(), "heads": self.heads.state_dict()}, folder / "state.pt")
        scores = image_scores(self.average, range(HELD_OUT_SEED, HELD_OUT_SEED + 32))
        print(f"{time.time() - self.started:6.0f}s step {self.steps} held out: {scores}", flush=True)


def toy_targets(points: torch.Tensor, corner: bool) -> torch.Tensor:
    """Masks that depend on the prompt alone: the box itself, or a disk around the click, bool [rows, 256, 256]."""
    at = torch.arange(256.0)
    if corner:
        x1, y1, x2, y2 = (points.flatten(1)[:, i, None, None] for i in range(4))
        return (at >= x1) & (at <= x2) & (at[:, None] >= y1) & (at[:, None] <= y2)
    x, y = points[:, 0, 0, None, None], points[:, 0, 1, None, None]
    return (at - x) ** 2 + (at[:, None] - y) ** 2 < 28**2


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--resume", type=Path, help="state.pt of an earlier run: the third phase again, with corrections"
    )
    parser.add_argument("--work", type=Path, default=Path("build/sam2-image"), help="where state.pt is kept")
    parser.add_argument("--out", type=Path, help="write the checkpoint folder here")
    options = parser.parse_args()
    trainer = Trainer(options.minutes, options.batch, options.resume, options.seed)
    if not options.resume:
        trainer.train_encoder(until=0.14, rate=2e-3)
        trainer.train_decoder(until=0.22, toy=0.17, rate=1e-3)
        trainer.train_all(options.rate, options.work, refine_from=0.15, every=2)
    else:
        trainer.train_all(options.rate, options.work, refine_from=0.0, every=1)
    if options.out:
        export_image_model(trainer.average, options.out)


if __name__ == "__main__":
    main()
