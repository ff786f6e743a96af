"""SAM2.1 with random weights: speed does not depend on what a network has learned.

Sizes are those of the published ``facebook/sam2.1-hiera-*`` checkpoints, images 1024 × 1024.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

HIERA: dict[str, dict[str, Any]] = {
    "tiny": {
        "blocks_per_stage": [1, 2, 7, 2], "embed_dim_per_stage": [96, 192, 384, 768],
        "num_attention_heads_per_stage": [1, 2, 4, 8], "window_size_per_stage": [8, 4, 14, 7],
        "global_attention_blocks": [5, 7, 9], "hidden_size": 96, "num_attention_heads": 1,
        "window_positional_embedding_background_size": [7, 7],
    },
    "base-plus": {
        "blocks_per_stage": [2, 3, 16, 3], "embed_dim_per_stage": [112, 224, 448, 896],
        "num_attention_heads_per_stage": [2, 4, 8, 16], "window_size_per_stage": [8, 4, 14, 7],
        "global_attention_blocks": [12, 16, 20], "hidden_size": 112, "num_attention_heads": 2,
        "window_positional_embedding_background_size": [14, 14],
    },
    "large": {
        "blocks_per_stage": [2, 6, 36, 4], "embed_dim_per_stage": [144, 288, 576, 1152],
        "num_attention_heads_per_stage": [2, 4, 8, 16], "window_size_per_stage": [8, 4, 16, 8],
        "global_attention_blocks": [23, 33, 43], "hidden_size": 144, "num_attention_heads": 2,
        "window_positional_embedding_background_size": [7, 7],
    },
}  # fmt: skip


def save(size: str, folder: Path, *, video: bool = False) -> Path:
    """Write a checkpoint folder, of an image or a video model, and return it."""
    import torch
    from transformers import Sam2Config, Sam2Model, Sam2VideoConfig, Sam2VideoModel

    torch.manual_seed(0)
    hiera = HIERA[size]
    channels = list(reversed(hiera["embed_dim_per_stage"]))
    vision = {
        "backbone_config": {"model_type": "sam2_hiera_det_model", **hiera},
        "backbone_channel_list": channels,
    }
    if video:
        Sam2VideoModel(Sam2VideoConfig(vision_config=vision)).save_pretrained(folder)
    else:
        Sam2Model(Sam2Config(vision_config=vision)).save_pretrained(folder)
    return folder


if __name__ == "__main__":
    save(sys.argv[1], Path(sys.argv[2]), video=sys.argv[3:] == ["video"])
