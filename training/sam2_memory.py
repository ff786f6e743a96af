"""The video part of the demo SAM2: its configuration, its initialisation, and following objects with gradients."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import nn
from torch.nn import functional
from transformers import Sam2Model, Sam2VideoConfig, Sam2VideoModel

from training.sam2_architecture import GRID, HIDDEN, SIZE, decoder_config, open_decoder, prompt_config, vision_config

MEMORY = 64
"""Channels of a memory; transformers' memory attention knows no other number."""
HIDDEN_LOGIT = -1024.0
"""Mask logit of a hidden object."""


def new_video_model(image_model: Sam2Model) -> Sam2VideoModel:
    """A video model with an image model's weights and fresh memory modules, opened for training."""
    config = Sam2VideoConfig(
        vision_config=vision_config(),
        prompt_encoder_config=prompt_config(),
        mask_decoder_config=decoder_config(),
        image_size=SIZE,
        memory_attention_hidden_size=HIDDEN,
        memory_attention_num_layers=2,
        memory_attention_feed_forward_hidden_size=2 * HIDDEN,
        memory_attention_dropout=0.0,
        memory_attention_rope_dropout=0.0,
        memory_attention_rope_feat_sizes=[GRID, GRID],
        memory_encoder_hidden_size=HIDDEN,
        memory_encoder_output_channels=MEMORY,
        mask_downsampler_embed_dim=HIDDEN,
        memory_fuser_embed_dim=HIDDEN,
        memory_fuser_intermediate_dim=2 * HIDDEN,
        memory_fuser_layer_scale_init_value=0.1,
        multimask_output_in_sam=False,
        multimask_output_for_tracking=False,
    )
    model = Sam2VideoModel(config).eval()
    _initialise_memory(model)
    missing, unexpected = model.load_state_dict(image_model.state_dict(), strict=False)
    wrong = [name for name in missing if name.startswith(("vision_encoder", "prompt_encoder", "mask_decoder"))]
    if wrong or unexpected:
        raise ValueError(f"the image model does not fit: missing {wrong}, unexpected {unexpected}")
    for quiet in (model.object_pointer_proj.proj_out, model.temporal_positional_encoding_projection_layer):
        # Object pointers stay silent: so small a model learns more in its time from the memories alone.
        nn.init.zeros_(quiet.weight)
        nn.init.zeros_(quiet.bias)
    # Images always show the object, so the image model's score says yes and nothing else: it learns again from even.
    nn.init.normal_(model.mask_decoder.pred_obj_score_head.proj_out.weight, std=0.02)
    nn.init.ones_(model.mask_decoder.pred_obj_score_head.proj_out.bias)
    open_decoder(model)
    return model


def _initialise_memory(model: Sam2VideoModel) -> None:
    for part in (model.memory_attention, model.memory_encoder, model.object_pointer_proj):
        for module in part.modules():
            if isinstance(module, nn.Linear | nn.Conv2d):
                nn.init.xavier_uniform_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
    nn.init.normal_(model.memory_temporal_positional_encoding, std=0.02)
    # Rotary positions turn equal constant vectors by where they are, so a shared bias of queries and keys makes the
    # attention start as "look at the same place in the memories", which is what following slow objects needs.
    for layer in model.memory_attention.layers:
        for branch in (layer.self_attn.o_proj, layer.linear2):
            branch.weight.data.mul_(0.1)
        attention = layer.cross_attn_image
        for half in (0, HIDDEN // 2):
            for projection in (attention.q_proj, attention.k_proj):
                projection.bias.data[half : half + 20] = 1.4


@torch.no_grad()
def pass_through(model: Sam2VideoModel, coarse: torch.Tensor) -> None:
    """Set the last normalisation of the memory attention so that features come out about as they went in.

    The mask decoder then understands conditioned features from the start. `coarse` is a sample, [images, HIDDEN, g, g].
    """
    norm = model.memory_attention.layer_norm
    norm.weight.fill_(float(coarse.std(1).mean()))
    norm.bias.copy_(coarse.mean((0, 2, 3)) + model.no_memory_embedding.view(-1))


def remember(
    model: Sam2VideoModel, coarse: torch.Tensor, features: torch.Tensor, positions: torch.Tensor, pointers: torch.Tensor
) -> torch.Tensor:
    """Condition raw features [rows, HIDDEN, g, g] on memories [cells, rows, 64], the last of which are `pointers`.

    Pointers and their positions are [pointers, rows, 64] and come after the spatial memories.
    """
    rows = len(coarse)
    place = model.vision_encoder.neck.position_encoding(coarse.shape, coarse.device, coarse.dtype)
    conditioned: torch.Tensor = model.memory_attention(
        current_vision_features=coarse.flatten(2).permute(2, 0, 1),
        current_vision_position_embeddings=place.flatten(2).permute(2, 0, 1).expand(-1, rows, -1),
        memory=torch.cat([features, pointers]),
        memory_posision_embeddings=positions,
        num_object_pointer_tokens=len(pointers),
    )
    return conditioned.squeeze(0).transpose(1, 2).reshape(rows, HIDDEN, GRID, GRID)


def answer(model: Sam2VideoModel, levels: list[torch.Tensor], clicks: torch.Tensor | None) -> list[torch.Tensor]:
    """Decode one click per row, or no prompt: single mask [rows, 64, 64], object score [rows], token [rows, HIDDEN]."""
    rows = len(levels[0])
    if clicks is None:
        clicks, labels = torch.zeros(rows, 1, 2), -torch.ones(rows, 1, dtype=torch.int32)
    else:
        labels = torch.ones(rows, 1, dtype=torch.int32)
    sparse, dense = model.prompt_encoder(clicks[:, None], labels[:, None], None, None)
    logits, _, tokens, score = model.mask_decoder(
        image_embeddings=levels[2],
        image_positional_embeddings=model.get_image_wide_positional_embeddings().expand(rows, -1, -1, -1),
        sparse_prompt_embeddings=sparse,
        dense_prompt_embeddings=dense,
        multimask_output=False,
        high_resolution_features=levels[:2],
    )
    return [logits[:, 0, 0], score[:, 0, 0], tokens[:, 0, 0]]


@dataclass
class Memory:
    """What is remembered of one frame: features [cells, rows, 64], their positions, pointers [rows, 128], when."""

    features: torch.Tensor
    positions: torch.Tensor
    pointer: torch.Tensor
    frame: int


@dataclass
class Follower:
    """Follows one object per row through frames, the first of which is prompted by a click.

    Attributes:
        model: An opened video model.
        memories: One per frame so far; the first is the prompted one.
    """

    model: Sam2VideoModel
    memories: list[Memory] = field(default_factory=list)

    def step(
        self,
        levels: list[torch.Tensor],
        clicks: torch.Tensor | None,
        visible: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Take one frame.

        Args:
            levels: Features of the frame, one row per object: as from `encode`, but the coarse one raw.
            clicks: On the first frame, [rows, 1, 2] as x, y in pixels.
            visible: The truth about who is visible, bool [rows]; null: the model's own estimate decides.

        Returns:
            Logits of the single mask [rows, 64, 64] and the object scores [rows].
        """
        coarse = levels[2]
        if clicks is not None:
            features = coarse + self.model.no_memory_embedding.view(1, -1, 1, 1)
        else:
            features = self._remember(coarse)
        mask, score, token = answer(self.model, [*levels[:2], features], clicks)
        there = ((score > 0) if visible is None else visible).float()
        self._memorise(coarse, mask, token, there, prompted=clicks is not None)
        return mask, score

    def _memorise(
        self, coarse: torch.Tensor, mask: torch.Tensor, token: torch.Tensor, there: torch.Tensor, prompted: bool
    ) -> None:
        model = self.model
        shown = torch.where(there[:, None, None] > 0, mask, torch.full_like(mask, HIDDEN_LOGIT))
        large = functional.interpolate(shown[:, None], size=(SIZE, SIZE), mode="bilinear", align_corners=False)
        chance = (large > 0).float() if prompted else large.sigmoid()
        encoded, positions = model.memory_encoder(coarse, chance * 20.0 - 10.0)
        hidden = (1 - there)[:, None, None, None] * model.occlusion_spatial_embedding_parameter[..., None, None]
        pointer = model.object_pointer_proj(token) * there[:, None] + (1 - there)[:, None] * model.no_object_pointer
        self.memories.append(
            Memory(
                (encoded + hidden).flatten(2).permute(2, 0, 1),
                positions.flatten(2).permute(2, 0, 1).expand(-1, len(mask), -1),
                pointer,
                len(self.memories),
            )
        )

    def _remember(self, coarse: torch.Tensor) -> torch.Tensor:
        """Condition raw features on the memories, as transformers' inference does."""
        model, now, rows = self.model, len(self.memories), len(coarse)
        first, recent = self.memories[0], self.memories[1:][-(model.num_maskmem - 1) :]
        chosen = [(0, first), *((now - memory.frame, memory) for memory in recent)]
        features = [memory.features for _, memory in chosen]
        positions = [m.positions + model.memory_temporal_positional_encoding[offset - 1] for offset, m in chosen]
        most = model.config.max_object_pointers_in_encoder
        pointed = [first, *[m for m in reversed(self.memories[1:]) if now - m.frame < most]]
        offsets = torch.tensor([float(now - m.frame) for m in pointed]) / (most - 1)
        pointer_positions = model.temporal_positional_encoding_projection_layer(_sine(offsets, HIDDEN))
        splits = HIDDEN // MEMORY
        pointers = torch.stack([m.pointer for m in pointed]).view(-1, rows, splits, MEMORY)
        positions.append(pointer_positions[:, None].expand(-1, rows, -1).repeat_interleave(splits, 0))
        spread = pointers.permute(0, 2, 1, 3).flatten(0, 1)
        return remember(model, coarse, torch.cat(features), torch.cat(positions), spread)


def _sine(positions: torch.Tensor, channels: int) -> torch.Tensor:
    """Sine and cosine encoding of positions, [positions, channels]."""
    half = channels // 2
    turns = torch.exp(-math.log(10000.0) * 2 * (torch.arange(half) // 2).float() / half)
    angles = positions[:, None] * turns
    return torch.cat([angles.sin(), angles.cos()], 1)
