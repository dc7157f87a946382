"""The tokens that a true answer may begin with, looked up once per answer."""

from __future__ import annotations

from engine.prompts.processors import tokenizer_of
from engine.prompts.spellings import Spelled, spelled, vocabulary_of
from engine.prompts.token_texts import TextOf

NO_TRUTH = Spelled((), False)


class TruthSpellings:
    """The spellings of true answers in one model's vocabulary."""

    def __init__(self, model: object, processor: object, text_of: TextOf) -> None:
        tokenizer = tokenizer_of(processor)
        self._spell = spelled(tokenizer, text_of, vocabulary_of(model, tokenizer))
        self._known: dict[str, Spelled] = {}

    def of(self, truth: str | None) -> Spelled:
        """The spellings of one answer; none where no truth is known."""
        if truth is None:
            return NO_TRUTH
        if truth not in self._known:
            self._known[truth] = self._spell(truth)
        return self._known[truth]
