"""What the explorer costs on the line, measured through a pty at 120x40. Reports, asserts nothing.

    python -m tests.terminal.measure [-- COMMAND ...]

Without a command a worker with fixed data answers (33 rows), which leaves torch out.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from pathlib import Path

from tests.terminal.pty_app import FAKE, ROOT, PtyApp

_STATE = tempfile.TemporaryDirectory()


def main(command: list[str]) -> None:
    print(f"command: {' '.join(Path(part).name for part in command)}; 120 x 40, truecolor")
    first = [_first_frame(command) for _ in range(5)]
    print(f"first frame: median {statistics.median(first):.2f} s, best {min(first):.2f} s, of 5")
    with _app(command) as app:
        app.wait_for("top-1 for good", 120)
        app.settle(1.0)
        print(f"until the first run has ended and the picture shows: {app.count:,} bytes")
        _steps(app)
        _held(app)
        _run(app)
        _focus(app)
        _idle(app)
        app.send("\x11")
        app.wait_exit()
    with _app([*command, "--lite"]) as app:
        app.wait_for("top-1 for good", 120)
        app.settle(1.0)
        _run(app, "a whole run with --lite")
        app.send("\x11")
        app.wait_exit()


def _app(command: list[str]) -> PtyApp:
    """The program, with its unsaved runs going to a folder that is thrown away."""
    return PtyApp(command, env={"XDG_STATE_HOME": _STATE.name})


def _first_frame(command: list[str]) -> float:
    with _app(command) as app:
        app.wait_for(lambda: app.first_paint is not None)
        app.send("\x11")
        app.wait_exit()
        assert app.first_paint is not None
        return app.first_paint


def _steps(app: PtyApp) -> None:
    """Single steps: what is written at once, and what after the rest."""
    app.send("g")
    app.settle()
    at_once: list[int] = []
    at_rest: list[int] = []
    for _ in range(8):
        before = app.count
        app.send("j")
        app.wait_for(lambda before=before: app.count > before)  # type: ignore[misc]
        time.sleep(0.06)
        step = app.count - before
        app.settle()
        at_once.append(step)
        at_rest.append(app.count - before - step)
    print(f"a cursor step without scrolling: {max(at_once)} bytes at most")
    print(
        f"a rest with the detail open: {max(at_rest)} bytes at most, "
        f"{statistics.mean(at_rest):.0f} on average"
    )


def _held(app: PtyApp) -> None:
    app.send("g")
    app.settle()
    before, steps = app.count, 0
    for key in "j" * 32 + "k" * 32 + "j" * 36:
        app.send(key)
        steps += 1
        time.sleep(1 / 30)
    app.settle()
    print(f"a key held for {steps} steps at 30/s, with scrolling: "
          f"{(app.count - before) / steps:.0f} bytes a step")  # fmt: skip


def _run(app: PtyApp, name: str = "a whole run") -> None:
    app.send("g")
    app.settle()
    before = app.count
    app.send("r")
    app.wait_for(lambda: app.count > before)
    app.settle(1.0)
    print(f"{name}: {app.count - before:,} bytes")


def _focus(app: PtyApp) -> None:
    before = app.count
    app.send("\t")
    app.settle()
    there = app.count - before
    app.send("\t")
    app.settle()
    print(f"a change of focus: {there:,} bytes, back {app.count - before - there:,}")


def _idle(app: PtyApp) -> None:
    before = app.count
    time.sleep(3)
    print(f"idle for 3 s with the table focused: {app.count - before} bytes")


if __name__ == "__main__":
    rest = sys.argv[1:]
    given = rest[rest.index("--") + 1 :] if "--" in rest else []
    picture = ROOT / "samples" / "pictures" / "scene_1.png"
    main(given or [*FAKE, *(["--picture", str(picture)] if picture.is_file() else [])])
