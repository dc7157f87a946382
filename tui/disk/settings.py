"""The user's settings: `config.toml`, overridden by the environment. `tui.cli` adds the flags."""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta, Struct, field, inspect

from engine.errors import BadInput
from engine.system.files import read_file
from tui.disk.paths import config_file, short_path
from tui.disk.toml_lines import KeyPath, key_lines
from tui.sharing.formats import COPY_FORMATS
from tui.state.columns import FIGURE_COLUMNS
from tui.state.measures import Measure

PREFIX: Final = "LENSCOPE_"
DEVICE: Final = r"^(auto|cpu|mps|(cuda|xpu)(:\d+)?)\Z"
DEVICES: Final = "auto, cpu, cuda, cuda:1 or mps"
_MOST_BYTES: Final = 2**20

Doc = Meta
"""Used as `Annotated[type, Doc(description=...)]`; `lenscope config` prints the description."""

_CHOICES: Final[dict[str, Collection[str]]] = {
    "copy_format": COPY_FORMATS,
    "plot": [measure.value for measure in Measure],
}
"""The accepted words of fields that take one of several; they come from where they are declared."""


def listed(names: Collection[str]) -> str:
    """Return words as a list within a sentence: "a, b or c"."""
    *others, last = names
    return f"{', '.join(others)} or {last}" if others else last


class Settings(Struct, frozen=True, forbid_unknown_fields=True):
    """The fields of config.toml. Each except `columns` and `keys` can also be set by a variable."""

    model: Annotated[
        str | None, Doc(description="the model to load: a hub id or a folder (the bundled one)")
    ] = None
    prompt: Annotated[str | None, Doc(description="the prompt at the start")] = None
    device: Annotated[
        Annotated[str, Meta(pattern=DEVICE)] | None, Doc(description=f"where it runs: {DEVICES}")
    ] = None
    dtype: Annotated[
        Literal["auto", "float32", "bfloat16", "float16"] | None,
        Doc(description="data type of the weights in memory: auto, float32, bfloat16 or float16"),
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
        Doc(description=f"columns beside the tokens, of {', '.join(FIGURE_COLUMNS)}"),
    ] = None
    plot: Annotated[str | None, Doc(description=f"what is plotted: {listed(_CHOICES['plot'])}")] = (
        None
    )
    copy_format: Annotated[
        str | None, Doc(description=f"what y and Y copy: {listed(_CHOICES['copy_format'])}")
    ] = None
    raw_cells: Annotated[
        bool, Doc(description="CSV and TSV with texts that begin like a formula (=, +, -, @) as is")
    ] = False
    lite: Annotated[bool, Doc(description="send fewer bytes, for slow lines")] = False
    ascii: Annotated[bool, Doc(description="draw with plain ASCII, without picture")] = False
    mouse: Annotated[bool, Doc(description="false leaves the mouse to the terminal")] = True
    picture: Annotated[bool, Doc(description="false hides the picture until p is pressed")] = True
    remember: Annotated[
        bool, Doc(description="remember theme, columns, recent pictures and models")
    ] = True
    autosave: Annotated[
        bool, Doc(description="keep the session on the disk while the explorer runs")
    ] = True
    live: Annotated[
        Literal["auto", "on", "off"],
        Doc(description="ask while you type: auto (where a pass takes less than 0.3 s), on or off"),
    ] = "auto"
    presets_file: Annotated[
        str | None, Doc(description="a TOML file of more prompts, like samples/prompts.toml")
    ] = None
    keys: Annotated[
        dict[str, str],
        Doc(description='your own keys: an action\'s id = "its keys, with commas"; "" unbinds'),
    ] = field(default_factory=dict)


NamesOf = Callable[[], Collection[str]]


@dataclass(frozen=True)
class FoundSettings:
    """The settings and the source of each."""

    settings: Settings
    sources: Mapping[str, str]
    """Field -> "line 3 of ~/.config/lenscope/config.toml", "LENSCOPE_LITE"; none for defaults."""


def load_settings(
    environment: Mapping[str, str] | None = None, themes: NamesOf | None = None
) -> FoundSettings:
    """Read config.toml and the environment.

    `themes` returns the known themes and is called only if one is named; without it any name is
    accepted.

    Raises BadInput with one line that names the line of the file, or the variable, that is wrong.
    """
    environment = os.environ if environment is None else environment
    file, values, sources = _file_if_any(), {}, {}
    if file is not None:
        name = short_path(file)
        text = _text(read_file(file, "config file", _MOST_BYTES), name)
        values = _parsed(text, name)
        lines = key_lines(text)
        for key, value in values.items():
            fault = _fault(key, value, themes)
            if fault is not None:
                path, words = fault
                raise BadInput(f"{name}, line {lines[path]}: {words}")
            sources[key] = f"line {lines[key,]} of {name}"
    for key, value in _from_environment(environment, themes).items():
        values[key] = value
        sources[key] = variable_of(key)
    return FoundSettings(msgspec.convert(values, Settings), sources)


def fields() -> tuple[inspect.Field, ...]:
    """Return every field of the settings, in order."""
    described = inspect.type_info(Settings)
    assert isinstance(described, inspect.StructType)
    return described.fields


def description(setting: inspect.Field) -> str:
    """Return the description of a field."""
    extra = getattr(setting.type, "extra_json_schema", None) or {}
    return str(extra.get("description", ""))


def has_variable(name: str) -> bool:
    """Return whether a field can be set in the environment; lists and tables cannot."""
    return name not in ("columns", "keys")


def variable_of(name: str) -> str:
    """Return the environment variable that sets a field."""
    return PREFIX + name.upper()


def strange_variables(environment: Mapping[str, str]) -> list[str]:
    """Return environment variables that look like ours but set nothing."""
    ours = {variable_of(field.name) for field in fields() if has_variable(field.name)}
    return sorted(name for name in environment if name.startswith(PREFIX) and name not in ours)


def _file_if_any() -> Path | None:
    """Return the config file, or None where there is none; without a home there can be none."""
    try:
        file = config_file()
    except FileNotFoundError:
        return None
    try:
        return file if file.exists() else None
    except OSError:
        return file  # reading it will report what is wrong


def _text(data: bytes, name: str) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise BadInput(f"{name}: not UTF-8 text") from None


def _parsed(text: str, name: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        words = str(error).replace("\n", " ")
        found = re.search(r" \(at line (\d+), column \d+\)$", words)
        line = int(found.group(1)) if found else text.count("\n") + 1
        reason = re.sub(r" \(at [^)]*\)$", "", words)
        raise BadInput(f"{name}, line {line}: {reason}") from None
    except RecursionError:
        raise BadInput(f"{name}: nested too deeply") from None
    except ValueError:
        raise BadInput(f"{name}: a number has too many digits") from None


def _from_environment(environment: Mapping[str, str], themes: NamesOf | None) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for setting in fields():
        name, variable = setting.name, variable_of(setting.name)
        given = environment.get(variable)
        if not given or not has_variable(name):
            continue
        if not _is_unicode(given):
            raise BadInput(f"{variable}: not UTF-8 text")
        value: Any = given
        if isinstance(setting.default, bool):
            value = _SWITCH.get(given.lower(), given)
        elif isinstance(setting.default, int) and re.fullmatch(r"-?[0-9]{1,9}", given):
            value = int(given)
        fault = _fault(name, value, themes)
        if fault is not None:
            raise BadInput(f"{variable}: {fault[1]}")
        values[name] = value
    return values


_SWITCH: Final = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}


def _is_unicode(text: str) -> bool:
    """Return whether text is valid Unicode: bytes that are not UTF-8 arrive as lone surrogates."""
    return not any("\ud800" <= character <= "\udfff" for character in text)


def _fault(name: str, value: Any, themes: NamesOf | None) -> tuple[KeyPath, str] | None:
    """Return where a setting is wrong and why, or None where it is right."""
    known = {setting.name: setting for setting in fields()}
    if name not in known:
        return (name,), f"unknown setting {_shown(name)}{_perhaps(name, known)}"
    if name == "keys" and isinstance(value, dict):
        for identity, keys in value.items():
            if not isinstance(keys, str):
                return (
                    name,
                    identity,
                ), f"keys: {_shown(identity)}: expected a string, got {_shown(keys)}"
    try:
        msgspec.convert({name: value}, Settings)
    except msgspec.ValidationError:
        return (name,), f"{name}: expected {_expected(known[name].type)}, got {_shown(value)}"
    if name in _CHOICES and value not in _CHOICES[name]:
        words = f"expected one of {', '.join(sorted(_CHOICES[name]))}, got {_shown(value)}"
        return (name,), f"{name}: {words}"
    if name == "columns":
        wrong = _first_unknown(value, FIGURE_COLUMNS)
        if wrong is not None:
            words = f"unknown column {_shown(wrong)}{_perhaps(wrong, FIGURE_COLUMNS)}"
            return (name,), f"{name}: {words}"
    if name == "theme" and themes is not None and value not in themes():
        words = f"unknown theme {_shown(value)}{_perhaps(value, themes())}"
        return (name,), f"{name}: {words}"
    if name == "keys":
        from tui.actions.registry import ACTIONS

        ids = [action.id for action in ACTIONS]
        wrong = _first_unknown(value, ids)
        if wrong is not None:
            return (name, wrong), f"keys: unknown action {_shown(wrong)}{_perhaps(wrong, ids)}"
    return None


def _expected(kind: inspect.Type) -> str:
    """Return what a field accepts, in TOML's terms."""
    match kind:
        case inspect.Metadata():
            return _expected(kind.type)
        case inspect.UnionType():
            return _expected(next(t for t in kind.types if not isinstance(t, inspect.NoneType)))
        case inspect.BoolType():
            return "true or false"
        case inspect.IntType():
            return f"a whole number from {kind.ge} to {kind.le}"
        case inspect.LiteralType():
            return f"one of {', '.join(map(str, kind.values))}"
        case inspect.VarTupleType():
            return "a list of strings"
        case inspect.DictType():
            return "a table of strings"
        case inspect.StrType(pattern=str()):
            return DEVICES
    return "a string"


def _shown(value: Any) -> str:
    """Return a wrong value as it was written, or its kind if it is long."""
    match value:
        case bool():
            return str(value).lower()
        case dict():
            return "a table"
        case list():
            return "a list"
        case int() if value.bit_length() > 64:
            return "a huge number"
    text = repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= 40 else text[:39] + "…"


def _first_unknown(names: Collection[str], known: Collection[str]) -> str | None:
    return next((name for name in names if name not in known), None)


def _perhaps(name: str, known: Collection[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {close[0]!r}?" if close else f"; choose from {', '.join(known)}"
