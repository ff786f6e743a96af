"""From a request to what a processor takes: one text with image marks, and the images in their order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from PIL import Image

from pixano_inference.errors import InvalidInput
from pixano_inference.media.images import decode_image
from pixano_inference.schemas import ChatMessage, VLMInput
from pixano_inference.schemas.media_bytes import media_bytes
from pixano_inference.schemas.vlm import ImagePart

Turn = dict[str, Any]
"""One message in the form chat templates take: ``role``, and ``content`` as a list of text and image parts."""

TURN_NAMES: dict[str, dict[str, str]] = {
    "llava": {"system": "", "user": "USER: ", "assistant": "ASSISTANT: "},
    "vipllava": {"system": "", "user": "###Human: ", "assistant": "###Assistant: "},
}
"""How the families whose older checkpoints come without a chat template were trained to see who speaks."""


@dataclass(frozen=True)
class Prompt:
    """A prompt as the processor takes it.

    Attributes:
        text: The text, with the model's image mark once per image.
        images: The images in the order of their marks, RGB.
        templated: Whether ``text`` comes from a chat template, which writes the first special tokens itself.
    """

    text: str
    images: list[Image.Image]
    templated: bool


@dataclass(frozen=True)
class PromptFormat:
    """How one checkpoint wants its prompts.

    Attributes:
        image_mark: The text that stands for an image, or null where the processor needs none.
        chat_template: Renders turns to text and opens the answer; null where the checkpoint has no template.
        model_type: The family, for `TURN_NAMES`.
    """

    image_mark: str | None
    chat_template: Callable[[list[Turn]], str] | None
    model_type: str

    def read(self, request: VLMInput) -> Prompt:
        """Build the prompt of a request.

        A string prompt that already holds the image mark once per image is taken as formatted by the caller. Any
        other string is a question about the images, which come first.

        Raises:
            InvalidInput: An image cannot be decoded, a string prompt has no images, or marks, parts and images
                disagree in number.
        """
        if isinstance(request.prompt, str):
            return self._read_string(request.prompt, request.images or [])
        turns, media = _read_messages(request.prompt, request.images)
        for turn in turns:
            for part in turn["content"]:
                self._refuse_mark(part.get("text", ""))
        return self._render(turns, media)

    def _read_string(self, text: str, media: list[str]) -> Prompt:
        if not media:
            raise InvalidInput("a string prompt needs at least one image in images", location=("body", "images"))
        marks = text.count(self.image_mark) if self.image_mark else 0
        if marks and marks != len(media):
            raise InvalidInput(
                f"the prompt holds the image mark {self.image_mark!r} {marks} times, but images has {len(media)}",
                location=("body", "prompt"),
            )
        if marks:
            return Prompt(text, [_decode(medium) for medium in media], templated=False)
        turn = {"role": "user", "content": [*({"type": "image"} for _ in media), {"type": "text", "text": text}]}
        return self._render([turn], media)

    def _refuse_mark(self, text: str) -> None:
        if self.image_mark and self.image_mark in text:
            raise InvalidInput(
                f"the text of a message holds {self.image_mark!r}, which stands for an image in this model: "
                "send images as image_url parts",
                location=("body", "prompt"),
            )

    def _render(self, turns: list[Turn], media: list[str]) -> Prompt:
        images = [_decode(medium) for medium in media]
        if self.chat_template is None:
            return Prompt(self._plain(turns), images, templated=False)
        return Prompt(self.chat_template(turns), images, templated=True)

    def _plain(self, turns: list[Turn]) -> str:
        names = TURN_NAMES.get(self.model_type, {})
        lines = []
        for turn in turns:
            marks = (self.image_mark or "") * sum(part["type"] == "image" for part in turn["content"])
            text = " ".join(part["text"] for part in turn["content"] if part["type"] == "text")
            lines.append(names.get(turn["role"], "") + (f"{marks}\n{text}" if marks and names else marks + text))
        return " ".join([*lines, names["assistant"].strip()] if names else lines)


def _decode(medium: str) -> Image.Image:
    return decode_image(media_bytes(medium).data)


def _read_messages(messages: list[ChatMessage], images: list[str] | None) -> tuple[list[Turn], list[str]]:
    """Return the turns and the media in the order of their parts."""
    turns: list[Turn] = []
    media: list[str] = []
    for message in messages:
        content: list[dict[str, str]] = []
        parts = message.content if isinstance(message.content, list) else []
        if isinstance(message.content, str):
            content.append({"type": "text", "text": message.content})
        for part in parts:
            if isinstance(part, ImagePart):
                media.append(part.image_url.url)
                content.append({"type": "image"})
            else:
                content.append({"type": "text", "text": part.text})
        turns.append({"role": message.role, "content": content})
    if not images:
        return turns, media
    if media:
        raise InvalidInput(
            f"the messages hold {len(media)} image parts and images holds {len(images)} more: send them in one place",
            location=("body", "images"),
        )
    asked = next((turn for turn in turns if turn["role"] == "user"), None)
    if asked is None:
        raise InvalidInput("images need a message of the role user", location=("body", "prompt"))
    asked["content"][:0] = [{"type": "image"} for _ in images]
    return turns, list(images)
