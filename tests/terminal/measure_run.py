"""What a run costs from the key to its last byte, through a pty at 120x40. Reports, asserts
nothing.

    python -m tests.terminal.measure_run [--beside FOLDER] [--repeats N] [--plot] [--grid]
            [--real] [--lite]

A worker with fixed data stands in for a GPU (`tests.terminal.pass_entry`): a run of 33 rows within
31 ms, its rows in six groups, in one burst, or one by one. `--real` asks the bundled model instead.
`--beside` measures another checkout in turns, which needs this folder's `tests`. Medians of
interleaved repeats: milliseconds from the key to the first and to the last byte, bytes, frames that
wrote any, frames composed, and processor time of the app's thread from the key to the last byte,
and until nothing was left to do for the run.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.terminal.logged import Line, read_log
from tests.terminal.pty_app import ROOT, PtyApp

_WAYS: Final = ("groups", "burst", "rows")
_QUIET: Final = 1.6
"""Seconds after a key in which everything happens that follows a run; its journal is written a
second after it began."""


@dataclass(frozen=True)
class Cost:
    """Of one run. Milliseconds, but for the counts."""

    first: float
    last: float
    bytes: float
    frames: float
    composed: float
    busy: float
    busy_in_all: float


_HEADS: Final = ("first", "last", "bytes", "frames", "composed", "CPU", "CPU in all")


class Measured:
    """One explorer, its log, and what its runs have cost."""

    def __init__(self, name: str, folder: Path, arguments: Sequence[str], state: str) -> None:
        self.name = name
        self._log = Path(state) / f"{name}.log"
        self._log.touch()
        self.app = PtyApp(
            [sys.executable, "-m", "tests.terminal.logged", str(self._log), *arguments],
            folder=folder,
            env={
                "XDG_STATE_HOME": str(Path(state) / name),
                "SSH_CONNECTION": "measured",
                "PYTHONPATH": str(folder),
            },
        )
        self.costs: list[Cost] = []

    def begin(self, keys: str) -> None:
        """Wait for the first run, and press some keys."""
        self.app.wait_for("top-1 for good", 120)
        self.app.settle(1.0)
        for key in keys:
            self.app.send(key)
            self.app.settle(0.6)

    def run(self, before: str = "") -> None:
        """Run a question and note what that costs; `before` is pressed first."""
        for key in before:
            self.app.send(key)
            self.app.settle(0.3)
        sent = time.monotonic()
        self.app.send("r")
        time.sleep(_QUIET)
        cost = _cost(sent, read_log(self._log))
        if cost is not None:
            self.costs.append(cost)

    def leave(self) -> None:
        """Quit."""
        self.app.send("\x11")
        self.app.wait_exit()


def _cost(sent: float, log: Sequence[Line]) -> Cost | None:
    """Return what the run has cost that was asked for at this time; None if it wrote nothing."""
    lines = [line for line in log if line.seconds >= sent]
    writes = [line for line in lines if line.kind == "write"]
    if not writes or lines[0].kind != "key":
        return None
    end = writes[-1]
    return Cost(
        first=1000 * (writes[0].seconds - sent),
        last=1000 * (end.seconds - sent),
        bytes=sum(line.bytes for line in writes),
        frames=len(writes),
        composed=sum(line.kind == "draw" for line in lines),
        busy=1000 * (end.busy - lines[0].busy),
        busy_in_all=1000 * (lines[-1].busy - lines[0].busy),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--beside", type=Path)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--plot", action="store_true", help="with the trajectories open")
    parser.add_argument("--grid", action="store_true", help="with the grid open")
    parser.add_argument("--lite", action="store_true")
    parser.add_argument("--real", action="store_true", help="ask the bundled model")
    given = parser.parse_args()
    folders = {"here": ROOT}
    if given.beside is not None:
        folders["beside"] = given.beside.resolve()
    options = ["--lite"] * given.lite
    ways = ("real",) if given.real else _WAYS
    with tempfile.TemporaryDirectory() as state, ExitStack() as stack:
        measured = []
        for way in ways:
            for name, folder in folders.items():
                command = (
                    ["tui", "--model", "samples/model"]
                    if given.real
                    else ["tests.terminal.pass_entry", "--arrives", way]
                )
                each = Measured(f"{way}-{name}", folder, [*command, *options], state)
                stack.enter_context(each.app)
                each.begin("P" * given.plot + "2" * given.grid)
                measured.append(each)
        for repeat in range(given.repeats + 2):
            for each in measured:
                each.run("]" if given.real else "")
                if repeat < 2:
                    each.costs.clear()  # the first runs of each kind of words warm caches up
        for each in measured:
            each.leave()
    _report(measured)


def _report(measured: Sequence[Measured]) -> None:
    print("120x40, true colour, over SSH; medians (worst); milliseconds")
    print(f"{'':16}" + "".join(f"{head:>16}" for head in _HEADS))
    for each in measured:
        columns = zip(*(vars(cost).values() for cost in each.costs), strict=True)
        cells = [f"{statistics.median(c):,.0f} ({max(c):,.0f})" for c in columns]
        print(f"{each.name:16}" + "".join(f"{cell:>16}" for cell in cells))


if __name__ == "__main__":
    main()
