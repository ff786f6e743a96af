"""Write a trained demo model as a Hugging Face folder: half-precision safetensors, configuration, preprocessing."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from transformers import Sam2Model, Sam2VideoModel

from training.sam2_architecture import MEAN, SIZE, STD


def export_image_model(model: Sam2Model, folder: Path) -> None:
    """Write `config.json`, `model.safetensors` (float16) and `preprocessor_config.json` into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    model.to(torch.float16).save_pretrained(folder)
    model.to(torch.float32)
    write_preprocessing(folder)


def write_preprocessing(folder: Path) -> None:
    """Write `preprocessor_config.json`: a square of 256 pixels, the usual mean and standard deviation."""
    settings = {
        "image_processor_type": "Sam2ImageProcessor",
        "do_convert_rgb": True,
        "do_normalize": True,
        "do_rescale": True,
        "do_resize": True,
        "image_mean": list(MEAN),
        "image_std": list(STD),
        "mask_size": {"height": SIZE, "width": SIZE},
        "resample": 2,
        "rescale_factor": 1 / 255,
        "size": {"height": SIZE, "width": SIZE},
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(settings, indent=2) + "\n")


def export_video_model(model: Sam2VideoModel, folder: Path) -> None:
    """Write the video checkpoint like the image one; it always answers with the single mask, as it was trained to."""
    model.config.mask_decoder_config.dynamic_multimask_via_stability = False
    folder.mkdir(parents=True, exist_ok=True)
    model.to(torch.float16).save_pretrained(folder)
    model.to(torch.float32)
    write_preprocessing(folder)
