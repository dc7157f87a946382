"""Measures the bundled model by the ordinary path and writes its model card.

``python -m samples.making.evaluate`` loads a folder with AutoProcessor and
AutoModelForImageTextToText in float32 on the CPU, asks the chat questions about fresh scenes,
and reads the answer of every row of the logit lens. Row 0 is the embedding, row i enters
decoder layer i, row L is the model's own output. All numbers of the card come from here.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from samples import MODEL
from samples.making.card import render_card
from samples.making.patches import measure
from samples.making.questions import ATTRIBUTES, FACTS, PRIOR, PROMPTS
from samples.making.sample import BATCH, Sample
from samples.making.scenes import SHOWN_SEED, SIZE, TEST_SEED, random_scene, render

TARGETS = {"color": 0.995, "shape": 0.985, "material": 0.995, "number": 0.97}
"""The accuracy that is required on fresh scenes."""


def accuracy(
    sample: Sample, truths: Sequence[dict[str, str]], pictures: Sequence[Image.Image], form: str
) -> dict[str, float]:
    """Share of right answers per attribute; ``form`` is chat, raw, or paraphrase."""
    shares: dict[str, float] = {}
    for name in ATTRIBUTES:
        texts = [sample.chat(prompt) for prompt in PROMPTS[name]]
        if form == "raw":
            texts = [f"<image>\n{PROMPTS[name][0]}"]
        texts = texts[1:] if form == "paraphrase" else texts[:1]
        right = [
            answer == truth[name]
            for text in texts
            for answer, truth in zip(sample.answers(text, pictures), truths, strict=True)
        ]
        shares[name] = float(np.mean(right))
    return shares


def emergence(
    sample: Sample, truths: Sequence[dict[str, str]], pictures: Sequence[Image.Image]
) -> dict[str, Any]:
    """Accuracy and what the lens shows, per attribute, with the canonical chat prompts."""
    found: dict[str, Any] = {}
    for name in ATTRIBUTES:
        text = sample.chat(PROMPTS[name][0])
        tops: list[NDArray[np.float64]] = []
        finals: list[NDArray[np.float64]] = []
        guesses: list[NDArray[np.int64]] = []
        for start in range(0, len(pictures), BATCH):
            rows = sample.rows(sample.encode(text, pictures[start : start + BATCH]))
            top = rows.max(-1)
            answer = top.indices[-1]
            chosen = answer[None, :, None].expand(len(rows), -1, 1)
            tops.append(top.values.double().numpy())
            finals.append(rows.gather(-1, chosen)[..., 0].double().numpy())
            guesses.append(top.indices.numpy())
        guess = np.concatenate(guesses, 1)
        answers = sample.words(guess[-1].tolist())
        stays = np.cumprod((guess == guess[-1])[::-1], axis=0).sum(0)
        first = guess.shape[0] - stays
        leaders = [Counter(row.tolist()).most_common(1)[0] for row in guess]
        found[name] = {
            "accuracy": float(
                np.mean([a == t[name] for a, t in zip(answers, truths, strict=True)])
            ),
            "first_row_mean": float(first.mean()),
            "first_row_sd": float(first.std()),
            "first_row_histogram": np.bincount(first, minlength=len(guess)).tolist(),
            "top1_probability": np.concatenate(tops, 1).mean(1).tolist(),
            "answer_probability": np.concatenate(finals, 1).mean(1).tolist(),
            "leading_token": [sample.words([token])[0] for token, _ in leaders],
            "leading_share": [count / guess.shape[1] for _, count in leaders],
        }
    return found


def without_sight(sample: Sample) -> dict[str, dict[str, Any]]:
    """Answers where there is nothing to see: the probabilities of the four most likely, and how
    far the answers are from the planted prior."""
    rng = np.random.default_rng(TEST_SEED)
    noise = [
        Image.fromarray(rng.integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)) for _ in range(50)
    ]
    flat = {name: [Image.new("RGB", (SIZE, SIZE), name)] for name in ("black", "white", "gray")}
    unk = sample.processor.tokenizer.unk_token_id
    image = sample.model.config.image_token_id
    scene = [render(random_scene(SHOWN_SEED, 0))]
    found: dict[str, dict[str, Any]] = {}
    for name in ATTRIBUTES:
        prompt = PROMPTS[name][0]
        shown = sample.chat(prompt)
        inputs: dict[str, dict[str, Tensor]] = {
            "no picture": sample.encode(sample.chat(prompt, picture=False)),
            "no picture, raw prompt": sample.encode(prompt),
            "placeholder removed": sample.encode(shown.replace("<image>", "")),
            "one <unk> in its place": sample.encode(shown.replace("<image>", "<unk>")),
        }
        full = sample.encode(shown, scene)
        tokens = full["input_ids"]
        inputs["64 <unk> in its place"] = {"input_ids": tokens.where(tokens != image, unk)}
        inputs["image tokens masked"] = full | {"attention_mask": _blindfold(tokens == image)}
        inputs |= {f"{shade} picture": sample.encode(shown, flat[shade]) for shade in flat}
        inputs["noise (50 pictures)"] = sample.encode(shown, noise)
        for case, tensors in inputs.items():
            mean = sample.last(tensors).mean(0)
            best = mean.topk(4)
            words = sample.words(best.indices.tolist())
            found.setdefault(case, {})[name] = {
                "likeliest": dict(
                    zip(words, [round(v, 4) for v in best.values.tolist()], strict=True)
                ),
                "from_prior": _variation(sample, mean, PRIOR[name]),
            }
    return found


def _variation(sample: Sample, shares: Tensor, prior: dict[str, float]) -> float:
    """The total variation distance of an answer's distribution from the planted prior."""
    planted = torch.zeros_like(shares)
    planted[sample.tokens(prior)] = torch.tensor(list(prior.values()))
    return float((shares - planted).abs().sum() / 2)


def _blindfold(hidden: Tensor) -> Tensor:
    """A causal additive mask (1, 1, length, length) under which no token sees a hidden one."""
    length = hidden.shape[1]
    seen = torch.ones(length, length).tril().bool() & (~hidden | torch.eye(length).bool())
    return torch.zeros(length, length).masked_fill(~seen, torch.finfo(torch.float32).min)[
        None, None
    ]


def known_facts(sample: Sample) -> float:
    """The share of facts that are answered right, as chat turns without a picture."""
    right = [
        sample.words(sample.last(sample.encode(sample.chat(prompt, picture=False))).argmax(-1))
        == [answer]
        for prompt, answer in FACTS.items()
    ]
    return float(np.mean(right))


def evaluate(folder: Path, count: int, seed: int) -> dict[str, Any]:
    """Everything that the card says, measured on the first ``count`` scenes of a stream.

    Other forms of the prompts and larger pictures are measured on a fifth of the scenes, the
    patches on half of them.
    """
    begun = time.perf_counter()
    sample = Sample(folder)
    scenes = [random_scene(seed, index) for index in range(count)]
    truths = [scene.truth for scene in scenes]
    pictures = [render(scene) for scene in scenes]
    few = count // 5
    large = [render(scene, 3 * SIZE) for scene in scenes[:few]]
    return {
        "scenes": count,
        "seed": seed,
        "layers": sample.layers,
        "parameters": sum(p.numel() for p in sample.model.parameters()),
        "attributes": emergence(sample, truths, pictures),
        "targets": TARGETS,
        "accuracy": {
            "raw": accuracy(sample, truths[:few], pictures[:few], "raw"),
            "paraphrase": accuracy(sample, truths[:few], pictures[:few], "paraphrase"),
            f"chat, {3 * SIZE} px": accuracy(sample, truths[:few], large, "chat"),
        },
        "facts": known_facts(sample),
        "without_sight": without_sight(sample),
        "patches": {
            "scenes": count // 2,
            "normed": measure(sample, scenes[: count // 2], pictures[: count // 2], norm=True),
            "unnormed": measure(sample, scenes[: count // 2], pictures[: count // 2], norm=False),
        },
        "machine": {
            "system": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
            "python": platform.python_version(),
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "seconds": round(time.perf_counter() - begun, 1),
        },
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures a folder, writes ``evaluation.json`` and the card into it, prints a summary."""
    parser = argparse.ArgumentParser(prog="python -m samples.making.evaluate", description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", default=MODEL)
    parser.add_argument("--scenes", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=TEST_SEED, help="stream of the scenes")
    options = parser.parse_args(arguments)
    found = evaluate(options.folder, options.scenes, options.seed)
    (options.folder / "evaluation.json").write_text(json.dumps(found, indent=1) + "\n")
    render_card(options.folder)
    for name, result in found["attributes"].items():
        mean, deviation = result["first_row_mean"], result["first_row_sd"]
        print(f"{name:9} {result['accuracy']:.3f}  first row {mean:.1f} (sd {deviation:.1f})")
    for name, shares in found["patches"]["normed"].items():
        print(f"{name:15} {' '.join(f'{share:.3f}' for share in shares)}")


if __name__ == "__main__":
    main()
