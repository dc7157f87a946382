"""Decodes the whole answers to one question, with every setting of a sweep."""

from __future__ import annotations

import hashlib
from functools import partial
from typing import TYPE_CHECKING

from msgspec import structs

from engine.asking.drawing import draw_answers
from engine.sweeps.item_reader import attempted
from engine.sweeps.items import Item
from engine.sweeps.matching import Choices
from engine.sweeps.records import (
    DecodedAnswer,
    DecodedAnswers,
    Decoding,
    SettingAnswers,
    SweepItem,
)
from engine.sweeps.settings import name_of
from engine.system.files import storable

if TYPE_CHECKING:
    from engine.asking.drawing import DrawnAnswer
    from engine.lens.decoding_settings import DecodingSettings
    from engine.models.loading import LoadedModel


class Answering:
    """Answers questions one at a time: padding, which a batch would need, changes numbers, and with
    them now and then a token."""

    name = "answers"

    def __init__(self, loaded: LoadedModel, decoding: Decoding, choices: Choices) -> None:
        self._loaded = loaded
        self._decoding = decoding
        self._choices = choices

    def read(self, item: Item, record: SweepItem) -> DecodedAnswers | str:
        """The answers with all settings, or the reason why one of them could not be decoded: the
        question fails then."""
        task = item.task.task
        found: list[SettingAnswers] = []
        for settings in self._decoding.settings:
            drawn = attempted(partial(self._draw, item, record.item, settings))
            if isinstance(drawn, str):
                return f"its answer ({name_of(settings)}) cannot be decoded: {drawn}"
            made = tuple(
                DecodedAnswer(
                    text=storable(each.text),
                    tokens=len(each.ids),
                    ended=each.ended,
                    matched=self._choices.said_in(each.text, task.group, task.truth),
                )
                for each in drawn
            )
            found.append(SettingAnswers(name_of(settings), made))
        return DecodedAnswers(tuple(found), task.given)

    def _draw(
        self, item: Item, item_id: str, settings: DecodingSettings
    ) -> tuple[DrawnAnswer, ...]:
        return draw_answers(
            self._loaded,
            item.inputs,
            structs.replace(settings, seed=seed_of(item_id, settings.seed)),
            self._decoding.draws_of(settings),
        )


def seed_of(item_id: str, seed: int) -> int:
    """The seed of an item's random numbers: with one seed for all, chance would favour the same
    tokens in all items, and intervals would be too narrow. It depends on nothing else, so that
    shards and sweeps that are resumed draw the same."""
    digest = hashlib.sha256(f"{seed} {item_id}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 2
