"""An answer with made numbers: "The main object is a cylinder." and the end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from engine.arrays import Array
from engine.methods.answer import AnswerPart, AnswerReading, AnswerRequest, Draw
from engine.records import ReadingProof
from tests.tui.fakes import ANSWER, WORDS

ALL: Final = ((40, " The"), (41, " main"), (42, " object"), (43, " is"), (44, " a"), ANSWER,
              (45, "."), (2, "</s>"))  # fmt: skip
TEXTS: Final = dict(ALL) | {100 + index: word for index, word in enumerate(WORDS)}
END: Final = 2


def texts_of(request: AnswerRequest) -> tuple[tuple[int, str], ...]:
    """The tokens of the answer: as many as were asked for, the sentence again and again before its
    end."""
    if request.max_new_tokens <= 20:
        return ALL[: request.max_new_tokens]
    sentence, end = ALL[:-1], ALL[-1:]
    again = sentence * (request.max_new_tokens // len(sentence) + 1)
    return (*again[: request.max_new_tokens - 1], *end)


def answer_reading(request: AnswerRequest, layers: int, **changes: Any) -> AnswerReading:
    """Each token of the answer is the best one from some row on; before that the best token is a
    word that depends on row and step. A sampled answer takes the second best at its third step."""
    tokens = np.array([token for token, _ in texts_of(request)], np.int32)
    steps, rows = len(tokens), layers + 1
    row, step = np.meshgrid(np.arange(rows), np.arange(steps))
    forms = (layers * 0.4 + step % 5).astype(int)
    stays = row >= np.minimum(forms, layers)
    words = 100 + (row // 2 + step) % len(WORDS)
    ids = np.stack([np.where(stays, tokens[:, None], words), words + 0 * step, words], -1)
    ids[..., 1] = np.where(stays, words, np.roll(words, 1, 1))
    ids[..., 2] = 100 + (row // 2 + step + 5) % len(WORDS)
    if request.settings.samples and steps > 2:
        tokens[2] = ids[2, -1, 1]
    share = 0.05 + 0.9 * (row / layers) ** 2 * (0.5 + 0.5 * ((step * 7) % 10) / 10)
    shares = np.stack([share, (1 - share) * 0.5, (1 - share) * 0.2], -1)
    probability = np.where(ids[:, -1] == tokens[:, None], shares[:, -1], 0).max(1)
    sharpened = np.sqrt(probability) if request.settings.samples else np.ones(steps)
    none = np.full(steps, -1)
    other = np.where(tokens == ids[:, -1, 0], ids[:, -1, 1], ids[:, -1, 0])
    samples = request.settings.samples
    after_ids = np.stack([tokens, other if samples else none, none], -1)
    after = np.stack([sharpened, 1 - sharpened, 0 * sharpened], -1)
    along = np.abs(np.sin(np.arange(steps) + 1))
    text = "".join(TEXTS[int(token)] for token in tokens if token != END).strip()
    fields: dict[str, Any] = {
        "tokens": Array.of(tokens, "<i4"),
        "taken": Array.of(sharpened, "<f4"),
        "probability": Array.of(probability, "<f4"),
        "removed": Array.of(
            np.full(steps, 31990 if request.settings.samples else 0, np.int32), "<i4"
        ),
        "after_ids": Array.of(after_ids, "<i4"),
        "after": Array.of(after, "<f4"),
        "ids": Array.of(ids, "<i4"),
        "logits": Array.of(np.log(shares), "<f4"),
        "lse": Array.of(np.zeros((steps, rows)), "<f4"),
        "entropy": Array.of(6 * (1 - share), "<f4"),
        "rms": Array.of(0.5 + row + 0.01 * step, "<f4"),
        "texts": TEXTS,
        "text": text,
        "ended": bool(tokens[-1] == END),
        "settings": request.settings.explicit,
        "left_out": ("temperature 0.01", "top_k 1"),
        "kept": ("eos_token_id 2",),
        "draws": draws_of(request, text),
        "plain": "The main object is a cube." if request.vdd is not None else None,
        "picture": Array.of(0.4 * along, "<f4") if request.attention else None,
        "js": Array.of(0.6 * along[::-1], "<f4") if request.against else None,
        "proof": ReadingProof("row L against the model's own logits", 1e-6, 1e-3, True),
        **changes,
    }
    return AnswerReading(request=request, **fields)


def said_with(words: Sequence[str]) -> dict[str, Any]:
    """The changes of a reading whose every token is one of these words."""
    texts = {token: words[at % len(words)] for at, token in enumerate(TEXTS)}
    return {"texts": texts, "text": "".join(texts[token] for token, _ in ALL[:-1]).strip()}


def draws_of(request: AnswerRequest, text: str) -> tuple[Draw, ...]:
    """Three quarters of the draws are the same text."""
    if request.draws == 1:
        return (Draw(text, 1),)
    most = max(request.draws * 3 // 4, 1)
    return (Draw(text, most), Draw("A cube.\x1b[31m", request.draws - most))


def answer_part(made: AnswerReading, step: int, drawn: int = 0) -> AnswerPart:
    """One step of an answer; none where there are no more of them and others are drawn."""
    names = ("tokens", "taken", "probability", "removed", "ids", "logits", "lse", "entropy", "rms")
    arrays: dict[str, Any] = {}
    for name in (*names, "after_ids", "after"):
        array: Array = getattr(made, name)
        arrays[name] = Array.of(array.values[step : step + 1], array.dtype)
    tokens = made.tokens.values[: step + 1]
    text = "".join(made.texts[int(token)] for token in tokens if token != END).strip()
    of = made.request.max_new_tokens
    ended = made.ended and step >= made.tokens.shape[0] - 1
    return AnswerPart(
        first=step, texts=made.texts, text=text, of=of, drawn=drawn, ended=ended, **arrays
    )
