"""Train the demo detector: a small OWL-ViT that finds "red circle", "blue square", ... in drawn scenes.

Four choices make it train in minutes of one CPU core rather than days:

* Dense assignment instead of Hungarian matching: the patch that holds an object's centre answers for its class, every
  patch inside the object learns the object's box. All names are asked of every image, so absent ones are negatives.
* The first attention layers start as convolutions: every head begins by looking at one neighbour of each patch, which
  is what shape needs and what attention takes longest to find by itself (after Cordonnier et al., 2020,
  arXiv:1911.03584).
* The patch embedding starts as a whitening of the drawn patches. Left random, it hears little but each patch's mean
  colour, and shapes are told by their edges.
* An auxiliary linear layer names colour and shape at every covered patch; it is thrown away at the end.

Run from the repository root: `python -m training.detector --minutes 10 --out models/demo/grounding-shapes`.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional
from transformers import OwlViTForObjectDetection, OwlViTProcessor, PreTrainedTokenizerFast

from training.detector_evaluation import evaluate
from training.detector_model import GRID, IMAGE_SIZE, WIDTH, make_model, make_processor, whiten_patches
from training.named_shapes import COLOURS, SEEN_PAIRS, SHAPES, Scene, draw_scene

COLOUR_NAMES = tuple(COLOURS)
# Half of the training scenes are fuller than those the detector is measured on: more to learn per encoded image.
MOST_OBJECTS = 8
TEMPLATES = ("{}", "{}", "a {}", "a photo of a {}", "the {}")


@dataclass(frozen=True)
class TrainingSet:
    """Drawn scenes at the model's size.

    Attributes:
        images: uint8 [n, 3, IMAGE_SIZE, IMAGE_SIZE].
        boxes: float32 [n, MOST_OBJECTS, 4], centre x, centre y, width, height as fractions of the image, 0 where
            there is no object.
        colours: int64 [n, MOST_OBJECTS], index into `COLOUR_NAMES`, -1 where there is no object.
        shapes: int64 [n, MOST_OBJECTS], index into `SHAPES`.
    """

    images: Tensor
    boxes: Tensor
    colours: Tensor
    shapes: Tensor


def draw_training_set(count: int, seed: int) -> TrainingSet:
    """Draw `count` scenes of the seen pairs; two in five cropped unevenly, since not all pictures are square."""
    rng = np.random.default_rng(seed)
    images = np.zeros((count, IMAGE_SIZE, IMAGE_SIZE, 3), np.uint8)
    boxes = np.zeros((count, MOST_OBJECTS, 4), np.float32)
    colours, shapes = np.full((count, MOST_OBJECTS), -1), np.full((count, MOST_OBJECTS), -1)
    for index in range(count):
        least, most = (1, 5) if index % 2 else (5, MOST_OBJECTS)
        scene = draw_scene(rng, pairs=SEEN_PAIRS, min_objects=least, max_objects=most)
        left, top, right, bottom = _crop(rng, scene) if rng.random() < 0.4 else (0, 0, *scene.image.shape[1::-1])
        picture = Image.fromarray(scene.image[top:bottom, left:right])
        images[index] = np.asarray(picture.resize((IMAGE_SIZE, IMAGE_SIZE), Image.Resampling.BICUBIC))
        for place, shape in enumerate(scene.objects):
            x1, y1, x2, y2 = shape.box
            w, h = right - left, bottom - top
            boxes[index, place] = ((x1 + x2) / 2 - left) / w, ((y1 + y2) / 2 - top) / h, (x2 - x1) / w, (y2 - y1) / h
            colours[index, place] = COLOUR_NAMES.index(shape.colour)
            shapes[index, place] = SHAPES.index(shape.shape)
    return TrainingSet(
        torch.from_numpy(images).permute(0, 3, 1, 2).contiguous(),
        torch.from_numpy(boxes),
        torch.from_numpy(colours),
        torch.from_numpy(shapes),
    )


def _crop(rng: np.random.Generator, scene: Scene) -> tuple[int, int, int, int]:
    """A crop (left, top, right, bottom) that keeps every object and at least 70 % of each side."""
    corners: npt.NDArray[np.float64] = np.array([shape.box for shape in scene.objects])
    side = scene.image.shape[0]
    slack = 0.15 * side
    spare = np.concatenate([corners[:, :2].min(axis=0), side - corners[:, 2:].max(axis=0)]) - 1
    left, top, right, bottom = (int(rng.uniform(0, max(1.0, min(slack, room)))) for room in spare)
    return left, top, side - right, side - bottom


@dataclass(frozen=True)
class Queries:
    """What is asked of every image of a step: token ids and mask [q, 16], and which colours and shapes each admits."""

    input_ids: Tensor
    attention_mask: Tensor
    admits: Tensor  # bool [q, colours + 1, shapes + 1]; the last colour and shape stand for "no object"


class Asker:
    """Makes the queries of a step: every seen pair, every shape, every colour, and words outside the vocabulary."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        self._tokenizer = tokenizer
        self._asked: list[tuple[str, int | None, int | None]] = [
            (f"{colour} {shape}", COLOUR_NAMES.index(colour), SHAPES.index(shape)) for colour, shape in SEEN_PAIRS
        ]
        self._asked += [(shape, None, index) for index, shape in enumerate(SHAPES)]
        self._asked += [(f"{colour} shape", index, None) for index, colour in enumerate(COLOUR_NAMES)]
        self._asked += [(f"{colour} object", index, None) for index, colour in enumerate(COLOUR_NAMES)]
        admits = torch.zeros(len(self._asked) + 2, len(COLOUR_NAMES) + 1, len(SHAPES) + 1, dtype=torch.bool)
        for row, (_, colour_index, shape_index) in enumerate(self._asked):
            some_colour = slice(0, -1) if colour_index is None else colour_index
            some_shape = slice(0, -1) if shape_index is None else shape_index
            admits[row, some_colour, some_shape] = True
        self._admits = admits

    def ask(self, rng: np.random.Generator) -> Queries:
        """One wording per query, chosen at random."""
        texts = [TEMPLATES[int(rng.integers(len(TEMPLATES)))].format(name) for name, _, _ in self._asked]
        texts += ["cat", "a photo of a dog"]
        encoded = self._tokenizer(texts, padding="max_length", return_tensors="pt")
        return Queries(encoded["input_ids"], encoded["attention_mask"], self._admits)


def detection_loss(
    model: OwlViTForObjectDetection, naming: nn.Linear, batch: TrainingSet, queries: Queries, naming_weight: float
) -> tuple[Tensor, dict[str, float]]:
    """Dense loss of one step.

    Args:
        model: The detector.
        naming: Auxiliary layer from patch features to colours then shapes.
        batch: Scenes with normalised float images [b, 3, IMAGE_SIZE, IMAGE_SIZE].
        queries: What is asked.
        naming_weight: Weight of the auxiliary loss.

    Returns:
        The scalar loss and its parts.
    """
    features, _ = model.image_embedder(batch.images)
    features = features.flatten(1, 2)
    query_embeds = model.owlvit.get_text_features(queries.input_ids, queries.attention_mask).pooler_output
    logits, _ = model.class_predictor(features, query_embeds.expand(len(features), -1, -1))
    boxes = model.box_predictor(features, features.view(len(features), GRID, GRID, -1)).float()
    logits = logits.float()

    present = batch.colours >= 0
    image, place = present.nonzero(as_tuple=True)
    target = batch.boxes[image, place]
    colour, shape = batch.colours[image, place], batch.shapes[image, place]
    column, row = (target[:, :2] * GRID).long().clamp(0, GRID - 1).unbind(1)
    centre = row * GRID + column

    wanted = torch.zeros_like(logits)
    wanted[image, centre] = queries.admits[:, colour, shape].T.float()
    probability = logits.sigmoid()
    cross_entropy = functional.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
    missed = torch.where(wanted > 0, 1 - probability, probability)
    weight = torch.where(wanted > 0, 0.6, 0.4)
    class_loss = (weight * missed.square() * cross_entropy).sum() / wanted.sum().clamp(min=1)

    # Every patch whose middle lies in an object: [objects, patches].
    middles = (torch.arange(GRID) + 0.5) / GRID
    inside_x = (middles - target[:, :1]).abs() < target[:, 2:3] / 2
    inside_y = (middles - target[:, 1:2]).abs() < target[:, 3:4] / 2
    inside = (inside_y[:, :, None] & inside_x[:, None, :]).flatten(1)
    inside[torch.arange(len(centre)), centre] = True
    which, patch = inside.nonzero(as_tuple=True)
    predicted, truth = boxes[image[which], patch], target[which]
    importance = torch.where(patch == centre[which], 4.0, 1.0)
    importance = importance / importance.sum()
    l1 = ((predicted - truth).abs().sum(1) * importance).sum()
    overlap = ((1 - generalised_iou(predicted, truth)) * importance).sum()

    names = naming(features[image[which], patch]).float()
    naming_loss = functional.cross_entropy(names[:, : len(COLOURS)], colour[which]) + functional.cross_entropy(
        names[:, len(COLOURS) :], shape[which]
    )
    named_right = (names[:, len(COLOURS) :].argmax(1) == shape[which]).float().mean()
    parts = {"class": class_loss.item(), "l1": l1.item(), "giou": overlap.item(), "shape": named_right.item()}
    return 2 * class_loss + 5 * l1 + 2 * overlap + naming_weight * naming_loss, parts


def generalised_iou(a: Tensor, b: Tensor) -> Tensor:
    """Generalised IoU [n] of boxes [n, 4] given as centre x, centre y, width, height (Rezatofighi et al., 2019)."""
    a_low, a_high = a[:, :2] - a[:, 2:] / 2, a[:, :2] + a[:, 2:] / 2
    b_low, b_high = b[:, :2] - b[:, 2:] / 2, b[:, :2] + b[:, 2:] / 2
    shared = (torch.minimum(a_high, b_high) - torch.maximum(a_low, b_low)).clamp(min=0).prod(1)
    union = a[:, 2:].prod(1) + b[:, 2:].prod(1) - shared
    hull = (torch.maximum(a_high, b_high) - torch.minimum(a_low, b_low)).prod(1)
    return shared / union - (hull - union) / hull


def pick(scenes: TrainingSet, chosen: Tensor, rng: np.random.Generator, mean: Tensor, std: Tensor) -> TrainingSet:
    """A batch of scenes, mirrored and turned together at random, images normalised to float32."""
    images = (scenes.images[chosen].float() / 255 - mean) / std
    boxes = scenes.boxes[chosen].clone()
    empty = scenes.colours[chosen] < 0
    if rng.random() < 0.5:
        images = images.flip(3)
        boxes[..., 0] = 1 - boxes[..., 0]
    if rng.random() < 0.5:
        images = images.flip(2)
        boxes[..., 1] = 1 - boxes[..., 1]
    if rng.random() < 0.5:
        images = images.transpose(2, 3).contiguous()
        boxes = boxes[..., [1, 0, 3, 2]]
    boxes[empty] = 0
    return TrainingSet(images, boxes, scenes.colours[chosen], scenes.shapes[chosen])


def learning_rate(progress: float, peak: float) -> float:
    """A cosine over the time there is, to nearly nothing at the end."""
    return peak * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1.0, progress))))


def train(minutes: float, scenes: int, batch_size: int, peak: float, out: Path, seed: int = 0) -> None:
    """Train for `minutes` of CPU time and save model, processor and figures to `out`."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    started = time.process_time()
    drawn = draw_training_set(scenes, seed=1)
    print(f"drew {scenes} scenes in {time.process_time() - started:.0f} s", flush=True)
    processor = make_processor()
    model = make_model(processor.tokenizer).train()
    asker = Asker(processor.tokenizer)
    naming = nn.Linear(WIDTH, len(COLOURS) + len(SHAPES))
    mean, std = (
        torch.tensor(values).view(1, 3, 1, 1)
        for values in (processor.image_processor.image_mean, processor.image_processor.image_std)
    )
    whiten_patches(model, (drawn.images[:500].float() / 255 - mean) / std)
    average = deepcopy(model).eval()
    matrices = [p for p in model.owlvit.vision_model.encoder.parameters() if p.ndim == 2]
    others = [p for p in model.parameters() if all(p is not matrix for matrix in matrices)]
    optimizers: list[torch.optim.Optimizer] = [
        torch.optim.Muon(matrices, lr=peak, weight_decay=0.05, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW([*others, *naming.parameters()], lr=peak, weight_decay=0.05, betas=(0.9, 0.98)),
    ]
    begun, step, next_report, next_evaluation = time.process_time(), 0, 0.0, 0.15
    while (progress := (time.process_time() - begun) / (minutes * 60)) < 1:
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(progress, peak) * min(1.0, (step + 1) / 60)
        batch = pick(drawn, torch.from_numpy(rng.integers(0, scenes, batch_size)), rng, mean, std)
        naming_weight = max(0.0, 1 - progress / 0.7)
        with torch.autocast("cpu", torch.bfloat16):
            loss, parts = detection_loss(model, naming, batch, asker.ask(rng), naming_weight)
        model.zero_grad(set_to_none=True)
        naming.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]  # of torch
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
        step += 1
        decay = min(0.998, step / (step + 20))
        with torch.no_grad():
            for old, new in zip(average.parameters(), model.parameters(), strict=True):
                old.lerp_(new, 1 - decay)
        if progress >= next_report:
            next_report += 0.02
            text = " ".join(f"{name} {value:.3f}" for name, value in parts.items())
            print(f"{time.process_time() - begun:6.0f} s step {step:5d} {text}", flush=True)
        if progress >= next_evaluation:
            next_evaluation += 0.15
            save(average, processor, out, {"steps": step, **evaluate(average, processor, scenes=120)})
    figures = {"steps": step, "images": step * batch_size, "minutes": minutes}
    save(average, processor, out, {**figures, **evaluate(average, processor, scenes=500)})


def save(model: OwlViTForObjectDetection, processor: OwlViTProcessor, out: Path, figures: dict[str, Any]) -> None:
    """Write a folder that `AutoModelForZeroShotObjectDetection` and `AutoProcessor` load, figures beside it."""
    model.save_pretrained(out)
    processor.save_pretrained(out)
    (out / "figures.json").write_text(json.dumps(figures, indent=2) + "\n")
    print(json.dumps(figures), flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10, help="CPU time, drawing not counted")
    parser.add_argument("--scenes", type=int, default=10000)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--learning-rate", type=float, default=2e-3)
    parser.add_argument("--out", type=Path, default=Path("models/demo/grounding-shapes"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    train(options.minutes, options.scenes, options.batch_size, options.learning_rate, options.out)
