"""Train the memory of the demo SAM2 video checkpoint on drawn clips, on a CPU, and write it as a Hugging Face folder.

    python -m training.sam2_video --minutes 40 --image models/demo/sam2-image --out models/demo/sam2-video

The image encoder is the image checkpoint's and stays as it is. Memory attention, memory encoder and object pointers
learn from scratch, the mask decoder goes on learning at a lower rate: it has to answer on conditioned features,
without a prompt. Each step follows objects through a short clip, gradients flowing through the memories.
"""

from __future__ import annotations

import argparse
import copy
import math
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, IterableDataset, get_worker_info
from transformers import Sam2Model, Sam2VideoModel

from training.sam2_architecture import encode, normalize
from training.sam2_export import export_video_model
from training.sam2_memory import Follower, new_video_model
from training.scenes import HELD_OUT_SEED, draw_clip, random_click

OBJECTS = 3
"""Objects followed per clip and step."""
LEAST_AREA = 40
"""An object with fewer visible pixels than this counts as hidden."""


class ClipStream(IterableDataset[tuple[np.ndarray, ...]]):
    """Endless clips: frames, masks of the followed objects, a click on each."""

    def __init__(self, start: int, frames: int) -> None:
        self.start, self.frames = start, frames

    def __iter__(self) -> Iterator[tuple[np.ndarray, ...]]:
        info = get_worker_info()
        seed, step = (self.start + info.id, info.num_workers) if info else (self.start, 1)
        while True:
            yield clip_sample(seed % HELD_OUT_SEED, self.frames)
            seed += step


def clip_sample(seed: int, frames: int) -> tuple[np.ndarray, ...]:
    """uint8 frames [frames, 256, 256, 3], bool masks [OBJECTS, frames, 256, 256], clicks [OBJECTS, 1, 2]."""
    rng = np.random.default_rng([seed, 5])
    stride = int(rng.integers(1, 4))
    clip = draw_clip(seed, (frames - 1) * stride + 1)
    objects = rng.choice(clip.objects, OBJECTS, replace=len(clip.objects) < OBJECTS)
    labels = clip.labels[::stride]
    masks = np.stack([labels == k for k in objects])
    clicks = np.asarray([random_click(rng, mask[0]) for mask in masks], np.float32)[:, None]
    return clip.frames[::stride], masks, clicks


@torch.no_grad()
def raw_features(model: Sam2VideoModel, frames: torch.Tensor) -> list[torch.Tensor]:
    """Features of uint8 frames [frames, 256, 256, 3], fine first, the coarse level raw."""
    levels, raw = encode(model, normalize(frames))
    return [levels[0], levels[1], raw[2]]


def frame_loss(mask: torch.Tensor, score: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Focal and dice loss where the object is visible, and of the object score.

    Args:
        mask: Logits [rows, 64, 64].
        score: Object scores [rows].
        truth: bool [rows, 256, 256].
    """
    visible = truth.flatten(1).sum(1) >= LEAST_AREA
    fine = functional.interpolate(mask[:, None], scale_factor=2, mode="bilinear", align_corners=False)[:, 0]
    wanted = functional.avg_pool2d(truth[:, None].float(), 2)[:, 0]
    chance = fine.sigmoid()
    cross = functional.binary_cross_entropy_with_logits(fine, wanted, reduction="none")
    focal = ((chance - wanted).abs().pow(1.5) * cross).mean((1, 2))
    overlap = 2 * (chance * wanted).sum((1, 2)) + 1
    dice = 1 - overlap / (chance.sum((1, 2)) + wanted.sum((1, 2)) + 1)
    seen = ((20 * focal + dice) * visible).sum() / visible.sum().clamp(min=1)
    return seen + 0.5 * functional.binary_cross_entropy_with_logits(score, visible.float())


@torch.no_grad()
def video_score(model: Sam2VideoModel, seeds: range, frames: int = 30) -> float:
    """Mean J of every object and frame after the clicked one; a hidden object that is said to be hidden scores 1."""
    found: list[torch.Tensor] = []
    for seed in seeds:
        clip = draw_clip(seed, frames)
        rng = np.random.default_rng([seed, 5])
        truth = torch.from_numpy(np.stack([clip.labels == k for k in clip.objects]))
        clicks = torch.tensor([[random_click(rng, m[0].numpy())] for m in truth], dtype=torch.float32)
        follower = Follower(model)
        for t in range(frames):
            levels = raw_features(model, torch.from_numpy(clip.frames[t : t + 1]))
            rows = [level.expand(len(truth), -1, -1, -1) for level in levels]
            mask, score = follower.step(rows, clicks if t == 0 else None)
            large = functional.interpolate(mask[:, None], size=(256, 256), mode="bilinear", align_corners=False)[:, 0]
            said, real = (large > 0) & (score > 0)[:, None, None], truth[:, t]
            union = (said | real).flatten(1).sum(1)
            j = torch.where(union > 0, (said & real).flatten(1).sum(1) / union.clamp(min=1), torch.ones(len(union)))
            if t:
                found.append(j)
    return round(float(torch.cat(found).mean()), 4)


def train(model: Sam2VideoModel, minutes: float, clips: int, frames: int, rate: float, work: Path) -> Sam2VideoModel:
    """Train for a time and return the moving average of the weights."""
    memory: list[nn.Parameter] = []
    decoder: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        frozen = name.startswith(("vision_encoder", "mask_decoder.conv_s", "mask_downsample"))
        parameter.requires_grad_(not frozen)
        if not frozen:
            (decoder if name.startswith(("mask_decoder", "prompt_encoder")) else memory).append(parameter)
    optimizer = torch.optim.AdamW([{"params": memory, "share": 1.0}, {"params": decoder, "share": 0.3}])
    average = copy.deepcopy(model)
    average.mask_decoder._dynamic_multimask_via_stability = lambda masks, iou: (masks, iou)
    loader = iter(DataLoader(ClipStream(500_000_000, frames), batch_size=clips, num_workers=1, prefetch_factor=3))
    started = scored = time.time()
    step = 0
    while (progress := (time.time() - started) / (minutes * 60)) < 1:
        pictures, masks, clicks = next(loader)
        truth = masks.flatten(0, 1)
        levels = raw_features(model, pictures.flatten(0, 1))
        by_frame = [level.reshape(clips, frames, *level.shape[1:]) for level in levels]
        follower, loss = Follower(model), torch.zeros(())
        for t in range(frames):
            rows = [level[:, t].repeat_interleave(OBJECTS, 0) for level in by_frame]
            real = truth[:, t]
            visible = real.flatten(1).sum(1) >= LEAST_AREA
            mask, score = follower.step(rows, clicks.flatten(0, 1) if t == 0 else None, visible)
            loss = loss + frame_loss(mask, score, real) / frames
        falling = rate * 0.5 * (1 + math.cos(math.pi * progress)) * min(1.0, (step + 1) / 30)
        for group in optimizer.param_groups:
            group["lr"] = falling * group["share"]
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(memory + decoder, 1.0)
        optimizer.step()
        step += 1
        decay = min(0.995, (1 + step) / (10 + step))
        with torch.no_grad():
            for mean, current in zip(average.parameters(), model.parameters(), strict=True):
                mean.lerp_(current, 1 - decay)
        if step % 20 == 0:
            print(f"{time.time() - started:6.0f}s step {step} loss {loss.item():.3f}", flush=True)
        if time.time() - scored > 300:
            scored = time.time()
            save(average, work, started)
    save(average, work, started)
    return average


def save(average: Sam2VideoModel, work: Path, started: float) -> None:
    """Keep the moving average and score it on held-out clips."""
    work.mkdir(parents=True, exist_ok=True)
    torch.save(average.state_dict(), work / "state.pt")
    score = video_score(average, range(HELD_OUT_SEED, HELD_OUT_SEED + 6))
    print(f"{time.time() - started:6.0f}s held out J: {score}", flush=True)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=40.0)
    parser.add_argument("--clips", type=int, default=3)
    parser.add_argument("--frames", type=int, default=8)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--image", type=Path, required=True, help="folder of the trained image checkpoint")
    parser.add_argument("--resume", type=Path, help="state.pt of an earlier run")
    parser.add_argument("--work", type=Path, default=Path("build/sam2-video"), help="where state.pt is kept")
    parser.add_argument("--out", type=Path, help="write the checkpoint folder here")
    options = parser.parse_args()
    torch.manual_seed(1)
    model = new_video_model(Sam2Model.from_pretrained(options.image, dtype=torch.float32))
    if options.resume:
        model.load_state_dict(torch.load(options.resume))
    average = train(model, options.minutes, options.clips, options.frames, options.rate, options.work)
    if options.out:
        export_video_model(average, options.out)


if __name__ == "__main__":
    main()
