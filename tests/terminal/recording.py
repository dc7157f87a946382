"""Takes the README's recording: somebody types over a picture in live mode.

    python -m tests.terminal.recording [docs/live.svg] [--still SECONDS]

The real program on the bundled model runs in a pty; what it writes, and when, becomes an animated
SVG: sharper and smaller than a GIF, and a code host shows it in a README. Nothing is sped up.
`--still` writes what is to be seen at one moment instead. Where animations are unwanted or
unknown, the last moment is shown.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from html import escape
from itertools import groupby
from pathlib import Path
from typing import Final

import pyte

from tests.terminal.pty_app import ROOT, PtyApp
from tests.terminal.seen import Seen, seen_of
from tui.theme import DARK

COLUMNS: Final = 100
ROWS: Final = 28
PROMPT: Final = "Color of the main object:"

_HOME: Final = "\x1b[H"
_DELETE: Final = "\x1b[3~"
_ENTER: Final = "\r"

Script = tuple[tuple[str | float, ...], ...]
SCRIPT: Final[Script] = (
    (1.0, _HOME),
    (0.09, *[_DELETE] * len("Color")),
    (0.5,),
    (0.13, *"Shape"),
    (1.6,),
    (0.09, _HOME, *[_DELETE] * len("Shape")),
    (0.13, *"Material"),
    (1.6, _ENTER),
    (1.0,),
)
"""Keys, and the seconds that pass before each of them."""

_LEAST_FRAME: Final = 0.02
"""Seconds; what arrives closer together is seen together."""
_REST_AT_END: Final = 1.0

CELL: Final = (9.0, 20.0)
"""Width and height of a cell in pixels: whole numbers and an even height, so that neither the
patches of the picture nor the lines have seams."""
_FONT: Final = 15
_PAD: Final = 10
_STROKE: Final = 1.0

Line = tuple[Seen, ...]
Frame = tuple[float, tuple[Line, ...]]
"""Seconds from the beginning, and the screen from then on."""
Span = tuple[float, float]
"""From when to when something is seen, in seconds."""


def main() -> None:
    """Read the command line and write the file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path, nargs="?", default=Path("docs/live.svg"))
    parser.add_argument("--still", type=float)
    given = parser.parse_args()
    frames, seconds = record(SCRIPT)
    if given.still is not None:
        frames = [max((each for each in frames if each[0] <= given.still), default=frames[0])]
    given.file.write_text(animated(frames, seconds), "utf-8")
    size = given.file.stat().st_size
    print(f"wrote {given.file}: {len(frames)} frames, {seconds:.1f} s, {size:,} bytes")


def record(script: Script) -> tuple[list[Frame], float]:
    """Run the program, press the keys of a script, and return what was seen and how long it took
    in all, in seconds."""
    command = [sys.executable, "-m", "tui", "--model", str(ROOT / "samples" / "model")]
    with (
        tempfile.TemporaryDirectory() as state,
        PtyApp(
            [*command, "--prompt", PROMPT],
            columns=COLUMNS,
            rows=ROWS,
            env={"XDG_STATE_HOME": state, "XDG_CONFIG_HOME": state, "LENSCOPE_LIVE": "on"},
        ) as app,
    ):
        app.wait_for("top-1 for good", 120)
        app.send("e")
        app.settle(1.0)
        began, first, start = time.monotonic(), app.count, len(app.arrivals)
        for wait, *keys in script:
            assert isinstance(wait, float)
            if not keys:
                time.sleep(wait)
            for key in keys:
                time.sleep(wait)
                app.send(str(key))
        seconds = time.monotonic() - began + _REST_AT_END
        arrivals = [(at - began, count) for at, count in app.arrivals[start:]]
        app.send("\x11")
        app.wait_exit()
    return list(_frames(bytes(app.output), first, arrivals)), seconds


def _frames(output: bytes, first: int, arrivals: Sequence[tuple[float, int]]) -> Iterator[Frame]:
    screen = pyte.Screen(COLUMNS, ROWS)
    stream = pyte.ByteStream(screen)
    stream.feed(output[:first])
    shown = _seen(screen)
    yield 0.0, shown
    end = first
    for index, (at, count) in enumerate(arrivals):
        stream.feed(output[end:count])
        end = count
        following = arrivals[index + 1][0] if index + 1 < len(arrivals) else float("inf")
        if following - at >= _LEAST_FRAME and _seen(screen) != shown:
            shown = _seen(screen)
            yield at, shown


def _seen(screen: pyte.Screen) -> tuple[Line, ...]:
    return tuple(
        tuple(seen_of(screen.buffer[y][x]) for x in range(screen.columns))
        for y in range(screen.lines)
    )


# ---------------------------------------------------------------------- drawing


class _Colours:
    """Gives each colour a class of the style sheet."""

    def __init__(self) -> None:
        self._names: dict[str, str] = {}

    def of(self, colour: str, otherwise: str) -> str:
        """Return the class of one of pyte's colours; `otherwise` stands for the default."""
        found = otherwise if colour in ("default", "") else f"#{colour}"
        return self._names.setdefault(found, f"c{len(self._names)}")

    def rules(self) -> str:
        return "".join(f".{name}{{fill:{colour}}}" for colour, name in self._names.items())


def animated(frames: Sequence[Frame], seconds: float) -> str:
    """Return an SVG that shows the frames for so many seconds, again and again."""
    colours = _Colours()
    parts: dict[Span, list[str]] = {}
    for row in range(ROWS):
        lines = [lines[row] for _, lines in frames]
        for left, right in _alike(lines):
            for span, cells in _states(frames, lines, left, right, seconds):
                parts.setdefault(span, []).extend(_cells(row, left, cells, colours))
    groups, rules = [], []
    for index, (span, drawn) in enumerate(sorted(parts.items())):
        always = span == (0.0, seconds)
        groups += ["<g>" if always else f'<g class="s{index}">', *drawn, "</g>"]
        if not always:
            rules.append(_rule(f"s{index}", span, seconds))
    width, height = COLUMNS * CELL[0] + 2 * _PAD, ROWS * CELL[1] + 2 * _PAD
    style = (
        f"text{{font:{_FONT}px 'Fira Code','DejaVu Sans Mono',Menlo,Consolas,monospace;"
        "white-space:pre}.b{font-weight:bold}.i{font-style:italic}"
        ".u{text-decoration:underline}.s{text-decoration:line-through}"
        f"{colours.rules()}{''.join(rules)}"
        "@media (prefers-reduced-motion:reduce){g{animation:none!important}}"
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}">'
        f"<style>{style}</style>"
        f'<rect width="{width:.0f}" height="{height:.0f}" rx="8" fill="{DARK.background}"/>'
        f'<g transform="translate({_PAD},{_PAD})" shape-rendering="crispEdges">'
        f"{''.join(groups)}</g></svg>\n"
    )


def _rule(name: str, span: Span, seconds: float) -> str:
    """Return the style that shows something for a while; without animations only what is there at
    the end is visible."""
    start, end = (100 * moment / seconds for moment in span)
    steps = f"{start:.2f}%{{visibility:visible}}"
    if span[0] > 0:
        steps = f"0%{{visibility:hidden}}{steps}"
    last = span[1] >= seconds
    if not last:
        steps += f"{end:.2f}%{{visibility:hidden}}"
    at_rest = "visible" if last else "hidden"
    animation = f"animation:{name} {seconds:.2f}s step-end infinite"
    return f".{name}{{visibility:{at_rest};{animation}}}@keyframes {name}{{{steps}}}"


def _alike(lines: Sequence[Line]) -> Iterator[tuple[int, int]]:
    """Yield the parts of a row whose cells change at the same moments, as left and right end."""
    before = [
        tuple(index for index in range(1, len(lines)) if lines[index][x] != lines[index - 1][x])
        for x in range(COLUMNS)
    ]
    left = 0
    for _, group in groupby(before):
        right = left + len(list(group))
        yield left, right
        left = right


def _states(
    frames: Sequence[Frame], lines: Sequence[Line], left: int, right: int, seconds: float
) -> Iterator[tuple[Span, Line]]:
    """Yield what a part of a row shows one after the other, and for how long."""
    start = 0.0
    for index, line in enumerate(lines):
        is_last = index + 1 == len(lines)
        if is_last or lines[index + 1][left:right] != line[left:right]:
            end = seconds if is_last else frames[index + 1][0]
            yield (start, end), line[left:right]
            start = end


_EIGHTHS: Final = {"█": 8, "▉": 7, "▊": 6, "▋": 5, "▌": 4, "▍": 3, "▎": 2, "▏": 1}
_STROKES: Final = {
    "─": "lr", "│": "ud", "╭": "rd", "╮": "ld", "╯": "lu", "╰": "ru", "━": "lr",
    "┌": "rd", "┐": "ld", "┘": "lu", "└": "ru",
}  # fmt: skip
"""Lines from the middle of a cell to its sides: in a font they have gaps between rows."""


def _cells(row: int, left: int, cells: Line, colours: _Colours) -> Iterator[str]:
    """Yield the elements that draw some cells of a row."""
    top, x = row * CELL[1], left
    for look, group in groupby(map(_plain, cells), key=lambda cell: (_kind(cell[0]), *cell[1:])):
        kind, fg, bg, marks = look
        texts = [cell[0] for cell in group]
        if bg != "default":
            name = colours.of(bg, str(DARK.background))
            yield _rect(x, top, len(texts), CELL[1], name)
        name = colours.of(fg, str(DARK.foreground))
        if kind == "half":
            yield _rect(x, top, len(texts), CELL[1] / 2, name)
        elif kind == "drawn":
            for at, text in enumerate(texts):
                yield from _drawn(x + at, top, text, name)
        else:
            yield from _text(x, top, texts, name, marks)
        x += len(texts)


def _plain(cell: Seen) -> Seen:
    """Return a cell without the reversal of its colours."""
    text, fg, bg, marks = cell
    if marks[4]:
        fg = str(DARK.foreground)[1:] if fg in ("default", "") else fg
        bg = str(DARK.background)[1:] if bg == "default" else bg
        fg, bg = bg, fg
    return text, fg, bg, marks


def _kind(text: str) -> str:
    if text == "▀":
        return "half"
    return "drawn" if text in _EIGHTHS or text in _STROKES else "text"


def _rect(x: float, top: float, cells: float, height: float, name: str) -> str:
    at, width = x * CELL[0], cells * CELL[0]
    return (
        f'<rect x="{at:.1f}" y="{top:g}" width="{width:.1f}" height="{height:g}" class="{name}"/>'
    )


def _drawn(x: int, top: float, text: str, name: str) -> Iterable[str]:
    if text in _EIGHTHS:
        yield _rect(x, top, _EIGHTHS[text] / 8, CELL[1], name)
        return
    width, height = CELL
    left, middle = x * width + width / 2, top + height / 2
    for side in _STROKES[text]:
        across = side in "lr"
        at = (x * width if side == "l" else left, top if side == "u" else middle)
        long = (width / 2 + _STROKE / 2, height / 2 + _STROKE / 2)
        size = (long[0], _STROKE) if across else (_STROKE, long[1])
        yield (
            f'<rect x="{at[0]:.1f}" y="{at[1]:g}" width="{size[0]:.1f}" height="{size[1]:g}" '
            f'class="{name}"/>'
        )


def _text(
    x: int, top: float, texts: Sequence[str], name: str, marks: tuple[bool, ...]
) -> Iterator[str]:
    """Yield the words of a run of text; between words that are far apart nothing is drawn."""
    whole = "".join(text or " " for text in texts)
    if len(whole) != len(texts):  # a character that combines with the one before
        whole = "".join((text or " ")[0] for text in texts)
    classes = [name, *(c for c, on in zip("bius", marks, strict=False) if on)]
    at = 0
    for word in whole.split("   "):
        start = at + len(word) - len(word.lstrip(" "))
        shown = word.strip(" ")
        if shown:
            yield (
                f'<text x="{(x + start) * CELL[0]:.1f}" y="{top + 15:g}" '
                f'textLength="{len(shown) * CELL[0]:.1f}" class="{" ".join(classes)}">'
                f"{escape(shown, quote=False)}</text>"
            )
        at += len(word) + 3


if __name__ == "__main__":
    main()
