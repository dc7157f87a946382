"""The tokens that the words of a request stand for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from engine.errors import BadInput

if TYPE_CHECKING:
    from engine.models.loading import LoadedModel


def word_ids(loaded: LoadedModel, words: Sequence[str], vocabulary: int) -> list[int]:
    """Of each word the first token of its most likely spelling, an id below `vocabulary`. Raises
    BadInput for a word that no token of the model spells."""
    from engine.prompts.spellings import speller_of

    speller = speller_of(loaded.model, loaded.processor)
    ids = []
    for word in words:
        spelled = speller.spellings(word)
        if not spelled or spelled[0].id >= vocabulary:
            raise BadInput(f"no token of this model is {word!r}")
        ids.append(spelled[0].id)
    return ids
