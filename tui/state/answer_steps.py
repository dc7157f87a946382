"""What is known of an answer, token by token: as it is decoded, or from a session. Without
Textual."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from engine.errors import BadInput
from engine.methods.answer import AnswerPart, AnswerReading
from engine.stays import first_that_stays
from tui.state.grid_cells import GridCell

_OF_STEPS: Final = ("tokens", "taken", "probability", "removed")
_OF_ROWS: Final = ("ids", "logits", "lse", "entropy", "rms")
_AFTER: Final = ("after_ids", "after")
_ALONG: Final = ("picture", "js")
_PART: Final = re.compile(r"(\\x[0-9A-F]{2}|<0x[0-9A-F]{2}>|\ufffd)+")
"""How a token is written that is a part of a character (see `engine.prompts.token_texts`)."""
_BYTE: Final = re.compile(r"(?:\\x|<0x)([0-9A-F]{2})")

Numbers = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class TopToken:
    """One of the best tokens of a row."""

    id: int
    text: str
    probability: float


class AnswerSteps:
    """The steps of one answer that have arrived; it is drawn as a grid whose columns they are."""

    def __init__(self) -> None:
        self._arrays: dict[str, Numbers] = {}
        self._texts: dict[int, str] = {}
        self._pieces: tuple[str, ...] | None = None
        self.text = ""
        """The whole answer so far; untrusted."""
        self.ended = False
        """Whether the model has ended it."""
        self.of = 0
        """How many steps there will be at most."""
        self.drawn = 0
        """How many further answers have been drawn."""
        self.failed: str | None = None
        """Why the steps cannot be trusted, or cannot be read, or None."""
        self.sinks: frozenset[int] = frozenset()
        self.version = 0
        """Incremented whenever something has been taken."""

    @classmethod
    def of_reading(cls, reading: AnswerReading) -> AnswerSteps:
        """Return all steps of an answer."""
        steps = cls()
        steps.take(reading)
        return steps

    def take_part(self, part: AnswerPart) -> None:
        """Take in the next steps. What is damaged, or does not follow, sets `failed`."""
        self.text, self.of, self.drawn = part.text, part.of, part.drawn
        self.ended, self._pieces = part.ended, None
        self._texts |= part.texts
        if part.tokens.shape[0]:
            if part.first != self.count:
                self.failed = "steps of the answer are missing"
                return
            after = _AFTER if part.after is not None else ()
            self._add(part, (*_OF_STEPS, *_OF_ROWS, *after))
        self.version += 1

    def take(self, reading: AnswerReading) -> None:
        """Take in a whole answer in place of what has arrived."""
        self._arrays = {}
        self._texts = dict(reading.texts)
        self.text, self.ended = reading.text, reading.ended
        self.of = reading.request.max_new_tokens
        self.drawn = sum(draw.count for draw in reading.draws)
        along = tuple(name for name in (*_AFTER, *_ALONG) if getattr(reading, name) is not None)
        self._add(reading, (*_OF_STEPS, *_OF_ROWS, *along))
        if reading.proof is not None and not reading.proof.passed:
            self.failed = "the answer's proof failed, do not believe it"
        self.version += 1

    def _add(self, found: AnswerPart | AnswerReading, names: Sequence[str]) -> None:
        try:
            new = {name: getattr(found, name).values for name in names}
            if self._arrays:
                new = {name: np.concatenate([self._arrays[name], new[name]]) for name in names}
            count = len(new["tokens"])
            if any(len(values) != count for values in new.values()) or new["ids"].ndim != 3:
                raise ValueError("its arrays are of different lengths")
        except (BadInput, ValueError, KeyError) as error:
            self.failed = f"the answer cannot be read: {error}"
            return
        self._arrays, self._pieces = new, None

    # ------------------------------------------------------------------ steps

    @property
    def count(self) -> int:
        """How many steps there are."""
        return len(self._arrays["tokens"]) if self._arrays else 0

    @property
    def rows(self) -> int:
        """How many rows each step has; 0 while there are none."""
        return int(self._arrays["ids"].shape[1]) if self._arrays else 0

    def token(self, step: int) -> int:
        """Return the token that a step took."""
        return int(self._arrays["tokens"][step])

    @property
    def tokens(self) -> tuple[int, ...]:
        """All tokens that were taken."""
        return tuple(self._arrays["tokens"].tolist()) if self._arrays else ()

    def token_text(self, step: int) -> str:
        """Return the text of the token that a step took; untrusted."""
        return self._texts.get(self.token(step), "")

    def is_end(self, step: int) -> bool:
        """Return whether a step took the token with which the model ended the answer."""
        return self.ended and step == self.count - 1

    def figure(self, name: str, step: int) -> float | None:
        """Return a number of a step ("probability", "taken", "removed", "picture", "js"); None
        where it is not known, or is no number."""
        values = self._arrays.get(name)
        if values is None or not 0 <= step < len(values):
            return None
        value = float(values[step])
        return value if math.isfinite(value) else None

    def figures(self, name: str) -> Numbers | None:
        """Return a number of every step, [S]; None if it is not known."""
        return self._arrays.get(name)

    def formation(self, step: int) -> int | None:
        """Return the first row from which the token that a step took stays the best; None where it
        is not the best of the last row."""
        best = self._arrays["ids"][step, :, 0]
        return first_that_stays((best == self.token(step)).tolist())

    def top(self, row: int, step: int) -> tuple[TopToken, ...]:
        """Return the best tokens of a row at a step."""
        if not (0 <= step < self.count and 0 <= row < self.rows):
            return ()
        ids = self._arrays["ids"][step, row]
        shares = self._shares(row, step)
        return tuple(
            TopToken(int(token), self._texts.get(int(token), ""), float(share))
            for token, share in zip(ids, shares, strict=True)
        )

    def after(self, step: int) -> tuple[TopToken, ...]:
        """Return the best tokens of the distribution that a step's token was drawn from; none where
        they are not known."""
        ids, shares = self._arrays.get("after_ids"), self._arrays.get("after")
        if ids is None or shares is None or not 0 <= step < self.count:
            return ()
        return tuple(
            TopToken(token, self._texts.get(token, ""), min(max(share, 0.0), 1.0))
            for token, share in zip(ids[step].tolist(), shares[step].tolist(), strict=True)
            if token >= 0 and math.isfinite(share)
        )

    def _shares(self, row: int, step: int) -> Numbers:
        with np.errstate(over="ignore", invalid="ignore"):
            shares = np.exp(self._arrays["logits"][step, row] - self._arrays["lse"][step, row])
        clipped: Numbers = np.clip(np.nan_to_num(shares), 0.0, 1.0)
        return clipped

    # ------------------------------------------------------------------ as a grid

    def cell(self, row: int, position: int) -> GridCell | None:
        """Return the best token of a row at a step; None where it is not known."""
        if not (0 <= position < self.count and 0 <= row < self.rows):
            return None
        best = self.top(row, position)[0]
        entropy = float(self._arrays["entropy"][position, row])
        rms = float(self._arrays["rms"][position, row])
        return GridCell(best.id, best.text, best.probability, entropy, rms)

    def common(self, row: int, first: int, last: int) -> tuple[GridCell, int, int] | None:
        """Return nothing: no columns of an answer are folded."""
        return None

    def word(self, token: int, row: int, position: int) -> float | None:
        """Return the probability of a token where it is one of the best of a row; else None."""
        return next(
            (each.probability for each in self.top(row, position) if each.id == token), None
        )

    # ------------------------------------------------------------------ the text

    @property
    def pieces(self) -> tuple[str, ...]:
        """What each token adds to the answer's text; untrusted. A character that is spread over
        several tokens belongs to the last of them."""
        if self._pieces is None:
            texts = [self._texts.get(token, "") for token in self.tokens]
            self._pieces = pieces_of(texts[: len(texts) - self.ended], self.text)
            self._pieces += ("",) * self.ended
        return self._pieces


def pieces_of(texts: Sequence[str], whole: str) -> tuple[str, ...]:
    """Return what each of some tokens adds to the text that they make together.

    A token whose text is not found where the one before it ended waits for the next one that is
    found: a part of a character is no text, and a special token is left out of the whole. What lies
    between belongs to the last that waited. Where so much lies between that the waiting tokens
    cannot have made it, nothing is told apart, and their own texts are returned.
    """
    found: list[str] = []
    waiting: list[str] = []
    at = 0
    for text in texts:
        start = _place_of(text, whole, at, waiting)
        if start is None and not at and not waiting and whole.startswith(text.lstrip()):
            text, start = text.lstrip(), 0
        if start is None:
            waiting.append(text)
            made = _made_of(waiting)
            if made and whole.startswith(made, at):
                waiting.clear()
                at += len(made)
            found.append("" if waiting else made)
            continue
        if waiting:
            found[-1] = whole[at:start]
            waiting.clear()
        found.append(text)
        at = start + len(text)
    if len(whole) - at > _most(waiting):
        return tuple(texts) if whole[at:].strip() else tuple(found)
    if waiting:
        found[-1] = whole[at:]
    return tuple(found)


def _place_of(text: str, whole: str, at: int, waiting: Sequence[str]) -> int | None:
    """Return where a token's text begins in the whole, after the tokens that wait; or None."""
    if not waiting:
        return at if whole.startswith(text, at) else None
    if not text:
        return None
    # Parts of a character make at least that one; a special token makes nothing.
    first = at + any(_PART.fullmatch(each) for each in waiting)
    start = whole.find(text, first, at + _most(waiting) + len(text))
    return start if start >= 0 else None


def _made_of(parts: Sequence[str]) -> str:
    """Return the characters that parts of them make; empty where they are none, or not all."""
    if not all(_PART.fullmatch(each) for each in parts):
        return ""
    try:
        return bytes(int(each, 16) for each in _BYTE.findall("".join(parts))).decode()
    except UnicodeDecodeError:
        return ""


def _most(waiting: Sequence[str]) -> int:
    """Return how many characters some tokens make at most: no part is written shorter than it."""
    return sum(len(each) for each in waiting)
