"""`lenscope config` and `lenscope paths`: which settings hold, and where everything lies."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tui.commands.exits import Exit
from tui.disk.paths import config_file, journals_folder, sessions_folder, state_folder
from tui.disk.settings import PREFIX, description, fields, load_settings
from tui.show import plain_line


def run_config() -> Exit:
    """Print every setting as TOML that can be put into config.toml: what is as it came is commented
    out."""
    loaded = load_settings()
    print(f"# {plain_line(str(config_file()))}")
    print(f"# A variable {PREFIX}THEME and the like comes before the file, a flag before both.")
    for setting in fields():
        value = getattr(loaded.settings, setting.name)
        source = loaded.sources.get(setting.name)
        print(f"\n# {description(setting)}")
        if source is not None:
            print(f"# from {plain_line(source)}")
        sign = "" if source is not None else "# "
        if isinstance(value, Mapping):
            print(f"{sign}[{setting.name}]")
            for name, keys in value.items():
                print(f"{sign}{_toml(name)} = {_toml(keys)}")
        else:
            shown = _example(setting.name) if value is None else value
            print(f"{sign}{setting.name} = {_toml(shown)}")
    return Exit.DONE


def run_paths() -> Exit:
    """Print where configuration, sessions, models and samples lie, and what is there."""
    import samples

    places = {
        "config": config_file(),
        "state": state_folder(),
        "kept sessions": sessions_folder(),
        "journals": journals_folder(),
        "model cache": _model_cache(),
        "bundled model": Path(samples.MODEL),
        "bundled pictures": Path(samples.DEFAULT_PICTURE).parent,
        "prompts": Path(samples.PROMPTS),
    }
    width = max(map(len, places)) + 2
    for name, path in places.items():
        print(f"{name:<{width}}{plain_line(str(path))}{_what_is_there(path)}")
    return Exit.DONE


def _model_cache() -> Path:
    """Where the hub's library keeps models; asked of the environment, as the library does."""
    settings = load_settings().settings
    if settings.cache_dir:
        return Path(settings.cache_dir).expanduser()
    home = os.environ.get("HF_HOME") or os.path.expanduser("~/.cache/huggingface")  # noqa: PTH111
    return Path(os.environ.get("HF_HUB_CACHE") or Path(home) / "hub")


def _what_is_there(path: Path) -> str:
    try:
        if not path.exists():
            return "  (not there yet)"
        if path.is_dir():
            sizes = [file.stat().st_size for file in path.glob("*.json")]
            if sizes:
                return f"  ({len(sizes)} files, {sum(sizes) / 1e6:.1f} MB)"
    except OSError as error:
        return f"  ({error.strerror})"
    return ""


def _example(name: str) -> Any:
    """What a setting without a default could be."""
    return {
        "model": "org/model",
        "prompt": "Color of the main object:",
        "device": "auto",
        "dtype": "auto",
        "cache_dir": "/path/to/cache",
        "theme": "lenscope",
        "columns": ("entropy",),
        "plot": "probability",
        "copy_format": "tsv",
        "presets_file": "/path/to/prompts.toml",
    }[name]


def _toml(value: Any) -> str:
    """A value as TOML; a JSON string or list of strings is one, too."""
    if isinstance(value, tuple):
        value = list(value)
    return json.dumps(value)
