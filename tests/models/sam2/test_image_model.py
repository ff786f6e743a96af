from __future__ import annotations

import io
import os
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from PIL import Image
from torch._dynamo.utils import counters

from pixano_inference.errors import ConfigError, InvalidInput
from pixano_inference.models.pipeline import PipelinedModel
from pixano_inference.models.sam2 import image_network
from pixano_inference.schemas import ImageBytes, NDArrayFloat, SegmentationOutput
from training.scenes import Scene, mask_box

from .conftest import DEMO, ask, load_image_model, overlap, png

if TYPE_CHECKING:
    from pixano_inference.models.sam2.image_model import Sam2ImageModel

pytestmark = pytest.mark.model
Click = Callable[[Scene, int], list[int]]


@pytest.fixture(scope="module")
def scene(scenes: list[Scene]) -> Scene:
    """One with several objects."""
    return next(scene for scene in scenes if len(scene.objects) >= 3)


@pytest.fixture(scope="module")
def image(scene: Scene) -> ImageBytes:
    return png(scene.image)


def logits(output: SegmentationOutput) -> np.ndarray:
    assert output.mask_logits is not None
    return output.mask_logits.to_numpy()


def plain_forward(model: Sam2ImageModel, pixels: np.ndarray, **prompt: object) -> np.ndarray:
    """What transformers' own forward answers, clamped as logits are, from pixels that need no resizing."""
    network = model.network
    assert isinstance(network, image_network.TransformersImageNetwork)
    with torch.inference_mode():
        square = network._normalization.apply(torch.from_numpy(pixels).permute(2, 0, 1)[None])
        answer: np.ndarray = network._model(pixel_values=square, **prompt).pred_masks[0].clamp(-32, 32).numpy()
    return answer


def test_clicks_and_boxes_are_answered_as_transformers_answers_them(
    sam2: Sam2ImageModel, scene: Scene, image: ImageBytes, click: Click
) -> None:
    x, y = click(scene, scene.objects[0])
    box = mask_box(scene.mask(scene.objects[1]))
    ones = torch.ones(1, 1, 1, dtype=torch.int32)
    ours = sam2.predict(ask(image, points=[[[x, y]]], labels=[[1]], return_logits=True))
    theirs = plain_forward(sam2, scene.image, input_points=torch.tensor([[[[float(x), y]]]]), input_labels=ones)
    assert np.abs(logits(ours) - theirs).max() < 1e-3
    ours = sam2.predict(ask(image, boxes=[list(box)], return_logits=True))
    theirs = plain_forward(sam2, scene.image, input_boxes=torch.tensor([[[float(v) for v in box]]]))
    assert np.abs(logits(ours) - theirs).max() < 1e-3
    ours = sam2.predict(ask(image, points=[[[x, y]]], labels=[[1]], boxes=[list(box)], return_logits=True))
    theirs = plain_forward(
        sam2,
        scene.image,
        input_points=torch.tensor([[[[float(x), y]]]]),
        input_labels=ones,
        input_boxes=torch.tensor([[[float(v) for v in box]]]),
    )
    assert np.abs(logits(ours) - theirs).max() < 1e-3


def test_the_answer_has_one_row_per_prompt_and_masks_of_the_size_of_the_image(
    sam2: Sam2ImageModel, scene: Scene, click: Click
) -> None:
    wide = np.repeat(scene.image, 2, axis=1)
    points = [[[2 * x, y]] for x, y in (click(scene, k) for k in scene.objects)]
    output = sam2.predict(ask(png(wide), points=points))
    assert [[mask.size for mask in row] for row in output.masks] == [[[256, 512]] * 3] * len(points)
    assert output.scores.shape == [len(points), 3]
    assert output.image_embedding is None
    assert output.mask_logits is None
    found = [
        max(overlap(mask.to_mask()[:, ::2], scene.mask(label)) for mask in row)
        for row, label in zip(output.masks, scene.objects, strict=True)
    ]
    assert np.mean(found) > 0.7


def test_prompts_of_different_lengths_are_answered_as_if_alone(
    sam2: Sam2ImageModel, scene: Scene, image: ImageBytes, click: Click
) -> None:
    first, second = click(scene, scene.objects[0]), click(scene, scene.objects[1])
    points, labels = [[first], [second, first], [first]], [[1], [1, 0], [1]]
    together = sam2.predict(ask(image, points=points, labels=labels, return_logits=True))
    for row in range(3):
        alone = sam2.predict(ask(image, points=[points[row]], labels=[labels[row]], return_logits=True))
        assert np.abs(logits(together)[row] - logits(alone)[0]).max() < 1e-3


def test_a_single_mask_is_given_when_candidates_are_not_wanted(
    sam2: Sam2ImageModel, scene: Scene, image: ImageBytes, click: Click
) -> None:
    at = click(scene, scene.objects[0])
    output = sam2.predict(ask(image, points=[[at]], multimask_output=False, num_multimask_outputs=1))
    assert [len(row) for row in output.masks] == [1]
    assert output.scores.shape == [1, 1]


def test_without_a_prompt_there_is_one_prediction(sam2: Sam2ImageModel, image: ImageBytes) -> None:
    output = sam2.predict(ask(image))
    assert output.scores.shape == [1, 3]


def test_only_three_candidates_are_supported(sam2: Sam2ImageModel, image: ImageBytes) -> None:
    with pytest.raises(InvalidInput, match="must be 3"):
        sam2.predict(ask(image, points=[[[1, 1]]], num_multimask_outputs=2))


def test_embeddings_sent_back_give_the_same_masks_without_decoding_the_image(
    sam2: Sam2ImageModel, scene: Scene, image: ImageBytes, click: Click
) -> None:
    at = click(scene, scene.objects[0])
    first = sam2.predict(ask(image, points=[[at]], return_image_embedding=True))
    assert first.image_embedding is not None
    assert first.high_resolution_features is not None
    assert first.image_embedding.shape == [128, 16, 16]
    assert [f.shape for f in first.high_resolution_features] == [[16, 64, 64], [32, 32, 32]]
    header = ImageBytes(bytes(image.data)[:60])  # the size and nothing else
    again = sam2.predict(
        ask(
            header,
            points=[[at]],
            image_embedding=first.image_embedding,
            high_resolution_features=first.high_resolution_features,
        )
    )
    assert again.masks == first.masks


def test_embeddings_of_another_shape_are_refused(sam2: Sam2ImageModel, image: ImageBytes) -> None:
    wrong = NDArrayFloat.from_numpy(np.zeros((4, 4)))
    with pytest.raises(InvalidInput, match="image_embedding must be of shape"):
        sam2.predict(ask(image, image_embedding=wrong, high_resolution_features=[wrong, wrong]))
    with pytest.raises(InvalidInput, match="must hold 2 arrays"):
        sam2.predict(ask(image, image_embedding=wrong, high_resolution_features=[wrong]))


def test_a_second_click_neither_decodes_nor_encodes(
    scenes: list[Scene], monkeypatch: pytest.MonkeyPatch, sam2: Sam2ImageModel
) -> None:
    image = png(scenes[0].image)
    sam2.cache.clear()
    sam2.predict(ask(image, points=[[[9, 9]]]))
    before = sam2.cache.statistics

    def refuse(*_: object) -> None:
        raise AssertionError("this was to come from the cache")

    monkeypatch.setattr("pixano_inference.models.sam2.image_model.decode_for_model", refuse)
    monkeypatch.setattr(image_network.ImageNetwork, "encode", refuse)
    output = sam2.predict(ask(ImageBytes(bytes(image.data)), points=[[[99, 99]]], reset_predictor=True))
    assert output.masks[0][0].size == [256, 256]
    after = sam2.cache.statistics
    assert (after.hits - before.hits, after.misses - before.misses) == (1, 0)


def test_another_image_is_never_mistaken_for_the_last_one(
    sam2: Sam2ImageModel, scenes: list[Scene], click: Click
) -> None:
    first, second = scenes[0], scenes[1]
    wanted = sam2.predict(ask(png(second.image), points=[[click(second, second.objects[0])]]))
    sam2.predict(ask(png(first.image), points=[[[5, 5]]]))
    got = sam2.predict(ask(png(second.image), points=[[click(second, second.objects[0])]], reset_predictor=False))
    assert got.masks == wanted.masks


def test_a_batch_encodes_each_new_image_once_and_answers_as_one_by_one(
    sam2: Sam2ImageModel, scenes: list[Scene], click: Click, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests = [
        ask(png(scene.image), points=[[click(scene, label)]], multimask_output=bool(label % 2))
        for scene in scenes[2:5]
        for label in scene.objects[:2]
    ]
    sam2.cache.clear()
    alone = [sam2.predict(request) for request in requests]
    sam2.cache.clear()
    encoded: list[int] = []
    encode = image_network.ImageNetwork.encode

    def counting(network: image_network.ImageNetwork, pixels: torch.Tensor) -> list[image_network.Features]:
        encoded.append(len(pixels))
        return encode(network, pixels)

    monkeypatch.setattr(image_network.ImageNetwork, "encode", counting)
    together = sam2.predict_batch(requests)
    assert encoded == [3]
    for one, other in zip(alone, together, strict=True):
        assert isinstance(other, SegmentationOutput)
        for mine, theirs in zip(one.masks[0], other.masks[0], strict=True):
            assert overlap(mine, theirs) >= 0.995


def test_a_bad_request_of_a_batch_fails_alone(sam2: Sam2ImageModel, image: ImageBytes) -> None:
    good, bad = sam2.predict_batch([ask(image, points=[[[9, 9]]]), ask(ImageBytes(b"no image"), points=[[[9, 9]]])])
    assert isinstance(good, SegmentationOutput)
    assert isinstance(bad, InvalidInput)


def test_its_stages_are_the_runners_to_overlap(sam2: Sam2ImageModel) -> None:
    assert isinstance(sam2, PipelinedModel)


def test_a_large_jpeg_that_is_decoded_at_a_smaller_scale_gives_the_same_masks(
    sam2: Sam2ImageModel, scene: Scene, click: Click
) -> None:
    buffer = io.BytesIO()
    large = Image.fromarray(scene.image).resize((1600, 1200), Image.Resampling.BICUBIC)
    large.save(buffer, "JPEG", quality=90)
    whole = np.asarray(Image.open(io.BytesIO(buffer.getvalue())).convert("RGB"))
    points = [[[int(x * 6.25), int(y * 4.6875)]] for x, y in (click(scene, k) for k in scene.objects)]
    scaled = sam2.predict(ask(ImageBytes(buffer.getvalue()), points=points, multimask_output=False))
    full = sam2.predict(ask(png(whole), points=points, multimask_output=False))
    assert all(mask.size == [1200, 1600] for [mask] in scaled.masks)
    assert np.mean([overlap(a, b) for [a], [b] in zip(scaled.masks, full.masks, strict=True)]) >= 0.995


def test_half_precision_gives_the_same_masks(sam2: Sam2ImageModel, scenes: list[Scene], click: Click) -> None:
    half = load_image_model(DEMO / "sam2-image", torch_dtype="bfloat16")
    best, all_of_them = [], []
    for scene in scenes[:8]:
        request = ask(png(scene.image), points=[[click(scene, k)] for k in scene.objects])
        full, rounded = sam2.predict(request), half.predict(request)
        for one, other, scores in zip(full.masks, rounded.masks, full.scores.to_numpy(), strict=True):
            overlaps = [overlap(a, b) for a, b in zip(one, other, strict=True)]
            best.append(overlaps[int(scores.argmax())])
            all_of_them += overlaps
    assert np.mean(best) >= 0.995
    # eight bits of mantissa move a few pixels on the border of a mask of a few hundred
    assert np.mean(all_of_them) >= 0.98
    assert half.metadata["dtype"] == "bfloat16"


def test_passes_that_are_padded_to_buckets_answer_alike(
    sam2: Sam2ImageModel, scene: Scene, image: ImageBytes, click: Click, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = ask(image, points=[[click(scene, k)] for k in scene.objects[:3]], return_logits=True)
    plain = sam2.predict(request)
    monkeypatch.setattr(sam2.network, "compiled", True)
    sam2.cache.clear()
    assert np.abs(logits(sam2.predict(request)) - logits(plain)).max() < 1e-3


@pytest.mark.filterwarnings("default::DeprecationWarning")  # of torch's own compiler
@pytest.mark.parametrize(
    "backend",
    [
        "eager",  # the graphs are really captured and guarded; only the code generation is left out
        pytest.param(
            "inductor",
            marks=pytest.mark.skipif(
                "PIXANO_TEST_INDUCTOR" not in os.environ,
                reason="generating code takes minutes of CPU: PIXANO_TEST_INDUCTOR=1 runs it",
            ),
        ),
    ],
)
def test_requests_compile_nothing_once_a_compiled_model_is_warm(
    sam2: Sam2ImageModel,
    scene: Scene,
    image: ImageBytes,
    click: Click,
    monkeypatch: pytest.MonkeyPatch,
    backend: str,
) -> None:
    monkeypatch.setattr(image_network, "COMPILE_BACKEND", backend)
    monkeypatch.setattr(image_network, "WARM_BUCKETS", 1)
    compiled = load_image_model(DEMO / "sam2-image", compile=True)
    before = counters["stats"]["unique_graphs"]
    assert before > 0
    for fields in (
        {"points": [[click(scene, k)] for k in scene.objects[:3]]},
        {"boxes": [list(mask_box(scene.mask(scene.objects[0])))], "multimask_output": False},
        {"points": [[click(scene, scene.objects[0])] + [[5 * k, 3 * k] for k in range(6)]], "labels": [[1] + [0] * 6]},
        {"points": [[click(scene, scene.objects[0])]], "mask_input": NDArrayFloat.from_numpy(np.zeros((1, 1, 64, 64)))},
    ):
        request = ask(image, **fields)
        for one, other in zip(sam2.predict(request).masks, compiled.predict(request).masks, strict=True):
            assert all(overlap(a, b) >= 0.995 for a, b in zip(one, other, strict=True))
    assert counters["stats"]["unique_graphs"] == before, "a request compiled again"


def test_a_checkpoint_that_is_not_there_is_named(tmp_path: object) -> None:
    with pytest.raises(ConfigError, match="no checkpoint folder '/nowhere/sam2'"):
        load_image_model(DEMO.__class__("/nowhere/sam2"))


def test_metas_checkpoints_need_a_configuration_and_the_package() -> None:
    with pytest.raises(ConfigError, match="name its configuration"):
        load_image_model(DEMO / "sam2.1_hiera_tiny.pt")
    import importlib.util

    if importlib.util.find_spec("sam2") is None:
        with pytest.raises(ConfigError, match=r"pip install 'pixano-inference\[sam2\]'"):
            load_image_model(DEMO / "sam2.1_hiera_tiny.pt", config="configs/sam2.1/sam2.1_hiera_t.yaml")
