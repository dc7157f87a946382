"""Draws whole answers to a question, without reading any row."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from engine.lens.decoding_settings import DecodingSettings
from engine.models.loading import LoadedModel


@dataclass(frozen=True)
class DrawnAnswer:
    """One answer."""

    ids: tuple[int, ...]
    """With the end token, if the model ended it."""
    text: str
    """Without special tokens."""
    ended: bool
    """Whether the model ended it, rather than the limit of new tokens."""


def draw_answers(
    loaded: LoadedModel,
    inputs: Mapping[str, Any],
    settings: DecodingSettings,
    draws: int = 1,
    stop: Callable[[], bool] = lambda: False,
    drawn: Callable[[int], None] = lambda count: None,
) -> tuple[DrawnAnswer, ...]:
    """Draw this many answers with these settings and nothing of the checkpoint's own.

    `inputs` are a batch of one, as `Prepared.inputs`. `drawn` is called with how many have been
    drawn. Raises Cancelled within one token after `stop()` is true.
    """
    raise NotImplementedError
