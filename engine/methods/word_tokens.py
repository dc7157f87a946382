"""The tokens that a request names by words."""

from __future__ import annotations

from collections.abc import Sequence

from engine.errors import BadInput
from engine.methods.method import Subject


def word_ids(subject: Subject, words: Sequence[str], vocabulary: int) -> list[int]:
    """The first token of each word's most likely spelling, an id below `vocabulary`.

    Raises BadInput for a word that no token begins.
    """
    from engine.prompts.spellings import speller_of

    speller = speller_of(subject.loaded.model, subject.loaded.processor)
    ids = []
    for word in words:
        spelled = speller.spellings(word)
        if not spelled or spelled[0].id >= vocabulary:
            raise BadInput(f"no token of this model is {word!r}")
        ids.append(spelled[0].id)
    return ids
