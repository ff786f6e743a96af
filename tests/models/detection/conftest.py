"""Small detectors with random weights, saved as real checkpoints and loaded as users load theirs."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pixano_inference.configs import ModelConfig
from pixano_inference.schemas import DetectionInput, ImageBytes

WORDS = ["red", "green", "blue", "circle", "square", "star", "cat", "a", "photo", "of", "##s", "."]
CLASSES = ["red circle", "blue square", "star"]
NAMES = {0: "person", 1: "bicycle", 2: "Car", 3: "bench"}

MakeInput = Callable[..., DetectionInput]


def picture(width: int, height: int, seed: int = 0) -> Image.Image:
    """A smooth random picture, so that detectors see more than noise."""
    small = np.random.default_rng(seed).integers(0, 256, size=(5, 6, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)


def as_bytes(image: Image.Image) -> ImageBytes:
    """The image as the gateway hands it to a model."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return ImageBytes(buffer.getvalue())


def load(cls: type[Any], folder: Path, **params: Any) -> Any:
    """Load a model class from a checkpoint folder, as a runner does; on one thread, since tiny models gain no more."""
    import torch

    torch.set_num_threads(1)
    model = cls(
        ModelConfig(name="detector", model_class=cls, model_params=cls.params_class(path=str(folder), **params))
    )
    model.load_model()
    return model


def spread_out(model: Any, heads: dict[str, float]) -> None:
    """Give random heads enough spread (standard deviation of their weights) that answers differ from box to box."""
    import torch

    with torch.no_grad():
        for name, parameter in model.named_parameters():
            for head, std in heads.items():
                if head in name and parameter.ndim == 2:
                    parameter.normal_(std=std)


def bert_tokenizer(folder: Path) -> Any:
    """Return a WordPiece tokenizer of a few words."""
    from transformers import BertTokenizerFast

    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]
    return BertTokenizerFast(vocab={word: index for index, word in enumerate(vocabulary)}, model_max_length=512)


@pytest.fixture(scope="session")
def grounding_dino(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a Grounding DINO of a few 100 000 parameters."""
    import torch
    from transformers import (
        BertConfig,
        GroundingDinoConfig,
        GroundingDinoForObjectDetection,
        GroundingDinoImageProcessorPil,
        GroundingDinoProcessor,
        SwinConfig,
    )

    folder = tmp_path_factory.mktemp("grounding-dino")
    torch.manual_seed(0)
    tokenizer = bert_tokenizer(folder)
    config = GroundingDinoConfig(
        backbone_config=SwinConfig(
            image_size=64, patch_size=4, embed_dim=16, depths=[1, 1, 1, 1], num_heads=[1, 2, 2, 2], window_size=4,
            out_features=["stage2", "stage3", "stage4"],
        ),
        text_config=BertConfig(
            vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=1, num_attention_heads=2,
            intermediate_size=64, max_position_embeddings=64,
        ),
        d_model=32, num_queries=20, encoder_layers=1, decoder_layers=2, encoder_ffn_dim=64, decoder_ffn_dim=64,
        encoder_attention_heads=2, decoder_attention_heads=2, max_text_len=32,
    )  # fmt: skip
    model = GroundingDinoForObjectDetection(config)
    spread_out(model, {"bbox_embed": 0.5, "enc_output": 0.5, "text_projection": 0.5})
    model.save_pretrained(folder)
    size = {"shortest_edge": 96, "longest_edge": 160}
    GroundingDinoProcessor(GroundingDinoImageProcessorPil(size=size), tokenizer).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def detr(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a small DETR with four classes."""
    import torch
    from transformers import DetrConfig, DetrForObjectDetection, DetrImageProcessorPil, ResNetConfig

    folder = tmp_path_factory.mktemp("detr")
    torch.manual_seed(1)
    config = DetrConfig(
        backbone_config=ResNetConfig(
            embedding_size=8, hidden_sizes=[8, 16, 24, 32], depths=[1, 1, 1, 1], layer_type="basic",
            out_features=["stage4"],
        ),
        d_model=32, num_queries=12, encoder_layers=1, decoder_layers=1, encoder_ffn_dim=64, decoder_ffn_dim=64,
        encoder_attention_heads=2, decoder_attention_heads=2, id2label=NAMES,
        label2id={name: index for index, name in NAMES.items()},
    )  # fmt: skip
    model = DetrForObjectDetection(config)
    spread_out(model, {"class_labels_classifier": 0.5, "bbox_predictor": 0.2})
    model.save_pretrained(folder)
    DetrImageProcessorPil(size={"shortest_edge": 96, "longest_edge": 160}).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def yolos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a small YOLOS, which takes no mask of what is padding."""
    import torch
    from transformers import YolosConfig, YolosForObjectDetection, YolosImageProcessorPil

    folder = tmp_path_factory.mktemp("yolos")
    torch.manual_seed(2)
    config = YolosConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64, image_size=[96, 128],
        num_detection_tokens=10, id2label=NAMES, label2id={name: index for index, name in NAMES.items()},
    )  # fmt: skip
    model = YolosForObjectDetection(config)
    spread_out(model, {"class_labels_classifier": 0.5, "bbox_predictor": 0.2})
    model.save_pretrained(folder)
    YolosImageProcessorPil(size={"shortest_edge": 96, "longest_edge": 160}).save_pretrained(folder)
    return folder
