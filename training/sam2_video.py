"""Train the memory of the demo SAM2 video checkpoint on drawn clips, on a CPU, and write it as a Hugging Face folder.

    python -m training.sam2_video --minutes 40 --image models/demo/sam2-image --out models/demo/sam2-video

The image encoder is the image checkpoint's and stays as it is, so a set of clips is encoded once and used over and
over. Memory attention and memory encoder learn from scratch, the mask decoder goes on learning at a lower rate: it has
to answer on conditioned features, without a prompt.

First with a teacher: the memories are made from the true masks of the frames before, one frame is asked for, and the
conditioned features are drawn to the frame's features with the true mask as a mask prompt; the decoder first learns to
read those alone, then what the memory made of them. Then without: each step follows objects through a clip on the
model's own masks, gradients flowing through.
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
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, IterableDataset, get_worker_info
from transformers import Sam2Model, Sam2VideoModel

from training.sam2_architecture import HIDDEN, encode, normalize, open_decoder
from training.sam2_export import export_video_model
from training.sam2_memory import MEMORY, Follower, answer, new_video_model, pass_through, remember
from training.scenes import HELD_OUT_SEED, draw_clip, random_click

OBJECTS = 3
"""Objects followed per clip and step."""
SIGNAL = 3.0
"""How loud the teacher's mask prompt is, beside the mask prompts that the decoder knows."""
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


@dataclass
class Clips:
    """Encoded clips: features [clips, frames, ...] of each level, masks [clips, OBJECTS, frames, 256, 256], clicks."""

    levels: list[torch.Tensor]
    masks: torch.Tensor
    clicks: torch.Tensor

    @classmethod
    def draw(cls, model: Sam2VideoModel, count: int, frames: int) -> Clips:
        """Draw and encode clips."""
        loader = iter(DataLoader(ClipStream(500_000_000, frames), batch_size=2, num_workers=1, prefetch_factor=4))
        levels: list[list[torch.Tensor]] = []
        masks, clicks = [], []
        for _ in range(count // 2):
            pictures, truth, places = next(loader)
            found = raw_features(model, pictures.flatten(0, 1))
            levels.append([level.reshape(2, frames, *level.shape[1:]) for level in found])
            masks.append(truth)
            clicks.append(places)
        return cls([torch.cat(level) for level in zip(*levels, strict=True)], torch.cat(masks), torch.cat(clicks))

    def pick(self, count: int) -> tuple[list[torch.Tensor], torch.Tensor, torch.Tensor]:
        """A batch with one row per object: levels and masks [rows, frames, ...], clicks [rows, 1, 2]."""
        chosen = torch.randperm(len(self.masks))[:count]
        rows = chosen.repeat_interleave(OBJECTS)
        return [lv[rows] for lv in self.levels], self.masks[chosen].flatten(0, 1), self.clicks[chosen].flatten(0, 1)


def taught_loss(model: Sam2VideoModel, levels: list[torch.Tensor], masks: torch.Tensor, reading: bool) -> torch.Tensor:
    """Loss on one frame, remembered by true masks of the frames before (a little off, as the model's own will be).

    While `reading`, the decoder is shown the features that the memory is to make, not those it makes.
    """
    rows, at = len(masks), int(torch.randint(1, masks.shape[1], ()))
    recent = list(range(max(1, at - model.num_maskmem + 1), at))
    frames = [0, *recent]
    truth = masks[:, frames].float()
    seen = (truth.flatten(2).sum(2) >= LEAST_AREA).float()
    shifts = [(0, 0)] + [tuple(torch.randint(-3, 4, (2,)).tolist()) for _ in recent]
    truth = torch.stack([truth[:, i].roll(shifts[i], (1, 2)) for i in range(len(frames))], 1) * seen[..., None, None]
    soft = functional.avg_pool2d(truth.flatten(0, 1)[:, None], 5, 1, 2)
    first = torch.zeros(rows, len(frames), dtype=torch.bool)
    first[:, 0] = True
    chance = torch.where(first.flatten()[:, None, None, None], truth.flatten(0, 1)[:, None], soft)
    encoded, places = model.memory_encoder(levels[2][:, frames].flatten(0, 1), chance * 20.0 - 10.0)
    hidden = (1 - seen).flatten()[:, None, None, None] * model.occlusion_spatial_embedding_parameter[..., None, None]
    # [rows * frames, 64, g, g] to [frames * cells, rows, 64]
    features = (encoded + hidden).unflatten(0, (rows, len(frames))).flatten(3).permute(1, 3, 0, 2).flatten(0, 1)
    offsets = torch.tensor([at - frame if frame else 0 for frame in frames])
    place = places[:1].flatten(2).permute(2, 0, 1)
    positions = torch.cat([place + model.memory_temporal_positional_encoding[o - 1] for o in offsets.tolist()])
    silent = torch.zeros(at * (HIDDEN // MEMORY), rows, MEMORY)
    positions = torch.cat([positions.expand(-1, rows, -1), silent])
    coarse, real = levels[2][:, at], masks[:, at]
    conditioned = remember(model, coarse, features, positions, silent)
    with torch.no_grad():
        logits = functional.avg_pool2d(real[:, None].float(), 4) * 16 - 8
        prompt = model.prompt_encoder.mask_embed(logits)
        none = model.prompt_encoder.no_mask_embed.weight.view(1, -1, 1, 1)
        # the features as the memory attention lets them through when it adds nothing, and what it is to add
        through = model.memory_attention.layer_norm(coarse.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        signal = SIGNAL * (prompt - none)
        wanted = through + signal
    drawn: torch.Tensor = (conditioned - wanted).pow(2).mean() / signal.pow(2).mean()
    mask, score, _ = answer(model, [levels[0][:, at], levels[1][:, at], wanted if reading else conditioned], None)
    return frame_loss(mask, score, real) + drawn


def followed_loss(
    model: Sam2VideoModel, levels: list[torch.Tensor], masks: torch.Tensor, clicks: torch.Tensor
) -> torch.Tensor:
    """Loss over a clip that is followed on the model's own masks."""
    follower, loss, frames = Follower(model), torch.zeros(()), masks.shape[1]
    for t in range(frames):
        real = masks[:, t]
        visible = real.flatten(1).sum(1) >= LEAST_AREA
        mask, score = follower.step([level[:, t] for level in levels], clicks if t == 0 else None, visible)
        loss = loss + frame_loss(mask, score, real) / frames
    return loss


FROZEN = (
    "vision_encoder",
    "mask_decoder.conv_s",
    "mask_downsample",
    "object_pointer_proj",
    "temporal_positional_encoding_projection_layer",
    "no_object_pointer",
    "no_memory_embedding",
    "memory_attention.layer_norm",
    "prompt_encoder.mask_embed",
)


def train(
    model: Sam2VideoModel, minutes: float, taught: float, clips: Clips, batch: int, rate: float, work: Path
) -> Sam2VideoModel:
    """Train for a time, the share `taught` of it with a teacher, and return the moving average of the weights."""
    memory: list[nn.Parameter] = []
    decoder: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(not name.startswith(FROZEN))
        if parameter.requires_grad:
            (decoder if name.startswith(("mask_decoder", "prompt_encoder")) else memory).append(parameter)
    optimizer = torch.optim.AdamW([{"params": memory, "share": 1.0}, {"params": decoder, "share": 0.4}])
    average = copy.deepcopy(model)
    open_decoder(average)
    started = scored = time.time()
    step = 0
    while (progress := (time.time() - started) / (minutes * 60)) < 1:
        if progress < taught:
            levels, masks, _ = clips.pick(batch)
            loss = taught_loss(model, levels, masks, reading=progress < 0.12 * taught)
        else:
            levels, masks, clicks = clips.pick(max(1, batch // 2))
            loss = followed_loss(model, levels, masks, clicks)
        falling = rate * 0.5 * (1 + math.cos(math.pi * progress)) * min(1.0, (step + 1) / 30)
        for group in optimizer.param_groups:
            group["lr"] = falling * group["share"]
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(memory + decoder, 1.0)
        optimizer.step()
        step += 1
        decay = min(0.99, (1 + step) / (10 + step))
        with torch.no_grad():
            for mean, current in zip(average.parameters(), model.parameters(), strict=True):
                mean.lerp_(current, 1 - decay)
        if step % 20 == 0:
            print(f"{time.time() - started:6.0f}s step {step} loss {loss.item():.3f}", flush=True)
        if time.time() - scored > 240:
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
    parser.add_argument("--taught", type=float, default=0.6, help="share of the time with a teacher")
    parser.add_argument("--clips", type=int, default=200, help="clips that are drawn and encoded once")
    parser.add_argument("--frames", type=int, default=7, help="frames of a clip")
    parser.add_argument("--batch", type=int, default=6, help="clips per step")
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
    clips = Clips.draw(model, options.clips, options.frames)
    if not options.resume:
        pass_through(model, clips.levels[2].flatten(0, 1)[:64])
    print(f"encoded {options.clips} clips", flush=True)
    average = train(model, options.minutes, options.taught, clips, options.batch, options.rate, options.work)
    if options.out:
        export_video_model(average, options.out)


if __name__ == "__main__":
    main()
