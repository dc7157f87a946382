"""What typing in live mode costs, through a pty at 120x40. Reports, asserts nothing.

    python -m tests.terminal.measure_live [--keys N] [--repeats N] [-- COMMAND ...]

Letters are typed at the end of the prompt, at several speeds, with live mode on
and off in turns in one process of the explorer. Of every key: milliseconds until the terminal shows
it (median, 95th percentile), the bytes up to then, and all bytes until the next key. A key every
50 ms leaves no time for a pass; after every 200 ms one runs while the next key is pressed. Without
a command the bundled model answers.
"""

from __future__ import annotations

import argparse
import random
import statistics
import string
import sys
import tempfile
import time
from bisect import bisect_right
from dataclasses import dataclass, field
from typing import Final

import pyte

from tests.terminal.pty_app import ROOT, PtyApp

_COLUMNS: Final = 120
_ROWS: Final = 40
_INTERVALS: Final = (0.05, 0.2, 0.35)
_PROMPT: Final = "Color"
_TOGGLE: Final = "\x14"
_DELETE: Final = "\x7f"


@dataclass
class Typing:
    """What keys have cost, one value a key."""

    echoes: list[float] = field(default_factory=list)
    """Seconds until the key was seen."""
    at_once: list[int] = field(default_factory=list)
    """Bytes up to then."""
    in_all: list[int] = field(default_factory=list)
    """Bytes until the next key."""


def main() -> None:
    """Read the command line, measure and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keys", type=int, default=40, help="pressed in one turn")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("command", nargs="*")
    given = parser.parse_args()
    command = given.command or [
        sys.executable, "-m", "tui", "--model", str(ROOT / "samples" / "model"),
    ]  # fmt: skip
    found = {(interval, on): Typing() for interval in _INTERVALS for on in (False, True)}
    with (
        tempfile.TemporaryDirectory() as state,
        PtyApp(
            [*command, "--prompt", _PROMPT],
            columns=_COLUMNS,
            rows=_ROWS,
            env={"XDG_STATE_HOME": state, "SSH_CONNECTION": "measured", "LENSCOPE_LIVE": "off"},
        ) as app,
    ):
        app.wait_for("top-1 for good", 120)
        app.settle(1.0)
        app.send("e")
        app.settle()
        for _ in range(given.repeats):
            for interval in _INTERVALS:
                for on in (False, True):
                    if on:
                        app.send(_TOGGLE)
                    app.settle(1.0)
                    _type(app, interval, given.keys, found[interval, on])
                    app.settle(1.0)
                    if on:
                        app.send(_TOGGLE)
        app.send("\x11")
        app.wait_exit()
    _report(found)


def _type(app: PtyApp, interval: float, keys: int, into: Typing) -> None:
    """Type letters, and note what each of them has cost; then delete them again."""
    start, first = len(app.arrivals), app.count
    choose = random.Random(7)
    began = time.monotonic()
    sent = []
    for index in range(keys):
        sent.append(time.monotonic())
        app.send(choose.choice(string.ascii_lowercase))
        time.sleep(max(began + (index + 1) * interval - time.monotonic(), 0))
    app.settle(0.6)
    _note(app, start, first, sent, into)
    app.send(_DELETE * keys)


def _note(app: PtyApp, start: int, first: int, sent: list[float], into: Typing) -> None:
    """Show once more what was written, piece by piece, to see when each letter came up."""
    screen = pyte.Screen(_COLUMNS, _ROWS)
    stream = pyte.ByteStream(screen)
    stream.feed(bytes(app.output[:first]))
    before = _length(screen)
    in_all, at_once = [0] * len(sent), [0] * len(sent)
    seen, end = 0, first
    for at, count in app.arrivals[start:]:
        stream.feed(bytes(app.output[end:count]))
        in_all[max(bisect_right(sent, at) - 1, 0)] += count - end
        if seen < len(sent):
            at_once[seen] += count - end
        shown = _length(screen) - before
        while seen < min(shown, len(sent)):
            into.echoes.append(at - sent[seen])
            into.at_once.append(at_once[seen])
            seen += 1
        if seen < len(sent) and at < sent[seen]:
            at_once[seen] = 0  # it was written before the next key was pressed
        end = count
    into.in_all += in_all[:-1]  # the last one has more time than the others


def _length(screen: pyte.Screen) -> int:
    """How many characters the editor shows."""
    lines = screen.display
    top = next((at for at, line in enumerate(lines) if "─ prompt" in line), len(lines))
    text = ""
    for line in lines[top + 1 :]:
        if line.startswith("╰"):
            break
        text += line[1 : line.index("│", 1)].rstrip()
    return len(text)


def _report(found: dict[tuple[float, bool], Typing]) -> None:
    print(f"{_COLUMNS}x{_ROWS}, true colour, over SSH")
    heads = ("echo ms", "95 %", "bytes at once", "bytes in all", "keys")
    print(f"{'':28}" + "".join(f"{head:>15}" for head in heads))
    for (interval, on), typing in found.items():
        name = f"a key every {1000 * interval:.0f} ms, live {'on' if on else 'off'}"
        if not typing.echoes:
            print(f"{name:28} nothing was seen")
            continue
        worst = sorted(typing.echoes)[int(0.95 * (len(typing.echoes) - 1))]
        cells = (
            f"{1000 * statistics.median(typing.echoes):.0f}",
            f"{1000 * worst:.0f}",
            f"{statistics.median(typing.at_once):,.0f}",
            f"{statistics.mean(typing.in_all):,.0f}",
            str(len(typing.echoes)),
        )
        print(f"{name:28}" + "".join(f"{cell:>15}" for cell in cells))


if __name__ == "__main__":
    main()
