"""Train the demo vision-language model: a tiny LLaVA that answers questions about drawn shapes.

Run ``python -m training.vlm --dense-minutes 12 --language-minutes 40 --out models/demo/vlm`` (one CPU core is enough).

Trained end to end from nothing, a model of this size finds no way in: what the question needs cannot be read from
random image features, and the features get no useful gradient from random attention. So the work is cut in two.

1. *Dense.* The vision tower alone learns, patch by patch, which colour and shape cover the patch, whether a shape's
   centre lies in it, where that centre is, and the shape's outline around it. After that everything a question can
   ask for is linearly decodable from single patches.
2. *Language.* With the tower frozen, the projector and the language model learn to answer. Many questions share one
   image: they follow it in one sequence, and the attention mask keeps them from seeing each other. Losses that are
   dropped afterwards show where to look (`training/vlm_guides.py`).
"""

from __future__ import annotations

import argparse
import json
import math
import random
from pathlib import Path

import torch
from torch.nn import functional as F  # noqa: N812  # the name that everybody knows it by
from transformers import (
    AutoModelForImageTextToText,
    AutoProcessor,
    LlavaForConditionalGeneration,
    PreTrainedTokenizerFast,
)
from transformers.utils import logging as transformers_logging

from training.vlm_batches import ALL, EASY, Layout, QuestionBatch
from training.vlm_dense import LabelledScene, Trainer, features, stack, train_dense
from training.vlm_guides import Guides
from training.vlm_model import WIDTH, make_model, make_processor, make_tokenizer
from training.vlm_questions import KINDS, held_out


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
    report = 0.08
    while trainer.done < 1:
        layout = layouts["easy" if trainer.done < 0.12 and not resumed else "all"]
        scenes = [LabelledScene(rng) for _ in range(8)]
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
        hidden = tuple(state.float() for state in output.hidden_states)
        facts = guides.facts(hidden[2], asked.nouns)
        looks = guides.looks(text, hidden, layout, asked)
        trainer.step(answers + 0.2 * words + 0.5 * facts + 0.5 * looks)
        if trainer.done >= report:
            report += 0.08
            scores = evaluate_fast(model, tokenizer, layouts["all"])
            print(
                f"language {trainer.done:.2f} step {trainer.steps} answers {answers.item():.3f}"
                f" words {words.item():.3f} facts {facts.item():.3f} looks {looks.item():.3f} {scores}",
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
    asked = held_out(count)
    for chunk in (asked[start : start + 50] for start in range(0, count, 50)):
        turns = [
            [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": question.text}]}]
            for _, question in chunk
        ]
        inputs = processor(
            images=[image for image, _ in chunk],
            text=processor.apply_chat_template(turns, add_generation_prompt=True),
            padding=True,
            return_tensors="pt",
            add_special_tokens=False,
        )
        tokens = model.generate(**inputs, max_new_tokens=4, do_sample=False)[:, inputs["input_ids"].shape[1] :]
        answers = processor.batch_decode(tokens, skip_special_tokens=True)
        for (_, question), answer in zip(chunk, answers, strict=True):
            hits[question.kind].append(answer.strip() == question.answer)
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
    if options.resume:
        tokenizer = AutoProcessor.from_pretrained(options.out).tokenizer
        model = LlavaForConditionalGeneration.from_pretrained(options.out, dtype=torch.float32)
    else:
        tokenizer = make_tokenizer()
        make_processor(tokenizer).save_pretrained(options.out)
        model = make_model(tokenizer)
    print(f"{sum(p.numel() for p in model.parameters())} parameters, {len(tokenizer)} tokens", flush=True)
    if options.vision:
        model.model.vision_tower.load_state_dict(torch.load(options.vision))
    elif not options.resume:
        train_dense(model, 60 * options.dense_minutes, options.out.with_suffix(".vision.pt"))
    train_language(model, tokenizer, 60 * options.language_minutes, options.out, options.resume)
    model.half().save_pretrained(options.out)
    print(json.dumps(evaluate(options.out, options.questions)), flush=True)


if __name__ == "__main__":
    main()
