"""What the pages in docs and README say is so."""

from __future__ import annotations

import re
from pathlib import Path

from engine.methods.registry import method_names, method_of
from engine.methods.requests import fields_of

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
