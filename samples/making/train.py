"""Trains the bundled model in stages of three kinds: see, read, then both together.

- ``vision``: the vision tower and the projector learn dense labels of the patches.
- ``text``: the language model learns facts and the skewed prior, from text only.
- ``joint``: pictures and questions together, with the lower layers of the language model
  frozen, so that the picture has to override the prior further up. In the last stage the model
  also names what covers each patch, at the picture's positions of its last row.

Every batch depends only on the seed, the stage and the step, so an interrupted run resumes
where its last checkpoint was.
"""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import AutoTokenizer, LlavaForConditionalGeneration, LlavaProcessor

from samples.making.data import LABEL_CLASSES, LABELS, SceneSet, scene_set
from samples.making.model import FROZEN_LAYERS, WIDTH, build_model
from samples.making.packing import ANSWER_WEIGHT, Batch, Packer
from samples.making.questions import GROUND_WORD
from samples.making.scenes import CHOICE_SEED, COLORS, GRID, SHAPES, TRAIN_SEED
from samples.making.tokenizer import build_processor, build_tokenizer

KINDS = ("vision", "text", "joint")


@dataclass(frozen=True)
class Stage:
    """A stretch of training with its own optimizer and learning-rate schedule."""

    kind: str
    steps: int
    rate: float
    """Peak learning rate."""
    horizon: int
    """Steps after which the cosine schedule ends; a stage may stop earlier."""
    pictures: int = 0
    """Pictures per step; in a joint step, those beyond ``joint_scenes`` only have labels."""
    small_weight: float = 1.0
    """The weight of the shape labels of small objects, about which no question asks."""
    fixed_words: bool = False
    """Whether a joint stage also keeps the token embeddings (tied to the head) and final norm."""
    patch_weight: float = 0.5
    """Weight of the dense labels in a joint stage."""
    naming_weight: float = 0.0
    """Weight of naming what covers each patch, at the picture's positions of the last row."""


@dataclass(frozen=True)
class Recipe:
    """Everything that the result depends on."""

    seed: int = 0
    scenes: int = 40_000
    choice_scenes: int = 512
    stages: tuple[Stage, ...] = (
        Stage("vision", 2400, 1.5e-3, horizon=2400, pictures=32),
        Stage("text", 450, 2e-3, horizon=450),
        Stage("joint", 531, 1.5e-3, horizon=1500, pictures=48),
        Stage("vision", 460, 1.2e-3, horizon=1000, pictures=48, small_weight=0.1),
        Stage("joint", 700, 1.2e-3, horizon=700, pictures=48, small_weight=0.1, fixed_words=True),
        Stage(
            "joint",
            800,
            8e-4,
            horizon=800,
            pictures=24,
            fixed_words=True,
            patch_weight=0.0,
            naming_weight=0.3,
        ),
    )
    joint_scenes: int = 24
    text_rows: int = 8
    joint_text_rows: int = 3


@dataclass(frozen=True)
class Prepared:
    """The data of one step that its stage needs."""

    batch: Batch | None = None
    pixels: Tensor | None = None
    labels: Tensor | None = None


class PatchHeads(nn.Module):
    """Linear readouts of the dense labels from the projected image features; dropped later."""

    def __init__(self) -> None:
        super().__init__()
        self.heads = nn.ModuleList(nn.Linear(WIDTH, classes) for classes in LABEL_CLASSES)

    def forward(self, features: Tensor) -> list[Tensor]:
        """Logits (pictures, classes, GRID, GRID) per label from (pictures, patches, WIDTH)."""
        grid = features.view(-1, GRID, GRID, WIDTH)
        return [head(grid).movedim(-1, 1) for head in self.heads]

    def loss(self, features: Tensor, labels: Tensor, small_weight: float) -> Tensor:
        """Mean cross-entropy; ``labels`` is (pictures, len(LABELS), GRID, GRID)."""
        total = features.new_zeros(())
        covered = labels[:, 0] > 0
        small = labels[:, LABELS.index("size")] == 1
        for index, logits in enumerate(self(features)):
            entropy = nn.functional.cross_entropy(logits, labels[:, index], reduction="none")
            weight = 0.3 + 0.7 * covered.to(entropy.dtype)
            if LABELS[index] == "shape":
                weight = torch.where(small, small_weight, weight)
            total = total + (entropy * weight).sum() / weight.sum()
        return total


class Trainer:
    """Runs the stages on one model, with checkpoints in a working folder."""

    def __init__(
        self,
        recipe: Recipe,
        work: Path,
        *,
        workers: int,
        compiled: bool = True,
        start: Path | None = None,
        log: Callable[[str], None] = print,
    ) -> None:
        self.recipe, self.work, self.compiled, self.log = recipe, work, compiled, log
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        tokenizer = build_tokenizer()
        self.processor: LlavaProcessor = build_processor(tokenizer)
        self.packer = Packer(tokenizer)
        self.model = build_model(tokenizer, recipe.seed).to(self.device)
        self.heads = PatchHeads().to(self.device)
        self._color_words, self._shape_words = (
            torch.tensor(
                [
                    int(tokenizer.convert_tokens_to_ids(f"Ġ{word}"))
                    for word in (GROUND_WORD, *words)
                ],
                device=self.device,
            )
            for words in (COLORS, SHAPES)
        )
        self.seconds = dict.fromkeys(KINDS, 0.0)
        begun = time.perf_counter()
        self.train_set = scene_set(work, TRAIN_SEED, recipe.scenes, workers)
        self.choice_set = scene_set(work, CHOICE_SEED, recipe.choice_scenes, workers)
        log(f"scenes ready in {time.perf_counter() - begun:.0f} s")
        self._first = 0
        if start is not None:
            self._take_weights(start)
            self._first = len(recipe.stages) - 1

    def run(self, *, checkpoint_minutes: float = 3.0) -> dict[str, float]:
        """Trains from scratch or from the last checkpoint; returns the minutes per kind."""
        checkpoint = self.work / "checkpoint.pt"
        first, step = self._first, 0
        optimizer_state: dict[str, Any] | None = None
        if checkpoint.exists():
            state = torch.load(checkpoint, map_location=self.device, weights_only=True)
            self.model.load_state_dict(state["model"])
            self.heads.load_state_dict(state["heads"])
            first, step = state["stage"], state["step"]
            optimizer_state, self.seconds = state["optimizer"], state["seconds"]
            self.log(f"resumed at stage {first}, step {step}")
        if self.compiled:
            self._compile_layers()
        for number in range(first, len(self.recipe.stages)):
            self._run_stage(number, step, optimizer_state, checkpoint, checkpoint_minutes * 60)
            step, optimizer_state = 0, None
        return {kind: round(seconds / 60, 1) for kind, seconds in self.seconds.items()}

    @torch.no_grad()
    def _draw_ground_word(self) -> None:
        """Draws the embedding of the word for the ground like those of the answers: their mean
        plus a random vector as far from it as theirs are. No text has taught the word, and the
        embeddings of words that never occur have become all but the same."""
        words = self.model.get_input_embeddings().weight
        known = torch.cat([self._color_words[1:], self._shape_words[1:]])
        draw = torch.Generator().manual_seed(self.recipe.seed)
        away = torch.randn(WIDTH, generator=draw).to(self.device)
        words[self._color_words[0]] = words[known].mean(0) + words[known].std(0) * away

    @torch.no_grad()
    def _take_weights(self, folder: Path) -> None:
        """Takes the weights of a model that an earlier version of the recipe made.

        Its words may have had other ids; the words that it did not know get the mean of its own.
        """
        old = LlavaForConditionalGeneration.from_pretrained(folder, dtype=torch.float32)
        ids = AutoTokenizer.from_pretrained(folder).get_vocab()
        words = old.get_input_embeddings().weight
        fresh = words.mean(0).repeat(len(self.processor.tokenizer), 1)
        for word, place in self.processor.tokenizer.get_vocab().items():
            if word in ids:
                fresh[place] = words[ids[word]]
        state = old.state_dict()
        for name in [name for name, tensor in state.items() if tensor.shape == words.shape]:
            state[name] = fresh
        self.model.load_state_dict(state)

    def _run_stage(
        self,
        number: int,
        step: int,
        optimizer_state: dict[str, Any] | None,
        checkpoint: Path,
        interval: float,
    ) -> None:
        stage = self.recipe.stages[number]
        optimizer = torch.optim.AdamW(
            self._choose_parameters(stage), lr=stage.rate, betas=(0.9, 0.98), weight_decay=0.05
        )
        if optimizer_state is not None:
            optimizer.load_state_dict(optimizer_state)
        if stage.naming_weight and step == 0:
            self._draw_ground_word()
        ahead = ThreadPoolExecutor(1)
        upcoming = ahead.submit(self._prepare, number, step)
        losses: list[float] = []
        begun = saved = time.perf_counter()
        first, spent = step, self.seconds[stage.kind]
        while step < stage.steps:
            for group in optimizer.param_groups:
                group["lr"] = stage.rate * _schedule(step, stage.horizon)
            data = upcoming.result()
            upcoming = ahead.submit(self._prepare, number, step + 1)
            loss = self._loss(stage, data)
            optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward(loss)
            for group in optimizer.param_groups:
                nn.utils.clip_grad_norm_(group["params"], 1.0)
            optimizer.step()
            losses.append(loss.item())
            step += 1
            self.seconds[stage.kind] = spent + time.perf_counter() - begun
            place, ended = (
                f"stage {number} ({stage.kind}) {step}/{stage.steps}",
                step == stage.steps,
            )
            if step % 50 == 0 or ended:
                pace = (time.perf_counter() - begun) / (step - first)
                self.log(f"{place} loss {np.mean(losses):.4f} {pace:.3f} s/step")
                losses.clear()
            if (step % 200 == 0 or ended) and stage.kind != "text":
                self.log(f"{place} on the choice set: {self._check(stage)}")
            if time.perf_counter() - saved > interval or ended:
                self._save_checkpoint(checkpoint, number, step, optimizer)
                saved = time.perf_counter()
        ahead.shutdown()

    def _compile_layers(self) -> None:
        """Compiles the layers for the few lengths that packed rows have (1.6 x faster or more)."""
        torch._dynamo.config.recompile_limit = 64
        parts = self.model.model
        for layer in (*parts.language_model.layers, *parts.vision_tower.encoder.layers):
            layer.compile(dynamic=False)

    def _save_checkpoint(
        self, path: Path, number: int, step: int, optimizer: torch.optim.Optimizer
    ) -> None:
        partial = path.with_suffix(".partial")
        state = {
            "model": self.model.state_dict(),
            "heads": self.heads.state_dict(),
            "optimizer": optimizer.state_dict(),
            "stage": number,
            "step": step,
            "seconds": self.seconds,
        }
        torch.save(state, partial)
        partial.replace(path)

    def _choose_parameters(self, stage: Stage) -> list[dict[str, Any]]:
        """Chooses the parameters that learn in a stage; only matrices get weight decay."""
        parts = self.model.model
        seeing = [parts.vision_tower, parts.multi_modal_projector, self.heads]
        reading = [parts.language_model]
        learning = {"vision": seeing, "text": reading, "joint": seeing + reading}[stage.kind]
        self.model.requires_grad_(False)
        self.heads.requires_grad_(False)
        for part in learning:
            part.requires_grad_(True)
        if stage.kind == "joint":
            for layer in parts.language_model.layers[:FROZEN_LAYERS]:
                layer.requires_grad_(False)
        if stage.fixed_words:
            self.model.get_input_embeddings().requires_grad_(False)
            parts.language_model.norm.requires_grad_(False)
        params = [p for m in (self.model, self.heads) for p in m.parameters() if p.requires_grad]
        return [
            {"params": [p for p in params if p.ndim > 1]},
            {"params": [p for p in params if p.ndim <= 1], "weight_decay": 0.0},
        ]

    def _pictures(
        self, scenes: SceneSet, indices: np.ndarray, flipped: np.ndarray
    ) -> tuple[Tensor, Tensor]:
        """Normalised pixels (n, 3, SIZE, SIZE) and labels of some scenes, some mirrored."""
        pixels = scenes.pixels[indices].astype(np.float32) / 127.5 - 1
        labels = scenes.labels[indices].astype(np.int64)
        pixels[flipped] = pixels[flipped, :, ::-1]
        labels[flipped] = labels[flipped, :, :, ::-1]
        stacked = np.ascontiguousarray(np.moveaxis(pixels, -1, 1))
        return torch.from_numpy(stacked).to(self.device), torch.from_numpy(labels).to(self.device)

    def _features(self, pixels: Tensor) -> Tensor:
        """Projected image features (pictures, patches, WIDTH), as LLaVA computes them."""
        parts = self.model.model
        states = parts.vision_tower(pixel_values=pixels, output_hidden_states=True).hidden_states
        projected: Tensor = parts.multi_modal_projector(states[-1][:, 1:])
        return projected

    def _prepare(self, number: int, step: int) -> Prepared:
        """The data of one step; it depends on the seed, the stage and the step alone."""
        recipe, stage = self.recipe, self.recipe.stages[number]
        rng = np.random.default_rng([recipe.seed, number, step])
        if stage.kind == "text":
            style = self.packer.style(rng)
            rows = [self.packer.text_row(rng, style) for _ in range(recipe.text_rows)]
            return Prepared(batch=self.packer.batch(rows))
        indices = rng.integers(len(self.train_set), size=stage.pictures)
        flipped = rng.random(stage.pictures) < 0.5
        pixels, labels = self._pictures(self.train_set, indices, flipped)
        if stage.kind == "vision":
            return Prepared(pixels=pixels, labels=labels)
        style = self.packer.style(rng)
        scenes = [self.train_set.scene(int(k)) for k in indices[: recipe.joint_scenes]]
        rows = [self.packer.scene_row(rng, scene, style) for scene in scenes]
        rows += [self.packer.text_row(rng, style) for _ in range(recipe.joint_text_rows)]
        return Prepared(self.packer.batch(rows), pixels, labels)

    def _loss(self, stage: Stage, data: Prepared) -> Tensor:
        if data.pixels is None or data.labels is None:
            assert data.batch is not None
            return self._language_loss(data.batch, self._last_row(data.batch, None), pictures=False)
        features = self._features(data.pixels)
        if data.batch is None:
            return self.heads.loss(features, data.labels, stage.small_weight)
        asked = features[: self.recipe.joint_scenes]
        states = self._last_row(data.batch, asked)
        loss = self._language_loss(data.batch, states, pictures=True)
        if stage.naming_weight:
            shown = data.labels[: self.recipe.joint_scenes]
            loss = loss + stage.naming_weight * self._naming_loss(data.batch, states, shown)
        if stage.patch_weight:
            seen = self.heads.loss(features, data.labels, stage.small_weight)
            loss = loss + stage.patch_weight * seen
        return loss

    def _language_loss(self, batch: Batch, states: Tensor, *, pictures: bool) -> Tensor:
        """The weighted cross-entropy of the next token, given the last row's normed states."""
        weights = batch.weights.to(self.device)
        if pictures:
            weights = weights * (weights > ANSWER_WEIGHT / 20)
        chosen = weights > 0
        entropy = nn.functional.cross_entropy(
            self.model.lm_head(states[chosen]),
            batch.targets.to(self.device)[chosen],
            reduction="none",
        )
        loss: Tensor = (entropy * weights[chosen]).sum() / weights[chosen].sum()
        return loss

    def _naming_loss(self, batch: Batch, states: Tensor, labels: Tensor) -> Tensor:
        """The cross-entropy of naming each patch: half of it is for the covering object's colour
        and half for its shape, which is what choosing one of the two at random comes to.

        ``labels`` is (pictures, len(LABELS), GRID, GRID). Objects and ground weigh the same,
        although three patches in four are ground.
        """
        places = (batch.tokens == self.packer.image).to(self.device)
        logs = self.model.lm_head(states[places]).log_softmax(-1)
        colors, shapes = (labels[:, LABELS.index(name)].flatten() for name in ("color", "shape"))
        named = (
            -(
                logs.gather(1, self._color_words[colors, None])
                + logs.gather(1, self._shape_words[shapes, None])
            )
            .squeeze(1)
            .div(2)
        )
        covered = colors > 0
        loss: Tensor = (named[covered].mean() + named[~covered].mean()) / 2
        return loss

    def _last_row(self, batch: Batch, features: Tensor | None) -> Tensor:
        """States after the final norm, (rows, length, WIDTH), of a packed batch."""
        tokens = batch.tokens.to(self.device)
        embedded = self.model.get_input_embeddings()(tokens)
        if features is not None:
            places = (tokens == self.packer.image)[..., None]
            embedded = embedded.masked_scatter(places, features)
        states: Tensor = self.model.model.language_model(
            inputs_embeds=embedded,
            attention_mask=batch.mask.to(self.device),
            position_ids=batch.positions.to(self.device),
            use_cache=False,
        ).last_hidden_state
        return states

    @torch.no_grad()
    def _check(self, stage: Stage) -> str:
        """Accuracy on the choice set, of patch labels or of answers."""
        hits: list[np.ndarray] = []
        for start in range(0, min(len(self.choice_set), 256), 32):
            indices = np.arange(start, start + 32)
            pixels, labels = self._pictures(self.choice_set, indices, np.zeros(32, bool))
            with torch.compiler.set_stance("force_eager"):
                features = self._features(pixels)
                if stage.kind == "vision":
                    hits.append(self._patch_hits(features, labels))
                else:
                    hits.append(self._answer_hits(indices, features))
        return " ".join(f"{share:.3f}" for share in np.concatenate(hits).mean(0))

    def _patch_hits(self, features: Tensor, labels: Tensor) -> np.ndarray:
        """Per picture: share of right patches of the main object, per label."""
        guesses = torch.stack([logits.argmax(1) for logits in self.heads(features)], 1)
        main = labels[:, LABELS.index("size")] == 2
        right = (guesses == labels) & main[:, None]
        shares = right.sum((2, 3)) / main.sum((1, 2)).clamp(min=1)[:, None]
        return shares[main.any(2).any(1)].cpu().numpy()

    def _answer_hits(self, indices: np.ndarray, features: Tensor) -> np.ndarray:
        """Per picture: whether each of the four canonical questions is answered right."""
        scenes = [self.choice_set.scene(int(k)) for k in indices]
        rows = [self.packer.canonical_row(scene) for scene in scenes]
        batch = self.packer.batch(rows)
        chosen = (batch.weights == ANSWER_WEIGHT).to(self.device)
        guesses = self.model.lm_head(self._last_row(batch, features)[chosen]).argmax(-1)
        right = guesses == batch.targets.to(self.device)[chosen]
        hits: np.ndarray = right.view(len(scenes), -1).float().cpu().numpy()
        return hits

    def save(self, folder: Path) -> None:
        """Writes model and processor, replacing the folder in one move.

        The weights are stored as float16; the config says float32, in which they are loaded.
        """
        partial = folder.with_name(folder.name + ".partial")
        shutil.rmtree(partial, ignore_errors=True)
        state = self.model.state_dict()
        del state["lm_head.weight"]  # it is the token embedding
        halves = {name: tensor.half().cpu() for name, tensor in state.items()}
        self.model.save_pretrained(partial, state_dict=halves)
        self.processor.save_pretrained(partial)
        (partial / "model.safetensors").chmod(0o644)
        old = folder.with_name(folder.name + ".old")
        shutil.rmtree(old, ignore_errors=True)
        if folder.exists():
            folder.rename(old)
        partial.rename(folder)
        shutil.rmtree(old, ignore_errors=True)


def _schedule(step: int, steps: int) -> float:
    """Share of the peak learning rate: linear warm-up, then a cosine down to 2 %."""
    warm_up = min(100, max(steps // 10, 1))
    if step < warm_up:
        return (step + 1) / warm_up
    progress = (step - warm_up) / max(steps - warm_up, 1)
    return 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * progress))
