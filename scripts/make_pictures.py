"""Makes the pictures of the docs from real answers of a running demo server.

scripts/demo &                                # and wait until it is ready
python scripts/make_pictures.py --url http://127.0.0.1:7463
"""

from __future__ import annotations

import argparse
import sys
import textwrap
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from pixano_inference.client import (  # noqa: E402  # the scripts folder is not a package
    SyncPixanoInferenceClient,
    detection_request,
    segmentation_request,
    tracking_request,
    visualize,
    vlm_request,
)
from training import named_shapes, scenes, vlm_questions  # noqa: E402  # as above

SEGMENTATION_SEED, TRACKING_SEED, NAMED_SEED, VLM_SEED = 900_005, 900_019, 7, 11


def side_by_side(*pictures: Image.Image, scale: int = 1) -> Image.Image:
    """Put pictures of one height beside each other, with a little room between."""
    grown = [
        picture.resize((picture.width * scale, picture.height * scale), Image.Resampling.LANCZOS)
        for picture in pictures
    ]
    sheet = Image.new("RGB", (sum(p.width for p in grown) + 8 * (len(grown) - 1), grown[0].height), "white")
    left = 0
    for picture in grown:
        sheet.paste(picture, (left, 0))
        left += picture.width + 8
    return sheet


def click_on(mask: np.ndarray) -> list[int]:
    """Return the pixel [x, y] of a mask that is farthest from its border, more or less."""
    inner = mask.copy()
    while True:
        padded = np.pad(inner, 1)
        smaller = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:] & inner
        if not smaller.any():
            rows, columns = np.nonzero(inner)
            return [int(columns[len(columns) // 2]), int(rows[len(rows) // 2])]
        inner = smaller


def segmentation(client: SyncPixanoInferenceClient, out: Path) -> None:
    """The drawn image, the click, the mask that came back."""
    scene = scenes.draw_scene(SEGMENTATION_SEED)
    image = Image.fromarray(scene.image)
    image.save(out / "scene.png")
    target = max(scene.objects, key=lambda label: int(scene.mask(label).sum()))
    point = click_on(scene.mask(target))
    answer = client.segmentation(segmentation_request("sam2-image", image, points=[[point]], labels=[[1]])).data
    best = int(answer.scores.to_numpy()[0].argmax())
    mask = answer.masks[0][best]
    truth, found = scene.mask(target), mask.to_mask().astype(bool)
    print(f"segmentation: click at {point}, IoU {(truth & found).sum() / (truth | found).sum():.3f}")
    clicked = visualize.draw_points(image, [point], [1])
    masked = visualize.draw_points(visualize.draw_masks(image, [mask]), [point], [1])
    side_by_side(image, clicked, masked, scale=2).save(out / "segmentation.png")


def tracking(client: SyncPixanoInferenceClient, out: Path) -> None:
    """Six of thirty frames, prompted with one click per object on the first."""
    clip = scenes.draw_clip(TRACKING_SEED)
    frames = [Image.fromarray(frame) for frame in clip.frames]
    labels = list(clip.objects)
    points = [[click_on(clip.labels[0] == label)] for label in labels]
    request = tracking_request(
        "sam2-video",
        frames,
        objects_ids=labels,
        frame_indexes=[0] * len(labels),
        points=points,
        labels=[[1]] * len(labels),
    )
    drawn = list(visualize.draw_tracks(frames, client.tracking(request).data))
    side_by_side(*(drawn[index] for index in (0, 6, 12, 18, 24, 29))).save(out / "tracking.png")


def named_scene() -> named_shapes.Scene:
    """One scene that detector and VLM are both asked about."""
    return named_shapes.draw_scene(np.random.default_rng(NAMED_SEED))


def detection(client: SyncPixanoInferenceClient, model: str, out: Path) -> None:
    """Every name on the image, and one that is not there."""
    scene = named_scene()
    image = Image.fromarray(scene.image)
    names = sorted({thing.name for thing in scene.objects} | {"red star"})
    found = client.detection(detection_request(model, image, names, box_threshold=0.3, text_threshold=0.3)).data
    side_by_side(image, visualize.draw_boxes(image, found), scale=2).save(out / "detection.png")


def vlm(client: SyncPixanoInferenceClient, out: Path) -> None:
    """One image of each kind of question, the question and the answer below it."""
    asked = vlm_questions.held_out(len(vlm_questions.KINDS), seed=VLM_SEED)
    sheet = Image.new("RGB", (232 * len(asked), 250), "white")
    pen = ImageDraw.Draw(sheet)
    for place, (image, question) in enumerate(asked):
        answer = client.vlm(vlm_request("vlm", question.text, [image], max_new_tokens=8, temperature=0)).data
        sheet.paste(image, (232 * place, 0))
        text = textwrap.fill(question.text, 30) + f"\n{answer.generated_text}"
        pen.multiline_text((232 * place, image.height + 6), text, fill="black", font_size=14)
    sheet.save(out / "vlm.png")


def main() -> None:
    """Make the picture of every capability that the server has."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", default="http://127.0.0.1:7463")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "images")
    options = parser.parse_args()
    with SyncPixanoInferenceClient.connect(options.url) as client:
        capabilities = client.models_to_capability
        if "sam2-image" in capabilities:
            segmentation(client, options.out)
        if "sam2-video" in capabilities:
            tracking(client, options.out)
        for name, capability in capabilities.items():
            if capability == "detection":
                detection(client, name, options.out)
        if "vlm" in capabilities:
            vlm(client, options.out)


if __name__ == "__main__":
    main()
