"""The tiny SAM2 of the demo checkpoints: its configuration and an initialisation from which a CPU can train it.

The architecture is transformers' own SAM2 (Ravi et al. 2024, https://arxiv.org/abs/2408.00714) with small numbers in
the configuration: 256 pixel input, a three-stage Hiera, a two-layer mask decoder.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers import Sam2Config, Sam2Model

SIZE = 256
"""Side of the model's square input, pixels."""
HIDDEN = 128
STAGES = (32, 64, 128)
GRID = SIZE // 16
"""Side of the image embedding, cells of 16 pixels."""

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
"""Channel mean and standard deviation of the normalisation, RGB in 0..1 (the ones of every SAM2 checkpoint)."""


def vision_config() -> dict[str, Any]:
    """The image encoder's configuration: patches of 4 pixels, then 64, 32 and 16 cells a side."""
    return {
        "backbone_config": {
            "model_type": "sam2_hiera_det_model",
            "hidden_size": STAGES[0],
            "num_attention_heads": 1,
            "image_size": [SIZE, SIZE],
            "blocks_per_stage": [1, 2, 3],
            "embed_dim_per_stage": list(STAGES),
            "num_attention_heads_per_stage": [1, 2, 4],
            "window_size_per_stage": [8, 8, 8],
            "num_query_pool_stages": 2,
            "global_attention_blocks": [4, 5],
            "window_positional_embedding_background_size": [8, 8],
            "mlp_ratio": 3.0,
        },
        "backbone_channel_list": list(reversed(STAGES)),
        "backbone_feature_sizes": [[4 * GRID] * 2, [2 * GRID] * 2, [GRID] * 2],
        "fpn_hidden_size": HIDDEN,
        # Every level gets what the coarser ones know: the fine ones would otherwise see no further than a window.
        "fpn_top_down_levels": [0, 1, 2],
        "num_feature_levels": 3,
    }


def prompt_config() -> dict[str, Any]:
    """The prompt encoder's configuration."""
    return {"hidden_size": HIDDEN, "image_size": SIZE, "patch_size": 16, "mask_input_channels": 16}


def decoder_config() -> dict[str, Any]:
    """The mask decoder's configuration."""
    return {
        "hidden_size": HIDDEN,
        "mlp_dim": 512,
        "num_attention_heads": 8,
        "iou_head_hidden_dim": 128,
        "dynamic_multimask_via_stability": True,
    }


def new_model(seed: int = 0) -> Sam2Model:
    """A model with fresh weights, in eval mode (SAM2's image part has no dropout, so it trains in eval mode too)."""
    torch.manual_seed(seed)
    config = Sam2Config(
        vision_config=vision_config(), prompt_encoder_config=prompt_config(), mask_decoder_config=decoder_config()
    )
    model = Sam2Model(config).eval()
    _spread(model)
    _tie_attention(model)
    return model


def _spread(model: Sam2Model) -> None:
    """Give every layer an output of about its input's size; the usual standard deviation of 0.02 is for wide models."""
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
            nn.init.xavier_uniform_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, std=0.5)
    nn.init.normal_(model.prompt_encoder.no_mask_embed.weight, std=0.02)
    backbone = model.vision_encoder.backbone
    nn.init.trunc_normal_(backbone.pos_embed, std=0.2)
    nn.init.trunc_normal_(backbone.pos_embed_window, std=0.2)
    # The prompt encoder and the image must speak of positions in the same words.
    model.shared_image_embedding.positional_embedding = model.prompt_encoder.shared_embedding.positional_embedding


def _tie_attention(model: Sam2Model) -> None:
    """Start every attention between prompt and image as "look where the positions agree": equal queries and keys."""
    transformer = model.mask_decoder.transformer
    attentions = [transformer.final_attn_token_to_image]
    for layer in transformer.layers:
        attentions += [layer.cross_attn_token_to_image, layer.cross_attn_image_to_token]
    for attention in attentions:
        nn.init.orthogonal_(attention.q_proj.weight, gain=1.8)
        attention.k_proj.weight.data.copy_(attention.q_proj.weight.data)


@torch.no_grad()
def scale_features(model: Sam2Model, pixels: torch.Tensor, rms: float = 0.4) -> None:
    """Scale the neck so that the features of `pixels` stay smaller than the positions added to them in the decoder."""
    for conv, level in zip(model.vision_encoder.neck.convs, reversed(range(3)), strict=True):
        features = model.vision_encoder(pixels).fpn_hidden_states[level]
        conv.weight.data.mul_(rms / features.pow(2).mean().sqrt().clamp(min=1e-6))


def normalize(images: torch.Tensor) -> torch.Tensor:
    """uint8 [batch, height, width, 3] RGB to the model's float32 [batch, 3, height, width]."""
    pixels = images.permute(0, 3, 1, 2).float() / 255
    return (pixels - torch.tensor(MEAN).view(1, 3, 1, 1)) / torch.tensor(STD).view(1, 3, 1, 1)


def encode(model: Sam2Model, pixels: torch.Tensor) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Encode images, with gradients.

    Returns:
        What the mask decoder reads (fine to coarse: [batch, HIDDEN / 8, 64, 64], [batch, HIDDEN / 4, 32, 32],
        [batch, HIDDEN, 16, 16]) and the neck's raw features of the same sizes.
    """
    raw = list(model.vision_encoder(pixels).fpn_hidden_states)
    fine = model.mask_decoder.conv_s0(raw[0])
    middle = model.mask_decoder.conv_s1(raw[1])
    return [fine, middle, raw[2] + model.no_memory_embedding.view(1, -1, 1, 1)], raw


def decode(
    model: Sam2Model,
    features: list[torch.Tensor],
    points: torch.Tensor,
    labels: torch.Tensor,
    masks: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Decode one prompt per row, with gradients.

    Args:
        model: one whose decoder was opened with `open_decoder`.
        features: as from `encode`, one row per prompt.
        points: float [rows, points, 2], x and y in pixels of the model's input.
        labels: int [rows, points]: 1 and 0 are clicks, 2 and 3 the corners of a box, -1 no point.
        masks: logits [rows, 1, 64, 64] of an earlier answer.

    Returns:
        Mask logits [rows, 4, 64, 64] (the single mask first, then the three candidates), their predicted IoU
        [rows, 4], the object score [rows].
    """
    sparse, dense = model.prompt_encoder(points[:, None], labels[:, None], None, masks)
    rows = len(points)
    position = model.get_image_wide_positional_embeddings().expand(rows, -1, -1, -1)
    logits, iou, _, score = model.mask_decoder(
        image_embeddings=features[2],
        image_positional_embeddings=position,
        sparse_prompt_embeddings=sparse,
        dense_prompt_embeddings=dense,
        multimask_output=False,
        high_resolution_features=features[:2],
    )
    return logits[:, 0], iou[:, 0], score[:, 0, 0]


def open_decoder(model: Sam2Model) -> None:
    """Make the mask decoder return all four masks rather than choose, which is what training needs."""
    model.mask_decoder._dynamic_multimask_via_stability = lambda masks, iou: (masks, iou)
