"""Sorting and filtering a list by any of its columns. Independent of Textual."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

Item = TypeVar("Item")
Value = str | float | None

_CONDITION: Final = re.compile(r"([^\W\d][\w-]*)(<=|>=|[:=<>])(.+)")


@dataclass(frozen=True)
class Field(Generic[Item]):
    """A column by which a list can be sorted and filtered."""

    name: str
    """What the user types in a filter."""
    value: Callable[[Item], Value]


@dataclass(frozen=True)
class Order:
    """How a list is sorted and filtered."""

    by: str = ""
    """The name of a field; empty for the list's own order."""
    descending: bool = False
    wanted: str = ""
    """Words that must all be found, and conditions such as `answer:red`, `p>50%`, `from<=5`."""

    @property
    def words(self) -> str:
        """Return it as people read it; nothing for the list's own order without a filter."""
        parts = [f"/{self.wanted}"] if self.wanted else []
        if self.by:
            parts.append(f"by {self.by}{', largest first' if self.descending else ''}")
        return ", ".join(parts)


def listed(items: Iterable[Item], fields: Sequence[Field[Item]], order: Order) -> list[Item]:
    """Return the items that the filter lets pass, sorted; those without a value come last."""
    tests = [_test(word, fields) for word in order.wanted.split()]
    kept = [item for item in items if all(test(item) for test in tests)]
    field = next((each for each in fields if each.name == order.by), None)
    if field is None:
        return kept
    has, has_not = list[tuple[tuple[int, str | float], Item]](), list[Item]()
    for item in kept:
        value = field.value(item)
        if value is None or value == "":
            has_not.append(item)
        else:
            has.append((_key(value), item))
    has.sort(key=lambda pair: pair[0], reverse=order.descending)
    return [item for _, item in has] + has_not


def next_order(order: Order, fields: Sequence[Field[Item]], step: int = 1) -> Order:
    """Return the order by the next field; after the last one comes the list's own order."""
    names = ["", *(field.name for field in fields)]
    here = names.index(order.by) if order.by in names else 0
    return Order(names[(here + step) % len(names)], False, order.wanted)


def _key(value: str | float) -> tuple[int, str | float]:
    return (1, value.strip().casefold()) if isinstance(value, str) else (0, value)


def _test(word: str, fields: Sequence[Field[Item]]) -> Callable[[Item], bool]:
    match = _CONDITION.fullmatch(word)
    field = next((each for each in fields if match and each.name == match[1].casefold()), None)
    if match is None or field is None:
        wanted = word.casefold()
        return lambda item: any(wanted in _text(each.value(item)) for each in fields)
    value, sign, text = field.value, match[2], match[3]
    if sign == ":":
        return lambda item: text.casefold() in _text(value(item))
    number = _number(text)
    if number is None:
        return lambda item: sign == "=" and _text(value(item)).strip() == text.casefold()
    return lambda item: _holds(value(item), sign, number)


def _holds(value: Value, sign: str, number: float) -> bool:
    if not isinstance(value, float | int):
        return False
    if sign == "=":
        return value == number
    return (value < number if "<" in sign else value > number) or ("=" in sign and value == number)


def _text(value: Value) -> str:
    if value is None:
        return ""
    return value.casefold() if isinstance(value, str) else f"{value:g}"


def _number(text: str) -> float | None:
    try:
        return float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        return None
