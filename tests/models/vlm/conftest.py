"""Tiny vision-language models with random weights, written to disk and loaded as any checkpoint is."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from pixano_inference.configs import ModelConfig, TransformersVLMParams
from pixano_inference.schemas.media_bytes import ImageBytes

IMAGE_MARK = "<image>"
TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}<|{{ message['role'] }}|>{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<image>{% else %}{{ part['text'] }}{% endif %}{% endfor %}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def solid(color: str, width: int = 40, height: int = 56) -> ImageBytes:
    """A PNG of one colour."""
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), color).save(buffer, "PNG")
    return ImageBytes(buffer.getvalue())


def byte_tokenizer(*marks: str) -> Any:
    """A fast tokenizer of single bytes."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    special = ["<pad>", "<s>", "</s>", IMAGE_MARK, "<|user|>", "<|assistant|>", "<|system|>", *marks]
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: number for number, token in enumerate([*special, *letters])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.add_special_tokens(special)
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        extra_special_tokens={"image_token": IMAGE_MARK},
        clean_up_tokenization_spaces=False,
    )


def text_config(tokenizer: Any) -> Any:
    """A Llama of two narrow layers."""
    from transformers import LlamaConfig

    return LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=512,
        # Weights of the usual size would make every answer one token repeated.
        initializer_range=0.2,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )


def save_llava(folder: Path) -> None:
    """LLaVA: 16 image tokens per image."""
    from transformers import (
        CLIPImageProcessorPil,
        CLIPVisionConfig,
        LlavaConfig,
        LlavaForConditionalGeneration,
        LlavaProcessor,
    )

    tokenizer = byte_tokenizer()
    vision = CLIPVisionConfig(
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=32,
        patch_size=8,
        initializer_range=0.2,
    )
    config = LlavaConfig(vision_config=vision, text_config=text_config(tokenizer), image_token_index=3)
    LlavaForConditionalGeneration(config).save_pretrained(folder)
    size = {"height": 32, "width": 32}
    LlavaProcessor(
        CLIPImageProcessorPil(size=size, crop_size=size),
        tokenizer,
        patch_size=8,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=TEMPLATE,
    ).save_pretrained(folder)


def save_llava_next(folder: Path) -> None:
    """LLaVA-NeXT: the number of image tokens depends on the shape of the image."""
    from transformers import (
        CLIPVisionConfig,
        LlavaNextConfig,
        LlavaNextForConditionalGeneration,
        LlavaNextImageProcessorPil,
        LlavaNextProcessor,
    )

    tokenizer = byte_tokenizer()
    vision = CLIPVisionConfig(
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=32,
        patch_size=8,
        initializer_range=0.2,
    )
    tiles = [[32, 64], [64, 32], [64, 64]]
    config = LlavaNextConfig(
        vision_config=vision,
        text_config=text_config(tokenizer),
        image_token_index=3,
        image_grid_pinpoints=tiles,
        image_seq_length=16,
    )
    LlavaNextForConditionalGeneration(config).save_pretrained(folder)
    images = LlavaNextImageProcessorPil(
        size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}, image_grid_pinpoints=tiles
    )
    LlavaNextProcessor(
        images,
        tokenizer,
        patch_size=8,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=TEMPLATE,
    ).save_pretrained(folder)


def save_idefics3(folder: Path) -> None:
    """Idefics3, SmolVLM's architecture: images are split into tiles, marked in the prompt."""
    from transformers import (
        Idefics3Config,
        Idefics3ForConditionalGeneration,
        Idefics3ImageProcessorPil,
        Idefics3Processor,
        Idefics3VisionConfig,
    )

    tokenizer = byte_tokenizer("<fake_token_around_image>", "<global-img>", "<end_of_utterance>")
    vision = Idefics3VisionConfig(
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=32,
        patch_size=8,
        initializer_range=0.2,
    )
    config = Idefics3Config(
        vision_config=vision, text_config=text_config(tokenizer), scale_factor=2, image_token_id=3, pad_token_id=0
    )
    Idefics3ForConditionalGeneration(config).save_pretrained(folder)
    images = Idefics3ImageProcessorPil(size={"longest_edge": 64}, max_image_size={"longest_edge": 32})
    Idefics3Processor(images, tokenizer, image_seq_len=4, chat_template=TEMPLATE).save_pretrained(folder)


FAMILIES: dict[str, Callable[[Path], None]] = {
    "llava": save_llava,
    "llava_next": save_llava_next,
    "idefics3": save_idefics3,
}


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Folder of a family's tiny checkpoint, written once."""
    import torch

    torch.set_num_threads(1)
    folders: dict[str, Path] = {}

    def get(family: str) -> Path:
        if family not in folders:
            torch.manual_seed(0)
            folders[family] = tmp_path_factory.mktemp(family)
            FAMILIES[family](folders[family])
        return folders[family]

    return get


@pytest.fixture(scope="session")
def load(checkpoint: Callable[[str], Path]) -> Callable[[str], Any]:
    """A family's model, loaded once."""
    from pixano_inference.models.vlm.transformers_model import TransformersVLMModel

    loaded: dict[str, TransformersVLMModel] = {}

    def get(family: str) -> TransformersVLMModel:
        if family not in loaded:
            params = TransformersVLMParams(path=str(checkpoint(family)), local_files_only=True, device="cpu")
            model = TransformersVLMModel(
                ModelConfig(name=family, model_class="TransformersVLMModel", model_params=params)
            )
            model.load_model()
            loaded[family] = model
        return loaded[family]

    return get
