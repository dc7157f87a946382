"""What the views that cover the screen cost on the line: words, attention, heads (of parts),
tracing, saliency and neurons, all but the last a picture under a map. Reports, asserts nothing.

    python -m tests.terminal.measure_words [--view NAME] [--side N] [--layers N] [--picture FILE]
        [--noise]

Opening it and closing it; for every row a step of the map (of saliency: for every way, of parts:
for every head of a layer, at first and again, of neurons: for every unit; the median, and the
largest), and steps of the cursor over the patches; at 120x40 over SSH in true colour, the same as
without SSH, and with `--lite`. A worker with fixed data answers: a word that rises and falls on a
hill of patches, or with `--noise` one whose probability is drawn anew for every cell, the worst
case. Attention is a hill that wanders from layer to layer, tracing has three sites, saliency a hill
and a hollow, and so has every head.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from msgspec.structs import replace

from engine.arrays import Array
from engine.events import LoadOptions
from engine.methods.words import WordsRequest
from engine.records import Picture, Question, Reading, Request
from tests.terminal.measure import process_seconds
from tests.terminal.pty_app import ROOT, PtyApp
from tests.tui.attention_stage import AttentionWorker
from tests.tui.neurons_stage import NeuronsWorker
from tests.tui.parts_stage import PartsWorker
from tests.tui.saliency_stage import SaliencyWorker
from tests.tui.tracing_stage import TracingWorker
from tests.tui.words_stage import SIDE, WordsWorker, words_reading
from tui.app import run_explorer
from tui.startup import Startup

_QUIET = 0.25


@dataclass(frozen=True)
class _View:
    """What is measured: its keys, the key of a step of its map, and a worker that answers it."""

    key: str
    step: str
    worker: Callable[..., WordsWorker]


_VIEWS = {
    "words": _View("3", "j", AttentionWorker),
    "attention": _View("4", "j", AttentionWorker),
    "parts": _View("6D", ")", PartsWorker),
    "tracing": _View("7", "j", TracingWorker),
    "saliency": _View("8", "f", SaliencyWorker),
    "neurons": _View("9", "j", NeuronsWorker),
}


def main() -> int:
    """Measure, or be the program that is measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", type=int, default=SIDE)
    parser.add_argument("--layers", type=int, default=32)
    parser.add_argument("--picture", default=str(ROOT / "samples" / "pictures" / "scene_1.png"))
    parser.add_argument("--noise", action="store_true")
    parser.add_argument("--view", choices=_VIEWS, default="words")
    parser.add_argument("--lite", action="store_true")
    parser.add_argument("--explore", action="store_true", help="be the explorer itself")
    given = parser.parse_args()
    if given.explore:
        return _explore(given)
    command = [
        sys.executable, "-m", "tests.terminal.measure_words", "--explore",
        "--side", str(given.side), "--layers", str(given.layers), "--picture", given.picture,
    ]  # fmt: skip
    command += ["--view", given.view, *["--noise"] * given.noise]
    view = _VIEWS[given.view]
    print(f"{given.side} x {given.side} patches, {given.layers + 1} rows, 120x40")
    _report("true colour over SSH", command, view, {"SSH_CONNECTION": "measured"})
    _report("true colour, not over SSH", command, view, {})
    _report("--lite over SSH", [*command, "--lite"], view, {"SSH_CONNECTION": "measured"})
    return 0


def _explore(given: argparse.Namespace) -> int:
    from PIL import Image

    with Image.open(given.picture) as image:
        size = image.size

    def noise(request: Request) -> Reading | None:
        if not isinstance(request, WordsRequest):
            return None
        reading = words_reading(request, given.layers, given.side)
        drawn = np.random.default_rng(0).random(reading.probability.shape)
        return replace(reading, probability=Array.of(drawn, "<f4"))

    made = noise if given.noise else lambda _: None
    worker = partial(
        _VIEWS[given.view].worker, side=given.side, layers=given.layers, picture=size, made=made
    )
    return run_explorer(
        Startup(
            options=LoadOptions("samples/model"),
            question=Question(prompt="Shape:", picture=Picture(given.picture)),
            lite=given.lite,
            worker=worker,
        )
    )


def _report(name: str, command: list[str], view: _View, env: dict[str, str]) -> None:
    with (
        tempfile.TemporaryDirectory() as state,
        PtyApp(command, env={"XDG_STATE_HOME": state, **env}) as app,
    ):
        app.wait_for("top-1 for good", 120)
        app.settle(1.0)
        opening = _answered(app, view.key)
        _bytes(app, "g", _QUIET)
        fresh = []
        if view.step != "j":  # what is shown for the first time is read once the cursor rests
            fresh = [_bytes(app, view.step, 1.0) for _ in range(5)]
        busy = process_seconds(app.process.pid)
        rows = [_bytes(app, view.step, _QUIET) for _ in range(32)]
        seconds = process_seconds(app.process.pid) - busy
        _bytes(app, "n", _QUIET)
        cursor = [_bytes(app, key, _QUIET) for key in ["\x1b[C"] * 4 + ["\x1b[B"] * 4]
        held = _held(app, "\x1b[C\x1b[D\x1b[B\x1b[A" * 8, 32)
        closing = _answered(app, "q")
        app.send("\x11")
        app.wait_exit()
    print(
        f"{name}: opening {opening:,} bytes, closing {closing:,}; a step of the map "
        f"{statistics.median(rows):,.0f} (median), {max(rows):,} at most, "
        f"{1000 * seconds / len(rows):.0f} ms of processor time; the first ones {fresh}; "
        f"a step of the cursor {statistics.median(cursor):,.0f}, {max(cursor):,} at most, "
        f"held {held:,.0f}"
    )


def _held(app: PtyApp, keys: str, count: int) -> float:
    """What is written for each of so many keys at 30 a second."""
    before = app.count
    size = len(keys) // count
    for start in range(0, len(keys), size):
        app.send(keys[start : start + size])
        time.sleep(1 / 30)
    app.settle()
    return (app.count - before) / count


def _answered(app: PtyApp, keys: str) -> int:
    """What is written after keys that change all of the screen, however long that takes."""
    before = app.count
    for key in keys:
        at = app.count
        app.send(key)
        app.wait_for(lambda at=at: app.count > at)  # type: ignore[misc]
        app.settle(1.5)
    return app.count - before


def _bytes(app: PtyApp, keys: str, quiet: float) -> int:
    """What is written after some keys until nothing has been written for a while."""
    before = app.count
    app.send(keys)
    app.settle(quiet)
    return app.count - before


if __name__ == "__main__":
    sys.exit(main())
