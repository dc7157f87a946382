"""Decodes the whole answers to one question, with every setting of a sweep."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from msgspec import structs

from engine.asking.asking import explain
from engine.asking.drawing import draw_answers
from engine.errors import CannotRead
from engine.sweeps.items import Item, came_from_the_model
from engine.sweeps.matching import Choices
from engine.sweeps.records import DecodedAnswer, DecodedAnswers, Decoding, SettingAnswers
from engine.sweeps.settings import name_of
from engine.system.files import storable
from engine.system.memory import give_memory_back, is_out_of_memory

if TYPE_CHECKING:
    from engine.asking.drawing import DrawnAnswer
    from engine.lens.decoding_settings import DecodingSettings
    from engine.models.loading import LoadedModel


class Answering:
    """Answers questions one at a time: padding, which a batch would need, changes numbers, and with
    them now and then a token."""

    def __init__(self, loaded: LoadedModel, decoding: Decoding, choices: Choices) -> None:
        self._loaded = loaded
        self._decoding = decoding
        self._choices = choices

    def answers(self, item: Item, item_id: str) -> DecodedAnswers | str:
        """The answers with all settings, or the reason why one of them could not be decoded."""
        task = item.task.task
        found: list[SettingAnswers] = []
        for settings in self._decoding.settings:
            try:
                drawn = self._drawn(item, item_id, settings)
            except Exception as error:
                if not came_from_the_model(error):
                    raise
                reason = str(error) if isinstance(error, CannotRead) else str(explain(error))
                return f"its answer ({name_of(settings)}) cannot be decoded: {reason}"
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

    def _drawn(
        self, item: Item, item_id: str, settings: DecodingSettings
    ) -> tuple[DrawnAnswer, ...]:
        """Where memory runs out, it is given back, and asked for once more."""
        try:
            return self._draw(item, item_id, settings)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            error.__traceback__ = None  # it holds the tensors of the failed pass
        give_memory_back()
        return self._draw(item, item_id, settings)

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
