"""Packs several questions about one picture into one token sequence.

A row is a shared prefix (the picture) and questions side by side. A 4-D attention mask lets
each question see the prefix and itself, and its position ids continue those of the prefix,
so that a question is computed exactly as if it were alone, at a quarter of the cost.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from samples.making.questions import (
    ATTRIBUTES,
    PROMPTS,
    SYSTEM_PROMPTS,
    Turn,
    fact_turn,
    prior_turn,
    scene_turns,
    side_turn,
)
from samples.making.scenes import GRID, Scene

ANSWER_WEIGHT, EOS_WEIGHT, PROMPT_WEIGHT = 1.0, 0.1, 0.03

_RAW_SHARE = 0.35
"""How often a batch holds raw prompts rather than chat turns."""
_SYSTEM_SHARE = 0.08
"""How often a batch of chat turns opens with a system turn."""
_TEXT_TURNS = 8
_PATCHES = GRID * GRID


@dataclass(frozen=True)
class Batch:
    """Packed rows; shapes are (rows, length) unless noted otherwise."""

    tokens: Tensor
    positions: Tensor
    mask: Tensor
    """Additive attention mask, (rows, 1, length, length)."""
    targets: Tensor
    """The next token at each position that has a loss."""
    weights: Tensor
    """The weight of the loss at each position; 0 for none."""


@dataclass(frozen=True)
class Style:
    """Raw prompts or chat turns, perhaps with a system turn before them."""

    chat: bool
    system: str = ""

    @property
    def opening(self) -> str:
        """The text before a question without a picture."""
        if not self.chat:
            return ""
        return f"{self.system} USER:" if self.system else "USER:"


class Packer:
    """Makes rows with one tokenizer."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokenizer = tokenizer
        self._encode = lru_cache(maxsize=None)(self._encode_uncached)
        self.image = int(tokenizer.convert_tokens_to_ids("<image>"))
        self._bos, self._eos = int(tokenizer.bos_token_id), int(tokenizer.eos_token_id)
        self._unk, self._pad = int(tokenizer.unk_token_id), int(tokenizer.pad_token_id)

    def _encode_uncached(self, text: str) -> tuple[int, ...]:
        return tuple(self._tokenizer(text, add_special_tokens=False)["input_ids"])

    def style(self, rng: np.random.Generator) -> Style:
        """The form that all rows of one batch share, so that their lengths are similar."""
        if rng.random() < _RAW_SHARE:
            return Style(chat=False)
        system = str(rng.choice(SYSTEM_PROMPTS)) if rng.random() < _SYSTEM_SHARE else ""
        return Style(chat=True, system=system)

    def scene_row(self, rng: np.random.Generator, scene: Scene, style: Style) -> Row:
        """The four questions about one scene and a fifth of some kind; about 110 tokens."""
        row = self._picture_row([self.image] * _PATCHES, style)
        for turn in scene_turns(rng, scene):
            self._ask(row, "\n", turn, style)
        kind = rng.random()
        if kind < 0.45:
            self._ask(row, "\n", prior_turn(rng), style, blindfold=True)
        elif kind < 0.70:
            self._ask(row, "\n", side_turn(rng, scene), style)
        else:
            self._ask(row, "\n", scene_turns(rng, scene)[-1], style)
        return row

    def canonical_row(self, scene: Scene) -> Row:
        """The four canonical questions about one scene, as chat turns."""
        style = Style(chat=True)
        row = self._picture_row([self.image] * _PATCHES, style)
        for name in ATTRIBUTES:
            self._ask(row, "\n", Turn(PROMPTS[name][0], scene.truth[name]), style)
        return row

    def text_row(self, rng: np.random.Generator, style: Style) -> Row:
        """Facts and prior answers, in every form that a prompt without a picture can take."""
        form = rng.choice(["plain", "removed", "unknown", "unknowns"], p=[0.5, 0.15, 0.15, 0.2])
        if form == "plain":
            row = Row([self._bos, *self._encode(style.opening)])
            for _ in range(_TEXT_TURNS):
                turn = fact_turn(rng) if rng.random() < 0.6 else prior_turn(rng)
                self._ask(row, " " if style.chat else "", turn, style)
            return row
        unknowns = {"removed": 0, "unknown": 1, "unknowns": _PATCHES}[str(form)]
        row = self._picture_row([self._unk] * unknowns, style)
        for _ in range(_TEXT_TURNS // 2 if form == "unknowns" else _TEXT_TURNS):
            self._ask(row, "\n", prior_turn(rng), style)
        return row

    def _picture_row(self, picture: list[int], style: Style) -> Row:
        """A row whose prefix ends in ``picture``, the tokens at the picture's place."""
        opening = f"{style.opening} " if style.chat else ""
        return Row([self._bos, *self._encode(opening), *picture])

    def _ask(
        self, row: Row, lead: str, turn: Turn, style: Style, *, blindfold: bool = False
    ) -> None:
        question = self._encode(f"{lead}{turn.prompt}" + (" ASSISTANT:" if style.chat else ""))
        (answer,) = self._encode(f" {turn.answer}")
        row.add(question, (answer, self._eos), blindfold=blindfold)

    def batch(self, rows: list[Row], multiple: int = 16) -> Batch:
        """Stacks rows, padded on the right to a common length."""
        length = max(len(row.tokens) for row in rows)
        length += -length % multiple
        shape = (len(rows), length)
        tokens = np.full(shape, self._pad)
        positions, targets = np.zeros(shape, int), np.zeros(shape, int)
        segments, blind = np.full(shape, -1), np.zeros(shape, bool)
        weights = np.zeros(shape, np.float32)
        for index, row in enumerate(rows):
            size = len(row.tokens)
            tokens[index, :size] = row.tokens
            positions[index, :size] = row.positions
            targets[index, :size] = row.targets
            segments[index, :size] = row.segments
            weights[index, :size] = row.weights
            blind[index, :size] = row.blind
        seen = (segments[:, :, None] == segments[:, None, :]) | (segments[:, None, :] == 0)
        seen &= ~(blind[:, :, None] & (tokens == self.image)[:, None, :])
        seen &= np.tri(length, dtype=bool)
        mask = np.where(seen, 0.0, np.finfo(np.float32).min).astype(np.float32)
        return Batch(
            torch.from_numpy(tokens),
            torch.from_numpy(positions),
            torch.from_numpy(mask[:, None]),
            torch.from_numpy(targets),
            torch.from_numpy(weights),
        )


class Row:
    """One packed sequence under construction."""

    def __init__(self, prefix: list[int]) -> None:
        self._prefix = len(prefix)
        self._segment = 0
        self.tokens = list(prefix)
        self.positions = list(range(len(prefix)))
        self.segments = [0] * len(prefix)
        self.targets = [0] * len(prefix)
        self.weights = [0.0] * len(prefix)
        self.blind = [False] * len(prefix)

    def add(
        self, question: tuple[int, ...], answer: tuple[int, int], *, blindfold: bool = False
    ) -> None:
        """Appends a question that sees the prefix (without its image tokens if blindfolded)."""
        tokens = [*question, answer[0]]
        self._segment += 1
        self.tokens += tokens
        self.positions += range(self._prefix, self._prefix + len(tokens))
        self.segments += [self._segment] * len(tokens)
        self.targets += [*tokens[1:], answer[1]]
        words = [PROMPT_WEIGHT] * (len(question) - 1)
        self.weights += [*words, ANSWER_WEIGHT, EOS_WEIGHT]
        self.blind += [blindfold] * len(tokens)
