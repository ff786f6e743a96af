"""Class names as callers write them, and as the models were trained to read them."""

from __future__ import annotations

from collections.abc import Sequence

_PHRASE_ENDS = str.maketrans(".?", "  ")
"""Grounding DINO takes these for the end of a phrase, wherever they stand."""


def split_names(asked: Sequence[str]) -> dict[str, str]:
    """Return the prompt of each class and the class as the caller spells it, in the caller's order.

    A lone string may hold several names in the notation Grounding DINO made common, "a cat. a dog.". Prompts are in
    lower case without full stops; of names that differ only in that, the first counts.
    """
    if len(asked) == 1:
        asked = asked[0].split(".")
    names: dict[str, str] = {}
    for name in asked:
        prompt = " ".join(name.lower().translate(_PHRASE_ENDS).split())
        if any(character.isalnum() for character in prompt):
            names.setdefault(prompt, name.strip())
    return names


def as_caption(prompts: Sequence[str]) -> str:
    """Join prompts to the caption that Grounding DINO was trained on: "red circle. blue square."."""
    return "".join(f"{prompt}. " for prompt in prompts).rstrip()


def as_photo(prompt: str) -> str:
    """Word a prompt as OWL-ViT's training did, unless the caller has done so."""
    return prompt if prompt.startswith(("a photo of", "an image of", "a picture of")) else f"a photo of a {prompt}"


def spans_of(prompts: Sequence[str], offsets: Sequence[tuple[int, int]]) -> list[list[int]]:
    """Return for each prompt the places of its tokens in the caption of :func:`as_caption`.

    Args:
        prompts: The prompts, in the caption's order.
        offsets: Begin and end of every token in characters of the caption; equal for special tokens.
    """
    spans: list[list[int]] = []
    begin = 0
    for prompt in prompts:
        end = begin + len(prompt)
        spans.append([place for place, (low, high) in enumerate(offsets) if low < high and begin <= low < end])
        begin = end + len(". ")
    return spans
