"""What the pages in docs and README say is so."""

from __future__ import annotations

import re
from pathlib import Path

from engine.methods.registry import method_names, method_of
from engine.methods.requests import fields_of
from tui.actions.keymap import key_name
from tui.actions.registry import ACTIONS

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def test_every_method_has_a_line_with_its_settings() -> None:
    lines = (ROOT / "docs" / "methods.md").read_text().splitlines()
    rows = {line.split("|")[1].strip().strip("`"): line.split("|")[2] for line in lines
            if line.startswith("| `")}  # fmt: skip
    assert set(rows) == set(method_names())
    for name, takes in rows.items():
        assert re.findall(r"`(\w+)`", takes) == list(fields_of(method_of(name)))


def test_every_file_that_is_named_is_there() -> None:
    """Paths in backticks and links, relative to the page or the root."""
    for page in PAGES:
        text = page.read_text()
        named = re.findall(r"`((?:engine|tui|tests|samples|docs)/[\w./]+)`", text)
        links = [link for link in re.findall(r"\]\(([^)#\s]+)\)", text) if "://" not in link]
        for name in named:
            if "cosine" not in name:  # the worked example's
                assert (ROOT / name).exists(), f"{page.name}: {name}"
        for link in links:
            assert (page.parent / link).exists(), f"{page.name}: {link}"


def test_every_key_of_the_main_screen_is_in_the_table_of_keys() -> None:
    text = (ROOT / "docs" / "reading-the-table.md").read_text().partition("\n## Keys\n")[2]
    lines = [line for line in text.splitlines() if line.startswith("| `")]
    told = {key.lower() if len(key) > 1 else key for line in lines
            for key in re.findall(r"`([^`]+)`", line)}  # fmt: skip
    assert len(lines) > 15
    for action in ACTIONS:
        names = {key.lower() if len(key) > 1 else key for key in map(key_name, action.keys)}
        # Half pages and pages are one word there.
        assert not names or names & told or "page" in action.id, action.id
        told -= names
    assert not told, told
