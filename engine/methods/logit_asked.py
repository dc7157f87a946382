"""Which logit a method explains, or the difference of which two; and the words that a piece of
it pushes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from engine.methods.method import Subject
from engine.methods.word_ids import word_ids
from engine.records import NonNegative, Number, Short, Token, finite

if TYPE_CHECKING:
    from torch import Tensor

    from engine.lens.logit_parts import Words
    from engine.prompts.token_texts import TextOf

UNCHANGED: Final = (
    "; and of what is taken out, the logits of a pass in which it is left as it is against those "
    "of a plain pass, to the bit"
)
WORDS: Final = 5
"""How many words a piece promotes and suppresses."""


class Pushed(Struct, frozen=True):
    """A token that a part promotes or suppresses."""

    id: NonNegative
    text: Short
    logit: Number | None
    """What the part adds to its logit, less what it adds to all logits on average."""


def asked_ids(
    subject: Subject, of: Sequence[str], logits: Tensor, alone: bool = False
) -> list[int]:
    """The token, or the two whose difference is asked for: of each word, the first token of its
    most likely spelling; without words the best token and the second best of `logits`, float32
    [vocabulary], or the best `alone`.

    Raises BadInput for a word that no token spells.
    """
    from engine.lens.ranking import Blocks

    if not of:
        best: list[int] = Blocks.of(logits[None], 2).best(2)[0].tolist()
        return best[:1] if alone else best
    return word_ids(subject.loaded, of, len(logits))


def asked_tokens(logits: Tensor, ids: Sequence[int], text_of: TextOf) -> tuple[Token, ...]:
    """Tokens as they stand in the logits that the model returned, float32 [vocabulary]."""
    shares = logits.softmax(-1)
    return tuple(
        Token(each, text_of(each), float(shares[each]), finite(float(logits[each]))) for each in ids
    )


def difference_of(values: Tensor) -> Tensor:
    """Of [tokens, ...]: the first, or the first minus the second."""
    return values[0] - values[1] if len(values) > 1 else values[0]


def pushed(words: Words, text_of: TextOf) -> tuple[Pushed, ...]:
    """Tokens with what is added to their logits, as records."""
    return tuple(
        Pushed(token, text_of(token), finite(amount))
        for token, amount in zip(words.ids, words.amounts, strict=True)
    )


def described(of: Sequence[Token]) -> str:
    """The logit or the difference, in words."""
    first, *second = [repr(each.text) for each in of]
    return f"the logit of {first}" + "".join(f" minus that of {each}" for each in second)
