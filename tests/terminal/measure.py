"""What the explorer costs on the line, measured through a pty at 120x40. Reports, asserts nothing.

    python -m tests.terminal.measure [-- COMMAND ...]

Without a command a worker with fixed data answers (33 rows), which leaves torch out.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests.terminal.pty_app import FAKE, ROOT, PtyApp

_STATE = tempfile.TemporaryDirectory()
_TICKS = os.sysconf("SC_CLK_TCK")


def main(command: list[str]) -> None:
    print(f"command: {' '.join(Path(part).name for part in command)}; 120 x 40, truecolor")
    _first_frames(command)
    _echo_while_loading(command)
    _echo_while_streaming()
    with _ready(command) as app:
        print(f"until the first run has ended and the picture shows: {app.count:,} bytes")
        app.send("d")  # closes the detail
        _steps(app, "the table alone")
        app.send("d")
        _steps(app, "with the detail")
        app.send("P")
        app.settle()
        _steps(app, "with the detail and the plot")
        _run(app, "a whole run with the plot open, truecolor")
        app.send("P")
        app.settle()
        _held(app)
        _run(app, "a whole run, truecolor")
        _focus(app)
        _idle(app)
        _leave(app)
    with _ready([*command, "--lite"]) as app:
        _run(app, "a whole run with --lite")
        _held(app)
        _leave(app)


def _ready(command: list[str]) -> PtyApp:
    app = _app(command)
    app.wait_for("top-1 for good", 120)
    app.settle(1.0)
    return app


def _app(command: list[str]) -> PtyApp:
    """The program, with its unsaved runs going to a folder that is thrown away."""
    return PtyApp(command, env={"XDG_STATE_HOME": _STATE.name})


def _leave(app: PtyApp) -> None:
    app.send("\x11")
    app.wait_exit()


def _first_frames(command: list[str]) -> None:
    walls, processes = [], []
    for _ in range(5):
        with _app(command) as app:
            app.wait_for(lambda app=app: app.first_paint is not None)  # type: ignore[misc]
            processes.append(process_seconds(app.process.pid))
            assert app.first_paint is not None
            walls.append(app.first_paint)
            _leave(app)
    print(
        f"first frame: {statistics.median(processes):.2f} s of process time, "
        f"{statistics.median(walls):.2f} s on the clock (medians of 5)"
    )


def process_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def _echo_while_loading(command: list[str]) -> None:
    """Letters typed into the editor from the first frame until the model is there."""
    with _app(command) as app:
        app.wait_for("prompt")
        app.send("e")
        app.wait_for("esc")
        end = time.monotonic() + 20
        echoes = _echoes(
            app,
            "x",
            lambda: "top-1 for good" not in app.text and time.monotonic() < end,
        )
        _report("a key while the model loads", echoes)
        app.send("\x1b")
        app.wait_for("top-1 for good", 120)
        _leave(app)


def _echo_while_streaming() -> None:
    """Cursor steps while 50 rows a second come in."""
    with _app([*FAKE, "--layers", "400", "--row-seconds", "0.02"]) as app:
        app.wait_for("1st")
        time.sleep(0.5)
        app.send("g")
        echoes = _echoes(app, "jk", lambda: "top-1 for good" not in app.text)
        _report("a key while 50 rows a second stream in", echoes)
        _leave(app)


def _echoes(app: PtyApp, keys: str, goes_on: Callable[[], bool]) -> list[float]:
    """Seconds from each key to the first byte that is written after it, 20 keys a second."""
    echoes: list[float] = []
    while goes_on() and len(echoes) < 400:
        before, sent = app.count, time.monotonic()
        app.send(keys[len(echoes) % len(keys)])
        while app.count == before and time.monotonic() < sent + 2:
            time.sleep(0.0005)
        echoes.append(app.last_output - sent)
        time.sleep(max(0.05 - (time.monotonic() - sent), 0))
    return echoes


def _report(what: str, echoes: list[float]) -> None:
    if not echoes:
        print(f"{what}: over before a key was pressed")
        return
    print(
        f"{what}: echo after {statistics.median(echoes) * 1000:.0f} ms (median), "
        f"{max(echoes) * 1000:.0f} ms at worst, of {len(echoes)}"
    )


def _steps(app: PtyApp, panes: str) -> None:
    """Single steps: what is written at once, and what after the rest."""
    app.settle()
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
    print(
        f"a cursor step, {panes}: {max(at_once)} bytes at most; after a rest "
        f"{max(at_rest):,} at most, {statistics.mean(at_rest):,.0f} on average"
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


def _run(app: PtyApp, name: str) -> None:
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
