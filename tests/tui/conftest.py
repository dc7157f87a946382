"""Every test works in folders of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from textual.css.model import RuleSet
from textual.css.stylesheet import Stylesheet


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work, keep sessions and read settings in a folder of the test's own."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.delenv("TMUX", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="session", autouse=True)
def style_sheets_are_parsed_once() -> Iterator[None]:
    """Every explorer parses the same styles; only the first one needs to. They are never changed
    once they are parsed."""
    parse = Stylesheet._parse_rules
    known: dict[object, list[RuleSet]] = {}

    def parsed(sheet: Stylesheet, css: str, **rest: Any) -> list[RuleSet]:
        key = (css, *sorted(rest.items()), frozenset(sheet._variables.items()))
        if key not in known:
            known[key] = parse(sheet, css, **rest)
        return known[key]

    patch = pytest.MonkeyPatch()
    patch.setattr(Stylesheet, "_parse_rules", parsed)
    yield
    patch.undo()
