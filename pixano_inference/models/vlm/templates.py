"""How a checkpoint wants its prompts, read from its processor."""

from __future__ import annotations

from typing import Any

from jinja2 import TemplateError

from pixano_inference.errors import InvalidInput

from .prompts import PromptFormat, Turn


def prompt_format(processor: Any, model_type: str) -> PromptFormat:
    """Return the prompt format of a checkpoint.

    Args:
        processor: What ``AutoProcessor`` loaded.
        model_type: The family, as the checkpoint's ``config.json`` names it.
    """

    def render(turns: list[Turn]) -> str:
        try:
            return str(processor.apply_chat_template(turns, add_generation_prompt=True, tokenize=False))
        except TemplateError as error:
            # Templates refuse in words meant for people: "roles must alternate".
            raise InvalidInput(
                f"the model's chat template refuses this conversation: {error}", location=("body", "prompt")
            ) from error

    tokenizer = getattr(processor, "tokenizer", processor)
    return PromptFormat(
        image_mark=getattr(processor, "image_token", None) or getattr(tokenizer, "image_token", None),
        chat_template=render if getattr(processor, "chat_template", None) else None,
        model_type=model_type,
    )
