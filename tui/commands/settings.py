"""`lenscope config` and `lenscope paths`: the settings in effect, and where files are."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from engine.errors import BadInput
from engine.system.files import reason_of, user_path
from tui.commands.exits import Exit
from tui.commands.parsers import DEFAULT_PROMPT
from tui.disk.journal import SUFFIX
from tui.disk.paths import config_file, journals_folder, sessions_folder, state_folder
from tui.disk.remembered import Remembered
from tui.disk.settings import (
    NamesOf,
    description,
    fields,
    load_settings,
    strange_variables,
    variable_of,
)
from tui.state.table_look import TableLook
from tui.text.show import plain_line


def run_config(themes: NamesOf | None = None) -> Exit:
    """Print every setting as TOML that can be put into config.toml; what is not set there or in
    the environment is commented out."""
    loaded = load_settings(themes=themes)
    _never_fail_to_print()
    remembered = Remembered.load() if loaded.settings.remember else Remembered()
    print(f"# {_place(config_file)}")
    print(f"# Variables such as {variable_of('theme')} override this file; flags override both.")
    print("# Commented lines are not set.")
    for variable in strange_variables(os.environ):
        print(f"# {plain_line(variable)} sets nothing: no setting has this name.")
    for setting in fields():
        name = setting.name
        source = loaded.sources.get(name)
        chosen_last = getattr(remembered, name, None)
        print(f"\n# {description(setting)}")
        if source is not None:
            print(f"# from {plain_line(source)}")
            _print_setting(name, getattr(loaded.settings, name), "")
        elif chosen_last is not None:
            print("# the last one chosen, remembered")
            _print_setting(name, chosen_last, "# ")
        elif name in _EXAMPLES:
            print("# not set; for example")
            _print_setting(name, _EXAMPLES[name], "# ")
        else:
            print("# the default")
            _print_setting(name, _DEFAULTS.get(name, getattr(loaded.settings, name)), "# ")
    return Exit.DONE


def _print_setting(name: str, value: Any, sign: str) -> None:
    if isinstance(value, Mapping):
        print(f"{sign}[{name}]")
        for key, text in value.items():
            print(f"{sign}{_quoted(key)} = {_quoted(text)}")
    else:
        print(f"{sign}{name} = {_toml(value)}")


def run_paths() -> Exit:
    """Print where configuration, sessions, models and samples are, and what is there."""
    import samples

    _never_fail_to_print()
    places: dict[str, tuple[Callable[[], Path], _Holds]] = {
        "config": (config_file, _Holds()),
        "state": (state_folder, _Holds()),
        "kept sessions": (sessions_folder, _Holds("session", ("*.json",))),
        "journals": (journals_folder, _Holds("journal", (f"*{SUFFIX}", "*.json"))),
        "model cache": (_model_cache, _Holds("model", ("models--*",), sized=False)),
        "bundled model": (lambda: Path(samples.MODEL), _Holds("file", ("*",))),
        "bundled pictures": (
            lambda: Path(samples.DEFAULT_PICTURE).parent,
            _Holds("picture", ("*.png",)),
        ),
        "prompts": (lambda: Path(samples.PROMPTS), _Holds()),
    }
    width = max(map(len, places)) + 2
    for name, (place, holds) in places.items():
        print(f"{name:<{width}}{_place(place, holds)}")
    return Exit.DONE


@dataclass(frozen=True)
class _Holds:
    """What is counted in a folder."""

    what: str = ""
    patterns: tuple[str, ...] = ()
    sized: bool = True
    """Whether they are files, whose sizes are added up."""


def _model_cache() -> Path:
    """Return the folder in which models from the hub are cached."""
    with contextlib.suppress(BadInput, OSError):  # other commands report what is wrong
        given = load_settings().settings.cache_dir
        if given:
            return user_path(given)
    from engine.models.hub_environment import cache_folder

    return cache_folder()


def _place(place: Callable[[], Path], holds: _Holds | None = None) -> str:
    """Return a path and what is there, or why there is none."""
    try:
        path = place()
    except FileNotFoundError as error:  # no home
        return f"none: {reason_of(error)}"
    return plain_line(str(path)) + _what_is_there(path, holds or _Holds())


def _what_is_there(path: Path, holds: _Holds) -> str:
    try:
        if not path.exists():
            return "  (not there yet)"
        if path.is_dir() and holds.what:
            found = {each for pattern in holds.patterns for each in path.glob(pattern)}
            if holds.sized:
                found = {each for each in found if each.is_file()}
            count = f"{len(found)} {holds.what}{'' if len(found) == 1 else 's'}"
            if not found or not holds.sized:
                return f"  ({count})"
            return f"  ({count}, {sum(each.stat().st_size for each in found) / 1e6:.1f} MB)"
    except (OSError, ValueError) as error:
        return f"  ({plain_line(reason_of(error))})"
    return ""


_EXAMPLES: Final = {
    "model": "org/model",
    "cache_dir": "/path/to/cache",
    "presets_file": "/path/to/prompts.toml",
}
"""An example value for every setting without a default."""

_DEFAULTS: Final = {
    "prompt": DEFAULT_PROMPT,
    "device": "auto",
    "dtype": "auto",
    "theme": "lenscope",
    "columns": TableLook().figures,
    "plot": "probability",
    "copy_format": "tsv",
}
"""The values used where neither a setting nor what is remembered decides."""


def _toml(value: Any) -> str:
    match value:
        case bool():
            return str(value).lower()
        case tuple():
            return f"[{', '.join(map(_quoted, value))}]"
        case str():
            return _quoted(value)
    return str(value)


def _quoted(text: str) -> str:
    """Return a string in quotes, without anything that a terminal would act on."""
    return f'"{"".join(map(_escaped, text))}"'


def _can_be_printed(text: str) -> bool:
    try:
        text.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return False
    return True


def _escaped(character: str) -> str:
    if character in '"\\':
        return f"\\{character}"
    if character.isprintable() and _can_be_printed(character):
        return character
    code = ord(character)
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _never_fail_to_print() -> None:
    """Escape on output: a path may hold letters that this terminal's encoding lacks."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
