"""Which settings of decoding a sweep tries: a small grammar, and a name for each setting.

    settings = part ("," part)*               every combination of the parts' values
    part     = name "=" values ("|" values)*
    values   = number                         that one
             | a..b                           ten values from a to b, equally far apart
             | a..b/step                      a, a + step, ..., up to b

Of whole numbers, a..b are at most ten, rounded: top_k=1..5 is five values. Numbers are written
without sign or exponent. Several texts are alternatives: each has combinations of its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from functools import lru_cache
from itertools import product
from math import prod
from typing import Any, Final

import msgspec
from msgspec import structs

from engine.errors import BadInput
from engine.lens.decoding_settings import DecodingSettings
from engine.sweeps.records import MOST_ANSWERS, MOST_SETTINGS, Decoding

GREEDY: Final = "greedy"
"""The name of the base line: the most probable token at each step, and no penalty."""
VARIED: Final = ("temperature", "top_k", "top_p", "min_p", "repetition_penalty", "seed")
"""What can be varied."""
COMMON: Final = (*DecodingSettings.__struct_fields__, "draws")
"""What can be the same for all settings; the limit of new tokens is that of the base line, too."""
STEPS: Final = 10
_WHOLE: Final = ("top_k", "seed")
_NUMBER: Final = r"\d{1,18}(?:\.\d{1,18})?"
_RANGE: Final = re.compile(rf"({_NUMBER})\.\.({_NUMBER})(?:/({_NUMBER}))?")
_ONE: Final = re.compile(_NUMBER)


def decoding_of(common: Mapping[str, str], varied: Sequence[str] = ()) -> Decoding:
    """How a sweep decodes, from settings as text that all have in `common` and texts of the grammar
    above: greedily first, then each other setting once.

    Raises BadInput, naming what is wrong and what is allowed.
    """
    for name in common:
        if name not in COMMON:
            raise BadInput(
                f"a sweep's answers have no {name!r}; they take "
                + ", ".join(f"{each}=" for each in COMMON)
            )
    draws = _convert("draws", common.get("draws", "1"), Decoding)
    base = {
        name: _convert(name, text, DecodingSettings)
        for name, text in common.items()
        if name != "draws"
    }
    first = DecodingSettings(max_new_tokens=base.get("max_new_tokens", _default_limit()))
    found = {first: None}
    if not varied:
        found[normalised(DecodingSettings(**base))] = None
    for text in varied:
        for values in _combinations(text, base):
            found[normalised(DecodingSettings(**{**base, **values}))] = None
    if len(found) > MOST_SETTINGS:
        raise BadInput(f"{len(found):,} settings; the limit is {MOST_SETTINGS}")
    made = Decoding(settings=tuple(found), draws=draws)
    answers = sum(made.draws_of(each) for each in found)
    if answers > MOST_ANSWERS:
        raise BadInput(
            f"{answers:,} answers to every question ({len(found):,} settings, {draws:,} draws); "
            f"the limit is {MOST_ANSWERS:,}"
        )
    return made


def normalised(settings: DecodingSettings) -> DecodingSettings:
    """The same without what changes nothing, so that settings that decode alike are equal."""
    penalty = None if settings.repetition_penalty == 1 else settings.repetition_penalty
    if not settings.samples:
        return DecodingSettings(max_new_tokens=settings.max_new_tokens, repetition_penalty=penalty)
    return structs.replace(
        settings,
        temperature=1.0 if settings.temperature is None else settings.temperature,
        top_p=None if settings.top_p == 1 else settings.top_p,
        min_p=settings.min_p or None,
        repetition_penalty=penalty,
    )


def name_of(settings: DecodingSettings) -> str:
    """`greedy`, `temperature=0.7`, `temperature=1,top_p=0.9`: all that is not the base line's, but
    for the limit of new tokens, which all settings of a sweep have in common."""
    base = DecodingSettings()
    parts = [
        f"{name}={_shortest(value)}"
        for name in VARIED
        if (value := getattr(settings, name)) != getattr(base, name)
    ]
    return ",".join(parts) or GREEDY


@lru_cache(maxsize=8)
def names_of(decoding: Decoding) -> tuple[str, ...]:
    """The names of all settings, the base line first; every line of a sweep is checked by them."""
    return tuple(map(name_of, decoding.settings))


def _default_limit() -> int:
    return DecodingSettings().max_new_tokens


def _combinations(text: str, base: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The settings that one text names. Raises BadInput."""
    values: dict[str, list[Any]] = {}
    for part in text.split(","):
        name, sign, given = (each.strip() for each in part.partition("="))
        if name not in VARIED or not sign:
            raise BadInput(
                f"settings {text!r}: {part.strip()!r} is none; write name=0.5, name=0.1..1.0, "
                f"name=0..2/0.5 or name=0.5|0.9, where name is {', '.join(VARIED[:-1])} "
                f"or {VARIED[-1]}"
            )
        if name in values or name in base:
            raise BadInput(f"settings {text!r}: {name} is given twice")
        values[name] = list(
            dict.fromkeys(each for some in given.split("|") for each in _values(name, some.strip()))
        )
    count = prod(map(len, values.values()))
    if count > MOST_SETTINGS:
        raise BadInput(f"settings {text!r}: {count:,} combinations; the limit is {MOST_SETTINGS}")
    for combination in product(*values.values()):
        yield dict(zip(values, combination, strict=True))


def _values(name: str, text: str) -> list[Any]:
    """The values that a number or a range stands for. Raises BadInput."""
    found = _RANGE.fullmatch(text)
    if found is None:
        if _ONE.fullmatch(text) is None:
            raise BadInput(
                f"{name}={text}: neither a number (0.5) nor a range (0.1..1.0, 0..2/0.5)"
            )
        return [_convert(name, text, DecodingSettings)]
    low, high = Fraction(found[1]), Fraction(found[2])
    if low > high:
        raise BadInput(f"{name}={text}: a range goes from the smaller number to the larger one")
    for edge in (found[1], found[2]):
        _convert(name, edge, DecodingSettings)
    if found[3] is None:
        spread = [low + (high - low) * step / (STEPS - 1) for step in range(STEPS)]
    else:
        step = Fraction(found[3])
        if not step:
            raise BadInput(f"{name}={text}: the step is 0")
        count = (high - low) // step + 1
        if count > MOST_SETTINGS:
            raise BadInput(f"{name}={text}: {count:,} values; the limit is {MOST_SETTINGS}")
        spread = [low + step * number for number in range(count)]
    if name not in _WHOLE:
        return [*map(float, spread)]
    if found[3] is not None and "." in found[3]:
        raise BadInput(f"{name}={text}: {name} is a whole number, and so is its step")
    return [int(value + Fraction(1, 2)) for value in spread]


def _convert(name: str, text: str, record: type[Any]) -> Any:
    """A number as its field takes it. Raises BadInput."""
    kind = next(each.type for each in structs.fields(record) if each.name == name)
    if re.fullmatch(_NUMBER, text) is None:
        raise BadInput(f"{name}={text}: not a number from 0 up")
    try:
        return msgspec.convert(text, kind, strict=False)
    except msgspec.ValidationError as error:
        raise BadInput(f"{name}={text}: {_reason(error)}") from None


def _reason(error: msgspec.ValidationError) -> str:
    """What is wrong in msgspec's words, without its marks of code."""
    text = str(error).replace("`", "").replace(" | null", "").partition(", got")[0]
    for kind, words in (("int", "a whole number"), ("float", "a number")):
        text = text.replace(f"Expected {kind}", f"not {words}")
    return text


def _shortest(value: float) -> str:
    """As few digits as tell the value from all others: 1 for 1.0."""
    return str(int(value)) if value == int(value) else repr(value)
