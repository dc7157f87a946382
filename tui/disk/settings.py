"""The user's settings: `config.toml`, then the environment; flags come on top in `tui.cli`."""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta, Struct, field

from engine.errors import BadInput
from engine.files import read_file
from tui.disk.paths import config_file, short_path
from tui.state.column_names import COLUMN_NAMES

PREFIX: Final = "LENSCOPE_"
_MOST_BYTES: Final = 2**20

Doc = Meta
"""`Annotated[type, Doc(description=...)]`: the description is what `lenscope config` prints."""

CopyFormat = Literal["tsv", "markdown", "json"]
PlotMeasure = Literal["probability", "log", "rank"]


class Settings(Struct, frozen=True, forbid_unknown_fields=True):
    """Every field of config.toml; each but `columns` and `keys` is also a variable."""

    model: Annotated[
        str | None, Doc(description="the model to load: a hub id or a folder (the bundled one)")
    ] = None
    prompt: Annotated[str | None, Doc(description="the prompt to begin with")] = None
    device: Annotated[str | None, Doc(description="auto, cpu, cuda, cuda:1, mps")] = None
    dtype: Annotated[
        Literal["auto", "float32", "bfloat16", "float16"] | None,
        Doc(description="the weights' type in memory"),
    ] = None
    cache_dir: Annotated[str | None, Doc(description="where downloads are kept")] = None
    top_k: Annotated[int, Meta(ge=1, le=100, description="tokens per layer in the table")] = 3
    theme: Annotated[
        str | None,
        Doc(
            description="lenscope, lenscope-light or a theme of Textual's; without it the last one"
        ),
    ] = None
    columns: Annotated[
        tuple[str, ...] | None,
        Doc(description=f"columns beside the tokens, of {', '.join(COLUMN_NAMES)}"),
    ] = None
    plot: Annotated[
        PlotMeasure | None, Doc(description="what is plotted: probability, log or rank")
    ] = None
    copy_format: Annotated[
        CopyFormat | None, Doc(description="what y and Y copy: tsv, markdown or json")
    ] = None
    lite: Annotated[bool, Doc(description="for slow lines: fewer bytes")] = False
    ascii: Annotated[bool, Doc(description="plain ASCII, no picture")] = False
    mouse: Annotated[bool, Doc(description="false leaves the mouse to the terminal")] = True
    picture: Annotated[bool, Doc(description="false hides the picture until p is pressed")] = True
    remember: Annotated[
        bool, Doc(description="remember theme, columns, recent pictures and models")
    ] = True
    autosave: Annotated[
        bool, Doc(description="keep the session on the disk while the explorer runs")
    ] = True
    presets_file: Annotated[
        str | None, Doc(description="a TOML file of more prompts, like samples/prompts.toml")
    ] = None
    keys: Annotated[
        dict[str, str],
        Doc(description='keys of your own: an action\'s id = "its keys, with commas"; "" unbinds'),
    ] = field(default_factory=dict)


@dataclass(frozen=True)
class Loaded:
    """The settings, and where each of them comes from."""

    settings: Settings
    sources: Mapping[str, str]
    """Field -> "line 3 of ~/.config/lenscope/config.toml", "LENSCOPE_LITE"; none for defaults."""


def load_settings(environment: Mapping[str, str] | None = None) -> Loaded:
    """Read config.toml and the environment.

    Raises BadInput: one line, with the line of the file, or the variable, that is wrong.
    """
    environment = os.environ if environment is None else environment
    file, values, sources = config_file(), {}, {}
    if file.exists():
        text = _text(read_file(file, "config file", _MOST_BYTES), short_path(file))
        values = _checked(text, short_path(file))
        sources = {name: f"line {_line_of(text, (name,))} of {short_path(file)}" for name in values}
    for name, value in _from_environment(environment).items():
        values[name] = value
        sources[name] = PREFIX + name.upper()
    return Loaded(msgspec.convert(values, Settings), sources)


def fields() -> tuple[msgspec.inspect.Field, ...]:
    """Return every field of the settings, in order."""
    described = msgspec.inspect.type_info(Settings)
    assert isinstance(described, msgspec.inspect.StructType)
    return described.fields


def description(setting: msgspec.inspect.Field) -> str:
    """Return what a field is for."""
    kind = setting.type
    extra = getattr(kind, "extra_json_schema", None) or {}
    return str(extra.get("description", ""))


def _text(data: bytes, name: str) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise BadInput(f"{name}: not a text in UTF-8") from None


def _checked(text: str, name: str) -> dict[str, Any]:
    try:
        values = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError, ValueError) as error:
        found = re.search(r"\(at line (\d+)", str(error))
        line = found.group(1) if found else text.count("\n") + 1
        where = f"{name}, line {line}"
        reason = re.sub(r" ?\(at .*\)$", "", str(error).replace("\n", " "))
        raise BadInput(f"{where}: {reason}") from None
    for key, value in values.items():
        fault = _fault(key, value)
        if fault is not None:
            path, words = fault
            raise BadInput(f"{name}, line {_line_of(text, path)}: {words}")
    return values


def _from_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for setting in fields():
        variable = PREFIX + setting.name.upper()
        given = environment.get(variable)
        if not given or setting.name in ("keys", "columns"):
            continue
        value: Any = given
        default = getattr(Settings(), setting.name)
        if isinstance(default, bool):
            value = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}
            value = value.get(given.lower(), given)
        elif isinstance(default, int) and given.lstrip("-").isdecimal() and len(given) < 10:
            value = int(given)
        fault = _fault(setting.name, value)
        if fault is not None:
            raise BadInput(f"{variable}: {fault[1]}")
        values[setting.name] = value
    return values


def _fault(name: str, value: Any) -> tuple[tuple[str, ...], str] | None:
    """What is wrong with a setting: where, and in words; None where it is right."""
    known = [setting.name for setting in fields()]
    if name not in known:
        return (name,), f"there is no setting {name!r}{_perhaps(name, known)}"
    if name == "keys" and isinstance(value, dict):
        for identity, keys in value.items():
            if not isinstance(keys, str):
                return (name, identity), f"keys: {identity}: expected a text, got {_short(keys)}"
    try:
        msgspec.convert({name: value}, Settings)
    except (msgspec.ValidationError, ValueError) as error:
        words = re.sub(r" - at `.*`$", "", str(error).replace("\n", " "))
        meaning = next(description(known) for known in fields() if known.name == name)
        return (name,), f"{name}: {_plain(words)}, got {_short(value)} ({meaning})"
    if name == "columns":
        wrong = next((column for column in value if column not in COLUMN_NAMES), None)
        if wrong is not None:
            return (name,), f"columns: there is no column {wrong!r}{_perhaps(wrong, COLUMN_NAMES)}"
    if name == "theme":
        from tui.theme import theme_names

        if value not in theme_names():
            return (name,), f"theme: there is none called {value!r}{_perhaps(value, theme_names())}"
    if name == "keys":
        from tui.actions import ACTIONS

        ids = [action.id for action in ACTIONS]
        wrong = next((identity for identity in value if identity not in ids), None)
        if wrong is not None:
            return (name, wrong), f"keys: there is no action {wrong!r}{_perhaps(wrong, ids)}"
    return None


def _plain(words: str) -> str:
    """msgspec's complaint in the words of TOML."""
    words = re.sub(r", got `[^`]*`$| '.*'$", "", words)
    for theirs, ours in (
        ("`bool`", "true or false"),
        ("`str | null`", "a text"),
        ("`str`", "a text"),
        ("`int`", "a whole number"),
        ("`array | null`", "a list"),
        ("`object`", "a table"),
        ("Expected", "expected"),
        ("Invalid enum value", "not one of its values"),
    ):
        words = words.replace(theirs, ours)
    return words


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else text[:39] + "…"


def _perhaps(name: str, known: Any) -> str:
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"; perhaps {close[0]!r}" if close else f"; there are {', '.join(known)}"


def _line_of(text: str, path: tuple[str, ...]) -> int:
    """The line of a key, given as the tables it lies in and its name; 1 where it is not found.

    Good for what people write: keys bare or quoted, tables by header, dotted or inline.
    """
    lines = text.splitlines()
    name = path[-1]
    key = rf"(?:{re.escape(name)}|\"{re.escape(name)}\"|'{re.escape(name)}')"
    table: tuple[str, ...] = ()
    fallback = 1
    for number, line in enumerate(lines, 1):
        header = re.match(r"\s*\[+\s*([^\]]+?)\s*\]+", line)
        if header is not None and not re.match(r"\s*\[[^\]]*\]\s*,", line):
            table = tuple(part.strip(" \"'") for part in header.group(1).split("."))
            if table[: len(path)] == path:
                return number
            continue
        if table == path[:-1] and re.match(rf"\s*{key}\s*[=.]", line):
            return number
        outer = r"\s*\.\s*".join(re.escape(part) for part in path[:-1])
        inside = rf"\s*{outer}\s*(?:\.\s*{key}\s*=|=\s*\{{.*{key}\s*=)"
        if len(path) > 1 and not table and re.match(inside, line):
            return number
        if fallback == 1 and re.search(rf"(?:^|[\s{{,.]){key}\s*[=.]", line):
            fallback = number
    return fallback
