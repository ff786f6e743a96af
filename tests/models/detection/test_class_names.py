"""Class names reach each model worded as it was trained, and come back as the caller wrote them."""

from __future__ import annotations

import pytest

from pixano_inference.models.detection.class_names import as_caption, as_photo, spans_of, split_names


@pytest.mark.parametrize(
    ("asked", "prompts"),
    [
        (["Red Circle", "blue  square "], ["red circle", "blue square"]),
        (["a cat. a dog."], ["a cat", "a dog"]),
        (["St. Bernard", "cat"], ["st bernard", "cat"]),
        (["cat", "Cat", "CAT."], ["cat"]),
        (["what?", "café"], ["what", "café"]),
        (["...", " ", "?!"], []),
    ],
)
def test_prompts_are_lower_case_without_phrase_ends(asked: list[str], prompts: list[str]) -> None:
    assert list(split_names(asked)) == prompts


def test_the_callers_spelling_is_kept() -> None:
    assert split_names(["  Red Circle. ", "red circle", "STAR"]) == {"red circle": "Red Circle.", "star": "STAR"}


def test_caption_is_the_one_grounding_dino_was_trained_on() -> None:
    assert as_caption(["red circle", "blue square"]) == "red circle. blue square."


def test_owl_prompts_are_photos_once() -> None:
    assert as_photo("red circle") == "a photo of a red circle"
    assert as_photo("a photo of two cats") == "a photo of two cats"


def test_spans_hold_the_tokens_of_their_own_class_and_no_stop() -> None:
    # [CLS] red circle . red skate ##board . [SEP]
    offsets = [(0, 0), (0, 3), (4, 10), (10, 11), (12, 15), (16, 21), (21, 26), (26, 27), (0, 0)]
    assert spans_of(["red circle", "red skateboard"], offsets) == [[1, 2], [4, 5, 6]]
