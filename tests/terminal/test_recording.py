"""The animated picture shows, at every moment, what the terminal showed then."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest

from tests.terminal.recording import CELL, COLUMNS, ROWS, Frame, animated
from tests.terminal.seen import Seen

SECONDS = 4.0
_SVG = "{http://www.w3.org/2000/svg}"


def screen(*lines: str, **colours: str) -> tuple[tuple[Seen, ...], ...]:
    """A screen with these lines; `colours` are of its lines: line0="ff0000"."""
    whole = [*lines, *[""] * (ROWS - len(lines))]
    return tuple(
        tuple(
            (text, colours.get(f"line{y}", "default"), "default", (False,) * 6)
            for text in line.ljust(COLUMNS)
        )
        for y, line in enumerate(whole)
    )


FRAMES: list[Frame] = [
    (0.0, screen("Color of the object", "old row", "always here")),
    (1.0, screen("Shape of the object", "old row", "always here")),
    (1.5, screen("Shape of the object", "new row   with more", "always here")),
    (3.0, screen("Color of the object", "new row   with more", "always here", line1="ff0000")),
]


def seen_at(svg: str, moment: float) -> list[str]:
    """The lines that can be read at a moment, from the style sheet's animations."""
    steps = {
        name: [(float(at), word) for at, word in re.findall(r"([\d.]+)%\{visibility:(\w+)\}", rule)]
        for name, rule in re.findall(r"@keyframes (\w+)\{((?:[\d.]+%\{[^}]*\})*)\}", svg)
    }
    lines = [[" "] * COLUMNS for _ in range(ROWS)]
    for group in ElementTree.fromstring(svg).iter(f"{_SVG}g"):
        name = group.get("class")
        past = [word for at, word in steps.get(name or "", []) if at <= 100 * moment / SECONDS]
        if name is not None and past[-1] != "visible":
            continue
        for text in group.findall(f"{_SVG}text"):
            x, y = (float(text.get(key) or 0) for key in "xy")
            for index, letter in enumerate(text.text or ""):
                cell = lines[int(y // CELL[1])]
                assert cell[round(x / CELL[0]) + index] in (" ", letter)
                cell[round(x / CELL[0]) + index] = letter
    return ["".join(line) for line in lines]


@pytest.mark.parametrize("moment", [0.0, 0.9, 1.1, 1.6, 2.9, 3.1, 3.9])
def test_every_moment_is_as_it_was(moment: float) -> None:
    shown = max((frame for frame in FRAMES if frame[0] <= moment), key=lambda frame: frame[0])[1]
    wanted = ["".join(cell[0] for cell in line) for line in shown]
    assert seen_at(animated(FRAMES, SECONDS), moment) == wanted


def test_what_never_changes_is_drawn_once() -> None:
    svg = animated(FRAMES, SECONDS)
    assert svg.count(">always here<") == 1
    assert svg.count("<g>") == 1


def test_without_animations_the_last_moment_is_shown() -> None:
    rules = re.findall(r"\.s\d+\{visibility:(\w+);", animated(FRAMES, SECONDS))
    assert sorted(set(rules)) == ["hidden", "visible"]
    svg = re.sub(r"@keyframes \w+\{((?:[\d.]+%\{[^}]*\})*)\}", "", animated(FRAMES, SECONDS))
    hidden = set(re.findall(r"\.(s\d+)\{visibility:hidden", svg))
    texts = [
        text.text
        for group in ElementTree.fromstring(svg).iter(f"{_SVG}g")
        if group.get("class") not in hidden
        for text in group.findall(f"{_SVG}text")
    ]
    assert "old" not in texts
    assert "new" in texts
