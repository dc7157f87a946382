"""Parses requests: from `--read METHOD:field=value,...` and from `asked.read(...)`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Final, get_args, get_origin, get_type_hints

import msgspec

from engine.errors import BadInput
from engine.methods.method import Method
from engine.records import Request

_SETTING: Final = re.compile(r'\s*([a-z_]+)\s*=\s*(?:"([^"]*)"|([^,"]*))\s*(?:,|$)')
_MISSING: Final = re.compile(r"Object missing required field `(\w+)`.*")
_SPAN: Final = re.compile(r"(\d{1,9})-(\d{1,9})")
_MOST_OF_A_SPAN: Final = 100_000


def parse_read(text: str) -> tuple[str, dict[str, str]]:
    """The name of a method, and its settings as text.

    A value with commas or spaces is quoted: `words:words="dog,cat"`. Raises BadInput for a text
    that cannot be parsed.
    """
    name, mark, rest = text.partition(":")
    settings: dict[str, str] = {}
    place = 0
    while place < len(rest):
        found = _SETTING.match(rest, place)
        if found is None:
            raise BadInput(
                f"{text}: write METHOD or METHOD:field=value,field=value, "
                'and quote a value with commas: field="a,b"'
            )
        if found[1] in settings:
            raise BadInput(f"{text}: {found[1]} is given twice")
        settings[found[1]] = found[3] if found[2] is None else found[2]
        place = found.end()
    if mark and not settings:
        raise BadInput(f"{text}: field=value is missing after the colon")
    return name.strip(), settings


def request_of(method: Method[Any, Any], settings: Mapping[str, Any]) -> Request:
    """The request with these settings; values given as text are converted to their field's type.

    Raises BadInput, which names the field that is wrong or missing, and all fields.
    """
    kinds = fields_of(method)
    for name in settings:
        if name not in kinds:
            raise BadInput(f"{method.name} has no {name!r}; it takes {described(method)}")
    values = {name: _value(kinds[name], value) for name, value in settings.items()}
    try:
        made: Request = msgspec.convert(values, method.request, strict=False)
    except msgspec.ValidationError as error:
        raise BadInput(f"{method.name}: {_reason(error)}; it takes {described(method)}") from None
    return made


def _reason(error: msgspec.ValidationError) -> str:
    """What msgspec found wrong, in terms of the command line."""
    missing = _MISSING.fullmatch(str(error))
    if missing is not None:
        return f"{missing[1]}= is missing"
    what, _, where = str(error).partition(" - at `$.")
    field = re.match(r"\w*", where)
    return f"{field[0]}=: {what}" if field and field[0] else what


def fields_of(method: Method[Any, Any]) -> dict[str, Any]:
    """The fields of a method's request: name as written -> type."""
    hints = get_type_hints(method.request, include_extras=True)
    pairs = zip(
        method.request.__struct_fields__, method.request.__struct_encode_fields__, strict=True
    )
    return {written: hints[name] for name, written in pairs}


def described(method: Method[Any, Any]) -> str:
    """The fields of a method's request as text ("against=, a=, b="), or "no settings"."""
    return ", ".join(f"{name}=" for name in fields_of(method)) or "no settings"


def _value(kind: Any, value: Any) -> Any:
    """A value that msgspec can convert: text becomes a list if the field is one, and spans such as
    "3-7" become numbers."""
    kind = _plain(kind)
    if not isinstance(value, str) or get_origin(kind) is not tuple:
        return value
    items = [item for item in map(str.strip, value.split(",")) if item]
    if str in map(_plain, get_args(kind)):
        return items
    numbers: list[Any] = []
    for item in items:
        span = _SPAN.fullmatch(item)
        if span is None:
            numbers.append(item)
        elif int(span[2]) - int(span[1]) < _MOST_OF_A_SPAN:
            numbers += range(int(span[1]), int(span[2]) + 1)
        else:
            raise BadInput(f"{item}: too many numbers")
    return numbers


def _plain(kind: Any) -> Any:
    """A type without its annotations."""
    return _plain(get_args(kind)[0]) if get_origin(kind) is Annotated else kind
