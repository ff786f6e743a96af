"""Train the demo vision-language model: a tiny LLaVA that answers questions about drawn shapes.

Run ``python -m training.vlm --dense-minutes 12 --language-minutes 40 --out models/demo/vlm`` (one CPU core is enough).

Trained end to end from nothing, a model of this size finds no way in: what the question needs cannot be read from
random image features, and the features get no useful gradient from random attention. So the work is cut in two.

1. *Dense.* The vision tower alone learns, patch by patch, which colour and shape cover the patch, whether a shape's
   centre lies in it, where that centre is, and the shape's outline around it. After that everything a question can
   ask for is linearly decodable from single patches.
2. *Language.* With the tower frozen, the projector and the language model learn to answer. Many questions share one
   image: they follow it in one sequence, and the attention mask keeps them from seeing each other. Two extra losses
   point the way and are dropped afterwards: an image token must match the embeddings of its own colour and shape
   words, and the place where a question names a shape must tell where that shape is.
"""

from __future__ import annotations

import argparse
import json
import math
import random
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from transformers import (
    AutoModelForImageTextToText,
    AutoProcessor,
    LlavaForConditionalGeneration,
    PreTrainedTokenizerFast,
)
from transformers.utils import logging as transformers_logging

from training.vlm_dense import COLOR_WORDS, SHAPE_WORDS, LabelledScene, Trainer, features, stack, train_dense
from training.vlm_model import CELLS, WIDTH, make_model, make_processor, make_tokenizer
from training.vlm_questions import KINDS, Question, ask, held_out

# What one image is asked in one sequence: kind of question and room for it in tokens, answer included.
EASY = [("color", 9), ("color", 9), ("shape", 9), ("shape", 9), ("exists", 9), ("exists", 9), ("count", 9)]
ALL = [("color", 9), ("shape", 9), ("exists", 9), ("count", 9), ("count", 9), ("count", 9)] + [("side", 14)] * 4


class Layout:
    """Where the questions of one sequence lie: a shared image, then segments that cannot see each other."""

    def __init__(self, slots: list[tuple[str, int]]) -> None:
        """Compute positions [1, length] and the mask [1, 1, length, length] (True: may attend)."""
        self.slots = slots
        self.prefix = CELLS + 2
        segment = [0] * self.prefix
        position = list(range(self.prefix))
        self.starts = []
        for number, (_, room) in enumerate(slots):
            self.starts.append(len(segment))
            segment += [number + 1] * room
            position += list(range(self.prefix, self.prefix + room))
        owner, order = torch.tensor(segment), torch.arange(len(segment))
        same = (owner[:, None] == owner[None]) | (owner[None] == 0)
        self.mask = (same & (order[:, None] >= order[None]))[None, None]
        self.positions = torch.tensor(position)[None]


class QuestionBatch:
    """Token ids, targets and the places where questions name a shape."""

    def __init__(
        self, scenes: list[LabelledScene], layout: Layout, tokenizer: PreTrainedTokenizerFast, rng: random.Random
    ):
        """Ask every scene one question per slot of the layout."""
        size, length = len(scenes), layout.positions.shape[1]
        self.ids = torch.zeros(size, length, dtype=torch.long)
        self.targets = torch.full((size, length), -100)
        self.ids[:, 0] = tokenizer.bos_token_id
        self.ids[:, 1] = tokenizer.convert_tokens_to_ids("<|user|>")
        named: list[tuple[int, int, float, float]] = []
        for row, scene in enumerate(scenes):
            left = ask(scene.shapes, rng)
            for (kind, room), start in zip(layout.slots, layout.starts, strict=True):
                question = next((q for q in left if q.kind == kind), None)
                if question is None:
                    continue
                left.remove(question)
                named += self._write(row, start, room, question, tokenizer)
        self.named = named

    def _write(
        self, row: int, start: int, room: int, question: Question, tokenizer: PreTrainedTokenizerFast
    ) -> Iterator[tuple[int, int, float, float]]:
        asked = [*_encode(tokenizer, question.text), tokenizer.convert_tokens_to_ids("<|assistant|>")]
        answer = _encode(tokenizer, question.answer)
        whole = asked + answer
        assert len(whole) <= room, (question, len(whole))
        self.ids[row, start : start + len(whole)] = torch.tensor(whole)
        shifted = [*answer, tokenizer.eos_token_id]
        first = start + len(asked) - 1
        self.targets[row, first : first + len(shifted)] = torch.tensor(shifted)
        shape_ids = {_encode(tokenizer, s)[0] for s in SHAPE_WORDS}
        spots = [i for i, token in enumerate(asked) if token in shape_ids]
        for spot, subject in zip(spots, question.subjects, strict=False):
            yield row, start + spot, subject.x, subject.y


_CODES: dict[str, list[int]] = {}


def _encode(tokenizer: PreTrainedTokenizerFast, text: str) -> list[int]:
    if text not in _CODES:
        _CODES[text] = tokenizer.encode(text, add_special_tokens=False)
    return _CODES[text]


class Guides(nn.Module):
    """The extra losses of phase 2, not part of the model."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        """Remember the ids of the words."""
        super().__init__()
        self.place = nn.Linear(WIDTH, 2)
        self.color_ids = torch.tensor([_encode(tokenizer, w)[0] for w in COLOR_WORDS])
        self.shape_ids = torch.tensor([_encode(tokenizer, w)[0] for w in SHAPE_WORDS])

    def words(self, projected: Tensor, embedding: Tensor, batch: dict[str, Tensor]) -> Tensor:
        """Image tokens must match the embeddings of their own colour and shape."""
        loss = projected.new_zeros(())
        for ids, label in ((self.color_ids, batch["color"]), (self.shape_ids, batch["shape"])):
            words = F.normalize(embedding[ids], dim=-1)
            logits = 12 * F.normalize(projected, dim=-1) @ words.T
            loss = loss + F.cross_entropy(logits.flatten(0, 1), label.flatten() - 1, ignore_index=-1)
        return loss

    def places(self, hidden: Tensor, named: list[tuple[int, int, float, float]]) -> Tensor:
        """Where a question names a shape, the hidden state must tell its centre."""
        rows, spots = torch.tensor([n[0] for n in named]), torch.tensor([n[1] for n in named])
        wanted = torch.tensor([n[2:] for n in named])
        return (self.place(hidden[rows, spots]) - wanted).abs().sum(-1).mean()


def _start(model: LlavaForConditionalGeneration) -> None:
    """Give projector and embeddings a common scale before phase 2."""
    text, projector = model.model.language_model, model.model.multi_modal_projector
    with torch.no_grad():
        scale = features(model, stack([LabelledScene(random.Random(i)) for i in range(64)])["pixels"]).float().std()
        projector.linear_1.weight.normal_(0, 1 / math.sqrt(WIDTH)).div_(scale)
        projector.linear_2.weight.normal_(0, 1 / math.sqrt(WIDTH))
        text.embed_tokens.weight.normal_(0, 0.5)
        model.lm_head.weight.zero_()


def train_language(
    model: LlavaForConditionalGeneration, tokenizer: PreTrainedTokenizerFast, seconds: float, out: Path, resumed: bool
) -> None:
    """Phase 2: projector and language model learn to answer; the vision tower is frozen."""
    tower, text, projector = model.model.vision_tower, model.model.language_model, model.model.multi_modal_projector
    tower.requires_grad_(False)
    guides = Guides(tokenizer)
    if not resumed:
        _start(model)
    trainer = Trainer(
        [text.layers], [text.embed_tokens, text.norm, model.lm_head, projector, guides], 0.02, 2e-3, seconds
    )
    rng = random.Random("resumed" if resumed else "language")
    layouts = {"easy": Layout(EASY), "all": Layout(ALL)}
    report = 0.03
    while trainer.done < 1:
        layout = layouts["easy" if trainer.done < 0.12 and not resumed else "all"]
        scenes = [LabelledScene(rng) for _ in range(12)]
        batch = stack(scenes)
        asked = QuestionBatch(scenes, layout, tokenizer, rng)
        with torch.no_grad():
            seen = features(model, batch["pixels"]).float()
        projected = projector(seen)
        embedded = text.embed_tokens(asked.ids)
        embedded = torch.cat([embedded[:, :2], projected, embedded[:, layout.prefix :]], 1)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            output = text(
                inputs_embeds=embedded,
                attention_mask=layout.mask.expand(len(scenes), -1, -1, -1),
                position_ids=layout.positions.expand(len(scenes), -1),
                use_cache=False,
                output_hidden_states=True,
            )
        answered = asked.targets >= 0
        answers = F.cross_entropy(model.lm_head(output.last_hidden_state[answered].float()), asked.targets[answered])
        words = guides.words(projected, text.embed_tokens.weight, batch)
        places = guides.places(output.hidden_states[2].float(), asked.named) if asked.named else answers.new_zeros(())
        trainer.step(answers + 0.2 * words + places)
        if trainer.done >= report:
            report += 0.08
            scores = evaluate_fast(model, tokenizer, layouts["all"])
            print(
                f"language {trainer.done:.2f} step {trainer.steps} answers {answers.item():.3f}"
                f" words {words.item():.3f} places {places.item():.3f} {scores}",
                flush=True,
            )
            model.save_pretrained(out)


@torch.no_grad()
def evaluate_fast(
    model: LlavaForConditionalGeneration, tokenizer: PreTrainedTokenizerFast, layout: Layout
) -> dict[str, float]:
    """Share of answer words right, per kind, on scenes kept apart; many questions at a time, as in training."""
    scenes = [LabelledScene(random.Random(f"check {i}")) for i in range(32)]
    asked = QuestionBatch(scenes, layout, tokenizer, random.Random("check"))
    projected = model.model.multi_modal_projector(features(model, stack(scenes)["pixels"]).float())
    text = model.model.language_model
    embedded = text.embed_tokens(asked.ids)
    embedded = torch.cat([embedded[:, :2], projected, embedded[:, layout.prefix :]], 1)
    hidden = text(
        inputs_embeds=embedded,
        attention_mask=layout.mask.expand(len(scenes), -1, -1, -1),
        position_ids=layout.positions.expand(len(scenes), -1),
        use_cache=False,
    ).last_hidden_state
    right = model.lm_head(hidden).argmax(-1) == asked.targets
    scores = {}
    for kind in KINDS:
        hits = []
        for (slot, room), start in zip(layout.slots, layout.starts, strict=True):
            piece = asked.targets[:, start : start + room]
            # The answer is the target that is not the end mark.
            words = (piece >= 0) & (piece != tokenizer.eos_token_id)
            if slot == kind:
                hits.append(right[:, start : start + room][words])
        scores[kind] = round(torch.cat(hits).float().mean().item(), 3)
    return scores


@torch.no_grad()
def evaluate(folder: Path, count: int) -> dict[str, float]:
    """Greedy answers through the ordinary loading path to ``count`` held-out questions; share right per kind."""
    processor = AutoProcessor.from_pretrained(folder)
    model = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32).eval()
    hits: dict[str, list[bool]] = {kind: [] for kind in KINDS}
    for image, question in held_out(count):
        content = [{"type": "image"}, {"type": "text", "text": question.text}]
        prompt = processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
        inputs = processor(images=[image], text=prompt, return_tensors="pt", add_special_tokens=False)
        tokens = model.generate(**inputs, max_new_tokens=6, do_sample=False)[0, inputs["input_ids"].shape[1] :]
        hits[question.kind].append(processor.decode(tokens, skip_special_tokens=True).strip() == question.answer)
    scores = {kind: round(sum(h) / len(h), 4) for kind, h in hits.items()}
    everything = [hit for h in hits.values() for hit in h]
    return scores | {"all": round(sum(everything) / len(everything), 4), "questions": len(everything)}


def main() -> None:
    """Train, export and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dense-minutes", type=float, default=12)
    parser.add_argument("--language-minutes", type=float, default=40)
    parser.add_argument("--vision", type=Path, help="weights of the vision tower of an earlier run: skips phase 1")
    parser.add_argument("--resume", action="store_true", help="begin phase 2 with the weights that lie in --out")
    parser.add_argument("--questions", type=int, default=1000, help="held-out questions asked at the end")
    parser.add_argument("--out", type=Path, default=Path("models/demo/vlm"))
    options = parser.parse_args()
    transformers_logging.disable_progress_bar()
    torch.manual_seed(0)
    torch.set_num_threads(1)
    options.out.mkdir(parents=True, exist_ok=True)
    tokenizer = make_tokenizer()
    model = make_model(tokenizer)
    print(f"{sum(p.numel() for p in model.parameters())} parameters, {len(tokenizer)} tokens", flush=True)
    make_processor(tokenizer).save_pretrained(options.out)
    if options.resume:
        model = LlavaForConditionalGeneration.from_pretrained(options.out, dtype=torch.float32)
    elif options.vision:
        model.model.vision_tower.load_state_dict(torch.load(options.vision))
    else:
        train_dense(model, 60 * options.dense_minutes, options.out.with_suffix(".vision.pt"))
    train_language(model, tokenizer, 60 * options.language_minutes, options.out, options.resume)
    model.half().save_pretrained(options.out)
    print(json.dumps(evaluate(options.out, options.questions)), flush=True)


if __name__ == "__main__":
    main()
