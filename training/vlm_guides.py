"""Losses of the second phase that are no part of the model: they show the way and are dropped afterwards.

Left to the answers alone, a small model spends most of its training on finding out where to look. So a few attention
heads are told: one looks back at the word before, so that a noun knows its adjective; one looks from a noun at the
centres of the shapes that fit it, and at the first token with the weight of one shape more, so that how much is left
there tells how many fit; two look from the place of the answer at the question's first and last noun. What to make of
what they see is learned.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  # the name that everybody knows it by
from transformers import LlamaModel, PreTrainedTokenizerFast
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

from training.vlm_batches import Layout, Noun, QuestionBatch, encode
from training.vlm_dense import COLOR_WORDS, SHAPE_WORDS
from training.vlm_model import GRID, WIDTH
from training.vlm_scenes import MAX_SHAPES, DrawnShape

FIRST_IMAGE_TOKEN = 2


def centre_position(shape: DrawnShape) -> int:
    """Position in the sequence of the image token in which the shape's centre lies."""
    return FIRST_IMAGE_TOKEN + min(GRID - 1, int(shape.y * GRID)) * GRID + min(GRID - 1, int(shape.x * GRID))


class Guides(nn.Module):
    """The extra losses."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        """Remember the ids of the words."""
        super().__init__()
        self.place = nn.Linear(WIDTH, 2)
        self.number = nn.Linear(WIDTH, MAX_SHAPES + 1)
        self.color_ids = torch.tensor([encode(tokenizer, w)[0] for w in COLOR_WORDS])
        self.shape_ids = torch.tensor([encode(tokenizer, w)[0] for w in SHAPE_WORDS])

    def words(self, projected: Tensor, embedding: Tensor, batch: dict[str, Tensor]) -> Tensor:
        """Image tokens must match the embeddings of their own colour and shape."""
        loss = projected.new_zeros(())
        for ids, label in ((self.color_ids, batch["color"]), (self.shape_ids, batch["shape"])):
            words = F.normalize(embedding[ids], dim=-1)
            logits = 12 * F.normalize(projected, dim=-1) @ words.T
            loss = loss + F.cross_entropy(logits.flatten(0, 1), label.flatten() - 1, ignore_index=-1)
        return loss

    def facts(self, hidden: Tensor, nouns: list[Noun]) -> Tensor:
        """At a noun the hidden state must tell how many shapes fit, and where the shape is if it is one."""
        at = hidden[[n.row for n in nouns], [n.spot for n in nouns]]
        number = F.cross_entropy(self.number(at), torch.tensor([len(n.fitting) for n in nouns]))
        single = [i for i, n in enumerate(nouns) if len(n.fitting) == 1]
        wanted = torch.tensor([(nouns[i].fitting[0].x, nouns[i].fitting[0].y) for i in single])
        place: Tensor = (self.place(at[single]) - wanted).abs().sum(-1).mean()
        return number + 2 * place

    def looks(self, text: LlamaModel, hidden: tuple[Tensor, ...], layout: Layout, asked: QuestionBatch) -> Tensor:
        """The chosen heads must look where they are told."""
        rows = torch.tensor([n.row for n in asked.nouns])
        spots = torch.tensor([n.spot for n in asked.nouns])
        answers = torch.tensor([n.answer for n in asked.nouns])
        length = layout.positions.shape[1]

        def at(positions: Tensor) -> Tensor:
            return F.one_hot(positions, length).float()

        fitting = torch.zeros(len(rows), length)
        for index, noun in enumerate(asked.nouns):
            looked_at = [0, *(centre_position(shape) for shape in noun.fitting)]
            fitting[index, looked_at] = 1 / len(looked_at)
        firsts = torch.tensor([n.first for n in asked.nouns])
        lasts = torch.tensor([n.last for n in asked.nouns])
        told = [
            (0, 0, spots, at(spots - 1)),
            (1, 0, spots, fitting),
            (2, 0, answers, at(firsts)),
            (2, 1, answers, at(lasts)),
        ]
        loss = hidden[0].new_zeros(())
        for layer, head, queries, wanted in told:
            weights = attention(text, layer, head, hidden[layer], layout, rows, queries)
            # Zero when the head looks exactly as told.
            entropy = -(wanted * wanted.clamp_min(1e-9).log()).sum(-1)
            loss = loss + (-(wanted * weights).sum(-1) - entropy).mean()
        return loss


def attention(
    text: LlamaModel, layer: int, head: int, hidden: Tensor, layout: Layout, rows: Tensor, queries: Tensor
) -> Tensor:
    """Log of one head's attention from chosen positions.

    Args:
        text: The language model.
        layer: Index of the layer.
        head: Index of the head; there are as many key heads as query heads.
        hidden: What the layer reads [n, length, width].
        layout: The mask and the positions.
        rows: Sequence of each query [q].
        queries: Position of each query [q].

    Returns:
        Log of the weights [q, length].
    """
    block = text.layers[layer]
    size = block.self_attn.head_dim
    own = slice(head * size, (head + 1) * size)
    normed = block.input_layernorm(hidden)
    query = F.linear(normed, block.self_attn.q_proj.weight[own])[:, None]
    key = F.linear(normed, block.self_attn.k_proj.weight[own])[:, None]
    cos, sin = text.rotary_emb(hidden, layout.positions)
    query, key = apply_rotary_pos_emb(query, key, cos, sin)
    logits = torch.einsum("qd,qld->ql", query[rows, 0, queries], key[rows, 0]) * size**-0.5
    allowed = layout.mask[0, 0][queries]
    weights: Tensor = logits.masked_fill(~allowed, -1e4).log_softmax(-1)
    return weights
