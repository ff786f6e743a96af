"""The demo detector before training: an OWL-ViT whose first layers start as what takes longest to learn.

* The first attention layers start as convolutions: every head begins by looking at one neighbour of each patch (after
  Cordonnier et al., 2020, arXiv:1911.03584).
* The patch embedding starts as a whitening of the drawn patches.
"""

from __future__ import annotations

import math

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from torch import Tensor, nn
from torch.nn import functional
from transformers import (
    OwlViTConfig,
    OwlViTForObjectDetection,
    OwlViTImageProcessorPil,
    OwlViTProcessor,
    PreTrainedTokenizerFast,
)

from training.named_shapes import COLOURS, SHAPES

IMAGE_SIZE = 96
PATCH = 12
GRID = IMAGE_SIZE // PATCH
HEADS = 9
HEAD_DIM = 16
WIDTH = HEADS * HEAD_DIM
FREQUENCIES = math.pi * torch.tensor([0.9, 0.6, 0.35, 0.17])
POSITION_DIMS = 4 * len(FREQUENCIES)
# Reach, in patches, of the neighbour each head of a layer starts at. Later layers start as ordinary attention.
NEIGHBOUR_REACH = (1, 1)


def make_tokenizer() -> PreTrainedTokenizerFast:
    """Word-level tokenizer of everything the demo can be asked; other words become [UNK], which never matches.

    OWL-ViT reads a query at its highest token id, so the end token comes last; id 0 marks a padded query.
    """
    words = ["a", "an", "the", "photo", "of", "shape", "object", ".", ",", "and", *COLOURS, *SHAPES]
    vocabulary = {token: index for index, token in enumerate(["[PAD]", "[UNK]", "[START]", *words, "[END]"])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[START] $A [END]",
        special_tokens=[("[START]", vocabulary["[START]"]), ("[END]", vocabulary["[END]"])],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=16,
        pad_token="[PAD]",
        unk_token="[UNK]",
        bos_token="[START]",
        eos_token="[END]",
    )


def make_processor() -> OwlViTProcessor:
    """The processor saved beside the weights: a square resize, CLIP's normalisation, the tokenizer above."""
    side = {"height": IMAGE_SIZE, "width": IMAGE_SIZE}
    return OwlViTProcessor(OwlViTImageProcessorPil(size=side, crop_size=side), make_tokenizer())


def make_model(tokenizer: PreTrainedTokenizerFast, layers: int = 3) -> OwlViTForObjectDetection:
    """A small OWL-ViT, initialised so that it starts as a convolution on patches (see the module's text)."""
    text_width = 96
    config = OwlViTConfig(
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": text_width,
            "intermediate_size": 2 * text_width,
            "num_hidden_layers": 1,
            "num_attention_heads": 4,
            "max_position_embeddings": 16,
            "pad_token_id": tokenizer.pad_token_id,
            "bos_token_id": tokenizer.bos_token_id,
            "eos_token_id": tokenizer.eos_token_id,
        },
        vision_config={
            "hidden_size": WIDTH,
            "intermediate_size": 3 * WIDTH,
            "num_hidden_layers": layers,
            "num_attention_heads": HEADS,
            "image_size": IMAGE_SIZE,
            "patch_size": PATCH,
        },
        projection_dim=text_width,
    )
    model = OwlViTForObjectDetection(config)
    # Plain attention: the fused kernel's backward pass takes three times as long on a CPU at 65 tokens.
    model.set_attn_implementation("eager")
    with torch.no_grad():
        _start_as_convolution(model)
        # transformers starts the heads' layers a hundred times too wide for a model of this width.
        for layer in (model.box_head.dense0, model.box_head.dense1, model.class_head.dense0):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)
        # Logits start near log-odds of a rare positive, with a slope that lets a cosine similarity move them.
        head = model.class_head
        nn.init.zeros_(head.logit_shift.weight)
        nn.init.constant_(head.logit_shift.bias, -0.6)
        nn.init.zeros_(head.logit_scale.weight)
        nn.init.constant_(head.logit_scale.bias, 8.0)
        # Boxes start at about twice a patch's size around the patch's corner, where the model's bias puts them.
        nn.init.normal_(model.box_head.dense2.weight, std=0.02)
        model.box_head.dense2.bias.copy_(torch.tensor([-0.2, -0.2, 1.0, 1.0]))
    return model


def _position_code(x: Tensor, y: Tensor) -> Tensor:
    """Sines and cosines [n, POSITION_DIMS] of patch coordinates: a shift of the coordinates rotates the code."""
    angles = torch.cat([x[:, None] * FREQUENCIES, y[:, None] * FREQUENCIES], dim=1)
    return torch.stack([angles.cos(), angles.sin()], dim=2).flatten(1)


def _rotation(dx: int, dy: int) -> Tensor:
    """Matrix [POSITION_DIMS, POSITION_DIMS] that takes the code of (x, y) to that of (x + dx, y + dy)."""
    blocks = []
    for shift in (dx, dy):
        for frequency in FREQUENCIES.tolist():
            c, s = math.cos(shift * frequency), math.sin(shift * frequency)
            blocks.append(torch.tensor([[c, -s], [s, c]]))
    rotation: Tensor = torch.block_diag(*blocks)  # type: ignore[no-untyped-call]  # of torch
    return rotation


def _start_as_convolution(model: OwlViTForObjectDetection) -> None:
    vision = model.owlvit.vision_model
    embeddings = vision.embeddings
    amplitude, gain = 1.5, 1.33
    y, x = torch.meshgrid(torch.arange(GRID), torch.arange(GRID), indexing="ij")
    nn.init.normal_(embeddings.patch_embedding.weight, std=(3 * PATCH * PATCH) ** -0.5)
    embeddings.patch_embedding.weight[:POSITION_DIMS] = 0
    nn.init.zeros_(embeddings.position_embedding.weight)
    code = _position_code(x.flatten().float(), y.flatten().float())
    embeddings.position_embedding.weight[1:, :POSITION_DIMS] = amplitude * code
    # The class token gates every patch feature by multiplication: signs of one size leave none of them shut.
    embeddings.class_embedding.copy_(torch.randint(0, 2, (WIDTH,)).float() * 2 - 1)
    embeddings.class_embedding[:POSITION_DIMS] = 0
    for layer in vision.encoder.layers:
        # The position code passes through every layer unharmed until training finds better use for its place.
        layer.self_attn.out_proj.weight[:POSITION_DIMS] = 0
        layer.mlp.fc2.weight[:POSITION_DIMS] = 0
    neighbours = [(dx, dy) for dy in (-1, 0, 1) for dx in (-1, 0, 1)]
    for layer, reach in zip(vision.encoder.layers, NEIGHBOUR_REACH, strict=False):
        attention = layer.self_attn
        nn.init.normal_(attention.v_proj.weight, std=WIDTH**-0.5)
        for head, (dx, dy) in enumerate(neighbours):
            rows = slice(head * HEAD_DIM, head * HEAD_DIM + POSITION_DIMS)
            attention.q_proj.weight[rows] = 0
            attention.k_proj.weight[rows] = 0
            attention.q_proj.weight[rows, :POSITION_DIMS] = gain * _rotation(dx * reach, dy * reach)
            attention.k_proj.weight[rows, :POSITION_DIMS] = gain * torch.eye(POSITION_DIMS)


def whiten_patches(model: OwlViTForObjectDetection, images: Tensor) -> None:
    """Start the patch embedding at the principal components of patches that hold an edge, each at unit variance.

    Args:
        model: The detector.
        images: Normalised float images [n, 3, IMAGE_SIZE, IMAGE_SIZE].
    """
    patches = functional.unfold(images, PATCH, stride=PATCH).transpose(1, 2).flatten(0, 1)
    patches = patches[patches.view(len(patches), 3, -1).std(dim=2).amax(dim=1) > 0.1]
    covariance = patches.T @ patches / len(patches)
    variances, components = torch.linalg.eigh(covariance)
    kept = WIDTH - POSITION_DIMS
    variances, components = variances[-kept:].flip(0), components[:, -kept:].flip(1)
    # Components below the thirty-second are mostly grain: they come in, but are not blown up to the size of edges.
    filters = (components / (variances + variances[32]).sqrt()).T
    with torch.no_grad():
        weight = model.owlvit.vision_model.embeddings.patch_embedding.weight
        weight[POSITION_DIMS:] = filters.view(kept, 3, PATCH, PATCH)
