"""The built-in segmentation model: SAM2 on images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch

from pixano_inference.configs import ModelConfig, Sam2ImageParams
from pixano_inference.errors import ConfigError, InvalidInput
from pixano_inference.media.image_header import check_image_header
from pixano_inference.models.base import SegmentationModel
from pixano_inference.models.embedding_cache import EmbeddingCache
from pixano_inference.models.pipeline import PipelinedModel
from pixano_inference.models.registry import register_model
from pixano_inference.models.torch_device import cache_limit_bytes
from pixano_inference.schemas import NDArrayFloat, SegmentationInput, SegmentationOutput
from pixano_inference.schemas.media_bytes import media_bytes

from .checkpoint import Precision, checkpoint_revision, is_meta_checkpoint, load_transformers
from .image_network import DecodedPrompt, Features, ImageNetwork, TransformersImageNetwork
from .masks import full_size_mask
from .preprocessing import ImageSize, decode_for_model
from .prompts import Prompt, prompts_of


@dataclass(frozen=True)
class Encoded:
    """An entry of the embedding cache: the features of an image and the size it was sent in."""

    features: Features
    size: ImageSize


@dataclass
class PreparedRequest:
    """A request after :meth:`Sam2ImageModel.preprocess`; exactly one of ``encoded`` and ``pixels`` is set."""

    request: SegmentationInput
    key: str
    size: ImageSize
    prompts: list[Prompt]
    encoded: Encoded | None = None
    pixels: torch.Tensor | None = None


@dataclass(frozen=True)
class SegmentedRequest:
    """A request after :meth:`Sam2ImageModel.infer_batch`."""

    request: SegmentationInput
    size: ImageSize
    decoded: list[DecodedPrompt]
    features: Features | None


@register_model("Sam2ImageModel")
class Sam2ImageModel(PipelinedModel[SegmentationInput, SegmentationOutput], SegmentationModel):
    """SAM2 on images, with transformers' ``Sam2Model`` (``facebook/sam2-hiera-*``, ``facebook/sam2.1-hiera-*``).

    Images of a batch are encoded in one pass and their prompts decoded together. Embeddings are cached by the bytes of
    the image: a second click on an image neither decodes nor encodes it. ``reset_predictor`` changes nothing, since
    there is no predictor that would remember anything from one request to the next.
    """

    params_class = Sam2ImageParams

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        if not isinstance(config.model_params, Sam2ImageParams):
            raise ConfigError(f"model {config.name!r}: Sam2ImageModel takes Sam2ImageParams")
        self.params = config.model_params
        self.network: ImageNetwork | None = None
        self.cache: EmbeddingCache[Encoded] = EmbeddingCache(0)
        self._precision = Precision.of(self.params)
        self._revision = self.params.path

    @property
    def device(self) -> str:
        """Where the model computes."""
        return str(self._precision.device)

    @property
    def metadata(self) -> dict[str, Any]:
        """Device, number type and the counters of the embedding cache."""
        return {
            "device": self.device,
            "dtype": str(self._precision.dtype).removeprefix("torch."),
            "embedding_cache": asdict(self.cache.statistics),
        }

    def load_model(self) -> None:
        """Load the checkpoint and run it once.

        Raises:
            ConfigError: The checkpoint cannot be loaded.
        """
        if is_meta_checkpoint(self.params.path):
            from .meta_checkpoint import load_meta_image_network

            self.network = load_meta_image_network(self.params, self._precision)
        else:
            model, normalization = load_transformers("Sam2Model", self.params, self._precision)
            self._revision = checkpoint_revision(model, self.params.path)
            self.network = TransformersImageNetwork(model, normalization, self._precision, self.params.compile)
        self.network.warm_up()
        self.cache = EmbeddingCache(cache_limit_bytes(self.params.embedding_cache_mb, self._precision.device))

    def _loaded(self) -> ImageNetwork:
        if self.network is None:
            raise RuntimeError("load_model() was not called")
        return self.network

    def preprocess(self, input: SegmentationInput) -> PreparedRequest:
        """Decode the image, unless its embedding is known, and scale the prompts.

        Raises:
            InvalidInput: The image, a prompt or an array cannot be used.
        """
        network = self._loaded()
        if input.multimask_output and input.num_multimask_outputs != 3:
            raise InvalidInput(
                f"num_multimask_outputs must be 3 with multimask_output, got {input.num_multimask_outputs}",
                location=("body", "num_multimask_outputs"),
            )
        image = media_bytes(input.image)
        key = f"{self._revision}:{image.digest}"
        pixels: torch.Tensor | None = None
        if input.image_embedding is not None and input.high_resolution_features is not None:
            size = ImageSize(*check_image_header(image.data))
            features = _features_sent(network, input.image_embedding, input.high_resolution_features)
            encoded: Encoded | None = Encoded(features, size)
        else:
            encoded = self.cache.get(key)
            if encoded is not None:
                size = encoded.size
            else:
                pixels, size = decode_for_model(image.data, network.side)
        prompts = prompts_of(input, size, network.side, network.mask_side)
        return PreparedRequest(input, key, size, prompts, encoded, pixels)

    def infer_batch(self, prepared: Sequence[PreparedRequest]) -> list[SegmentedRequest]:
        """Encode the images that are not known yet in one pass, then decode all prompts in as few as possible."""
        network = self._loaded()
        self._encode_new(network, prepared)
        answers: list[list[DecodedPrompt]] = [[] for _ in prepared]
        for multimask in (True, False):
            rows = [
                (index, item.encoded.features, prompt)
                for index, item in enumerate(prepared)
                if item.request.multimask_output == multimask and item.encoded is not None
                for prompt in item.prompts
            ]
            if rows:
                decoded = network.decode([f for _, f, _ in rows], [p for _, _, p in rows], multimask)
                for (index, _, _), answer in zip(rows, decoded, strict=True):
                    answers[index].append(answer)
        return [
            SegmentedRequest(
                item.request,
                item.size,
                answer,
                item.encoded.features if item.encoded is not None and item.request.return_image_embedding else None,
            )
            for item, answer in zip(prepared, answers, strict=True)
        ]

    def _encode_new(self, network: ImageNetwork, prepared: Sequence[PreparedRequest]) -> None:
        new: dict[str, PreparedRequest] = {}
        for item in prepared:
            # looked up again: another request may have encoded the same image since
            if item.encoded is None and item.key not in new and (known := self.cache.get(item.key)) is not None:
                item.encoded = known
            elif item.encoded is None and item.pixels is not None:
                new.setdefault(item.key, item)
        if not new:
            return
        pixels = torch.stack([item.pixels for item in new.values() if item.pixels is not None])
        fresh: dict[str, Encoded] = {}
        for item, features in zip(new.values(), network.encode(pixels), strict=True):
            fresh[item.key] = Encoded(features, item.size)
            self.cache.missed()
            self.cache.put(item.key, fresh[item.key], features.size_bytes)
        for item in prepared:
            if item.encoded is None:
                item.encoded = fresh[item.key]
            item.pixels = None

    def postprocess(self, raw: SegmentedRequest) -> SegmentationOutput:
        """Bring the masks to the size of the image and compress them."""
        logits = torch.stack([answer.logits for answer in raw.decoded])
        scores = torch.stack([answer.scores for answer in raw.decoded])
        return SegmentationOutput(
            masks=[[full_size_mask(mask, raw.size) for mask in candidates] for candidates in logits],
            scores=NDArrayFloat.from_torch(scores),
            image_embedding=NDArrayFloat.from_torch(raw.features.embedding) if raw.features else None,
            high_resolution_features=(
                [NDArrayFloat.from_torch(raw.features.fine), NDArrayFloat.from_torch(raw.features.middle)]
                if raw.features
                else None
            ),
            mask_logits=NDArrayFloat.from_torch(logits) if raw.request.return_logits else None,
        )

    def free_memory(self) -> None:
        """Drop the cached embeddings and torch's unused blocks."""
        self.cache.clear()
        if self._precision.device.type == "cuda":
            torch.cuda.empty_cache()

    def unload(self) -> None:
        """Free the model."""
        self.network = None
        self.free_memory()


def _features_sent(network: ImageNetwork, embedding: NDArrayFloat, features: list[NDArrayFloat]) -> Features:
    """Return a caller's arrays as features.

    Raises:
        InvalidInput: They are not of this model's shapes.
    """
    fine, middle, coarse = network.embedding_shapes
    if len(features) != 2:
        raise InvalidInput(
            f"high_resolution_features must hold 2 arrays, {list(fine)} and {list(middle)}, got {len(features)}",
            location=("body", "high_resolution_features"),
        )
    tensors: list[torch.Tensor] = []
    for name, array, shape in (
        ("image_embedding", embedding, coarse),
        ("high_resolution_features[0]", features[0], fine),
        ("high_resolution_features[1]", features[1], middle),
    ):
        # a leading axis of one is SAM2's batch axis
        if tuple(array.shape) not in (shape, (1, *shape)):
            raise InvalidInput(f"{name} must be of shape {list(shape)}, got {array.shape[:6]}")
        tensors.append(array.to_torch().reshape(shape))
    return Features(fine=tensors[1], middle=tensors[2], embedding=tensors[0])
