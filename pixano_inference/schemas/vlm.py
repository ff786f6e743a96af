"""Vision-language models: a prompt and images in, text out."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from .base import FiniteFloat, Schema
from .media_bytes import MediaString


class TextPart(Schema):
    """A piece of text in a chat message."""

    type: Literal["text"]
    text: str


class ImageUrl(Schema):
    """Where the image of a part is."""

    url: MediaString


class ImagePart(Schema):
    """An image in a chat message."""

    type: Literal["image_url"]
    image_url: ImageUrl


ContentPart = Annotated[TextPart | ImagePart, Field(discriminator="type")]


class ChatMessage(Schema):
    """One turn of a conversation."""

    role: Literal["system", "user", "assistant"]
    content: str | list[ContentPart]


class VLMInput(Schema):
    """What a vision-language model receives.

    Attributes:
        prompt: A question, or a conversation whose parts may hold images.
        images: The images of a string prompt; null where the messages hold them.
        max_new_tokens: Most tokens to generate.
        temperature: 0 is greedy; above it, sampling.
    """

    prompt: Annotated[str, Field(min_length=1)] | Annotated[list[ChatMessage], Field(min_length=1)]
    images: list[MediaString] | None = None
    max_new_tokens: Annotated[int, Field(ge=1)]
    temperature: Annotated[FiniteFloat, Field(ge=0.0)] = 1.0

    @model_validator(mode="after")
    def _has_images(self) -> Self:
        if isinstance(self.prompt, str) and not self.images:
            raise ValueError("a string prompt needs images")
        return self


class VLMRequest(VLMInput):
    """Body of ``POST /inference/vlm/``; ``model`` names a deployed model."""

    model: str


class Usage(Schema):
    """Token counts of one generation; the prompt's include those of its images."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class VLMOutput(Schema):
    """What a vision-language model answers."""

    generated_text: str
    usage: Usage
    generation_config: dict[str, Any]
