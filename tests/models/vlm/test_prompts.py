"""From requests to prompts: where the image marks go, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from pixano_inference.errors import InvalidInput
from pixano_inference.models.vlm.prompts import PromptFormat, Turn
from pixano_inference.schemas import VLMInput
from pixano_inference.schemas.media_bytes import ImageBytes

from .conftest import solid


def show(turns: list[Turn]) -> str:
    """A chat template that shows what it was given."""
    return "".join(
        f"[{turn['role']}]" + "".join("<image>" if p["type"] == "image" else p["text"] for p in turn["content"])
        for turn in turns
    )


CHAT = PromptFormat(image_mark="<image>", chat_template=show, model_type="any")


def request(prompt: Any, images: list[ImageBytes] | None = None) -> VLMInput:
    return VLMInput(prompt=prompt, images=images, max_new_tokens=4)


def picture(color: str) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": solid(color)}}


def test_a_question_follows_its_images() -> None:
    prompt = CHAT.read(request("What?", [solid("red"), solid("blue")]))
    assert prompt.text == "[user]<image><image>What?"
    assert [image.getpixel((0, 0)) for image in prompt.images] == [(255, 0, 0), (0, 0, 255)]


def test_a_string_with_its_own_marks_is_taken_as_formatted() -> None:
    prompt = CHAT.read(request("USER: <image>\nWhat? ASSISTANT:", [solid("red")]))
    assert (prompt.text, prompt.templated) == ("USER: <image>\nWhat? ASSISTANT:", False)


def test_image_parts_keep_their_place() -> None:
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "Is"}, picture("red"), {"type": "text", "text": "it"}]},
        {"role": "assistant", "content": "Yes."},
        {"role": "user", "content": [picture("blue"), {"type": "text", "text": "And this?"}]},
    ]
    prompt = CHAT.read(request(messages))
    assert prompt.text == "[system]Be brief.[user]Is<image>it[assistant]Yes.[user]<image>And this?"
    assert [image.getpixel((0, 0)) for image in prompt.images] == [(255, 0, 0), (0, 0, 255)]


def test_images_beside_messages_without_parts_come_first() -> None:
    prompt = CHAT.read(request([{"role": "user", "content": "What?"}], [solid("red")]))
    assert prompt.text == "[user]<image>What?"


def test_a_conversation_needs_no_image() -> None:
    assert CHAT.read(request([{"role": "user", "content": "Hello"}])).images == []


@pytest.mark.parametrize(
    ("model_type", "text"),
    [
        ("llava", "USER: <image>\nWhat? ASSISTANT:"),
        ("something_else", "<image>What?"),
    ],
)
def test_without_a_template_the_prompt_is_the_familys_own(model_type: str, text: str) -> None:
    plain = PromptFormat(image_mark="<image>", chat_template=None, model_type=model_type)
    assert plain.read(request("What?", [solid("red")])).text == text


@pytest.mark.parametrize(
    ("prompt", "images", "message"),
    [
        ("<image> and <image>?", [solid("red")], "2 times, but images has 1"),
        ([{"role": "user", "content": "<image>?"}], None, "stands for an image"),
        ([{"role": "user", "content": [picture("red")]}], [solid("red")], "send them in one place"),
        ([{"role": "system", "content": "Hello"}], [solid("red")], "role user"),
        ("What?", [ImageBytes(b"not an image")], "cannot be decoded"),
    ],
    ids=["more marks than images", "mark in a message", "images in two places", "nobody asks", "broken image"],
)
def test_what_does_not_fit_is_refused(prompt: Any, images: list[ImageBytes] | None, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        CHAT.read(request(prompt, images))


def test_a_string_without_images_is_refused() -> None:
    unchecked = VLMInput.model_construct(prompt="What?", images=None, max_new_tokens=4, temperature=0.0)
    with pytest.raises(InvalidInput, match="at least one image"):
        CHAT.read(unchecked)
