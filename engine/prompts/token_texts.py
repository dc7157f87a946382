"""What a token adds to a running text, as records store it; `tui` decides how it is shown."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

from engine.errors import CannotRead
from engine.prompts.byte_level import bytes_of

TextOf = Callable[[int], str]
"""From a token's id to what it adds to a running text."""

_texts: WeakKeyDictionary[Any, TokenTexts] = WeakKeyDictionary()


def remember_tokenizer(model: Any, tokenizer: Any) -> None:
    """Let every `Lens` of this model decode ids with this tokenizer."""
    _texts[model] = TokenTexts(tokenizer)


def texts_for(model: Any) -> TextOf:
    """From id to text for this model; every text is empty where no tokenizer is known."""
    return _texts.get(model) or (lambda _: "")


def refuse_other_vocabulary(model: Any, tokenizer: Any) -> None:
    """Raise CannotRead where the model has not one output for each token of its tokenizer.

    Embeddings are padded and a few tokens (a picture's) may have no output, so the two numbers may
    differ; those of a head over something else (robot actions, say) are far apart.
    """
    head = model.get_output_embeddings()
    width = getattr(getattr(head, "weight", None), "shape", (None,))[0]
    tokens = len(tokenizer)
    if isinstance(width, int) and width < 0.9 * min(tokens, tokenizer.vocab_size):
        raise CannotRead(
            f"{type(model).__name__} has {width} outputs, "
            f"not one for each of its tokenizer's {tokens} tokens"
        )


class TokenTexts:
    """Decodes single tokens after another token, so that a leading space is kept."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._anchor = self._find_anchor()
        self._anchor_text = self._decode(self._anchor)
        self._cache: dict[int, str] = {}

    def __call__(self, token: int) -> str:
        """What this id adds to a running text; where that is not valid UTF-8 by itself, its
        vocabulary piece, or its bytes as \\xHH."""
        if token not in self._cache:
            self._cache[token] = self._text(token)
        return self._cache[token]

    def _text(self, token: int) -> str:
        piece = self._tokenizer.convert_ids_to_tokens(token)
        if not isinstance(piece, str):
            return ""
        running = self._decode([*self._anchor, token])
        if running.startswith(self._anchor_text):
            text = running[len(self._anchor_text) :]
        else:
            text = self._decode([token])
        if "\ufffd" not in text:
            return text
        added = getattr(self._tokenizer, "added_tokens_decoder", {})
        if token in added:
            return str(added[token])
        raw = bytes_of(piece)
        if raw is None:
            return piece
        try:
            return raw.decode()
        except UnicodeDecodeError:
            return "".join(f"\\x{byte:02X}" for byte in raw)

    def _find_anchor(self) -> list[int]:
        for text in ("a", "0", "."):
            ids = self._tokenizer.encode(text, add_special_tokens=False)
            if ids and self._decode(ids[-1:]).strip():
                return [int(ids[-1])]
        return []

    def _decode(self, ids: list[int]) -> str:
        return str(
            self._tokenizer.decode(
                ids, skip_special_tokens=False, clean_up_tokenization_spaces=False
            )
        )
