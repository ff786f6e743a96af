"""Detectors that find what they are asked for by name: Grounding DINO, MM Grounding DINO, OWL-ViT, OWLv2, ..."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from PIL import Image
from transformers import AutoModelForZeroShotObjectDetection, AutoProcessor

from pixano_inference.configs import GroundingDINOParams, ModelParams
from pixano_inference.errors import InvalidInput
from pixano_inference.models.registry import register_model

from .class_names import as_caption, as_photo, spans_of, split_names
from .transformers_detector import Candidates, Query, TransformersDetector


@register_model("GroundingDINOModel")
class GroundingDINOModel(TransformersDetector):
    """Any zero-shot detector of transformers.

    Two families differ in how names meet boxes:

    * Grounding DINO reads all names as one caption, "red circle. blue square.", and scores every word of it for every
      box (Liu et al., 2023, arXiv:2303.05499). A box gets the class whose words score best on average, as in the
      authors' evaluation on COCO, and is kept if one of those words reaches ``text_threshold``.
    * OWL-ViT and OWLv2 (Minderer et al., 2022, arXiv:2205.06230) score each name as a whole, worded as "a photo of a
      red circle"; ``text_threshold`` has no meaning for them.
    """

    params_class: ClassVar[type[ModelParams]] = GroundingDINOParams
    _auto_model = AutoModelForZeroShotObjectDetection
    _auto_processor = AutoProcessor

    def _prepare(self) -> None:
        accepted = inspect.signature(self._processor.post_process_grounded_object_detection).parameters
        self._matches_words = "text_threshold" in accepted
        self._is_owl = self._model.config.model_type in ("owlvit", "owlv2")
        longest = [getattr(self._model.config, "max_text_len", None), self._processor.tokenizer.model_max_length]
        self._longest_text: int = min(limit for limit in longest if limit)

    def _query_to_warm_up(self, image: Image.Image) -> Query:
        return Query(image, *self._check_classes(["object"]), box_threshold=0.5, text_threshold=0.5)

    def _check_classes(self, asked: Sequence[str] | None) -> tuple[tuple[str, ...], tuple[str, ...]]:
        if asked is None:
            raise InvalidInput(
                f"model {self.model_name!r} finds what it is asked for: 'classes' must name at least one thing",
                location=("body", "classes"),
            )
        names = split_names(asked)
        if not names:
            raise InvalidInput("'classes' holds no name, only blanks or punctuation", location=("body", "classes"))
        classes, prompts = tuple(names.values()), tuple(names)
        if self._is_owl:
            prompts = tuple(map(as_photo, prompts))
        texts = [as_caption(prompts)] if self._matches_words else prompts
        longest = max(len(tokens) for tokens in self._processor.tokenizer(list(texts)).input_ids)
        if longest > self._longest_text:
            what = "all classes together" if self._matches_words else "the longest class"
            raise InvalidInput(
                f"{what} make {longest} tokens of text; model {self.model_name!r} reads {self._longest_text}",
                location=("body", "classes"),
            )
        return classes, prompts

    def _detect(self, queries: Sequence[Query]) -> list[Candidates]:
        return self._match_words(queries) if self._matches_words else self._match_names(queries)

    def _match_words(self, queries: Sequence[Query]) -> list[Candidates]:
        """Grounding DINO: one caption per image, a score per word and box."""
        captions = [as_caption(query.prompts) for query in queries]
        inputs = self._processor(
            images=[query.image for query in queries], text=captions, padding=True, return_tensors="pt"
        )
        outputs = self._forward(inputs)
        least = min(query.box_threshold for query in queries)
        # No word passes a threshold of 1, so that the library spends no time on phrases: classes are chosen below.
        found = self._processor.post_process_grounded_object_detection(
            outputs,
            input_ids=inputs["input_ids"],
            threshold=least,
            text_threshold=1.0,
            target_sizes=[query.size for query in queries],
        )
        words = outputs.logits.sigmoid()
        return [
            self._name_boxes(query, caption, boxes, scores[scores.amax(dim=-1) > least])
            for query, caption, boxes, scores in zip(queries, captions, found, words, strict=True)
        ]

    def _name_boxes(self, query: Query, caption: str, found: Any, words: torch.Tensor) -> Candidates:
        """Give each box of one image its class.

        Args:
            query: What was asked.
            caption: How it was put to the model.
            found: The library's ``boxes`` [n, 4] and ``scores`` [n].
            words: Score of every token of the caption, float [n, tokens].
        """
        offsets = self._processor.tokenizer(caption, return_offsets_mapping=True)["offset_mapping"]
        spans = spans_of(query.prompts, offsets)
        mean = torch.stack([words[:, span].mean(dim=1) for span in spans], dim=1)
        best = torch.stack([words[:, span].amax(dim=1) for span in spans], dim=1)
        chosen = mean.argmax(dim=1)
        kept = found["scores"] > query.box_threshold
        kept &= best.gather(1, chosen[:, None])[:, 0] > query.text_threshold
        names = [query.classes[place] for place in chosen[kept].tolist()]
        return Candidates(found["boxes"][kept], found["scores"][kept], names)

    def _match_names(self, queries: Sequence[Query]) -> list[Candidates]:
        """OWL and its like: one score per name and box."""
        # A shorter list is filled with its own last name: transformers' filler is a name of its own, which could win.
        most = max(len(query.prompts) for query in queries)
        prompts = [[*query.prompts, *[query.prompts[-1]] * (most - len(query.prompts))] for query in queries]
        inputs = self._processor(images=[query.image for query in queries], text=prompts, return_tensors="pt")
        found = self._processor.post_process_grounded_object_detection(
            self._forward(inputs),
            threshold=min(query.box_threshold for query in queries),
            target_sizes=[query.size for query in queries],
            text_labels=prompts,
        )
        candidates = []
        for query, boxes in zip(queries, found, strict=True):
            kept = boxes["scores"] > query.box_threshold
            class_of = dict(zip(query.prompts, query.classes, strict=True))
            names = [class_of[text] for text, keep in zip(boxes["text_labels"], kept.tolist(), strict=True) if keep]
            candidates.append(Candidates(boxes["boxes"][kept], boxes["scores"][kept], names))
        return candidates
