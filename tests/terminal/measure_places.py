"""What walking over the positions costs on the line. Reports, asserts nothing.

    python -m tests.terminal.measure_places [-- COMMAND ...]

Bytes of a step of the cursor in the grid (of a row, of a position, and of a position where the
columns scroll), of a step over the prompt without the grid, of what is drawn when the cursor rests,
and of opening, enlarging and filling the grid; in true colour at three sizes. Without a command a
worker with fixed data answers (33 rows, a chat prompt with 576 patches).
"""

from __future__ import annotations

import sys
import tempfile
import time
from dataclasses import dataclass, field

from tests.terminal.pty_app import FAKE, PtyApp

_SIZES = ((80, 24), (120, 40), (200, 60))
_AT_ONCE = 0.07
"""Seconds after a key before what follows the resting cursor is drawn."""


@dataclass
class Steps:
    """Bytes of single steps: at once, and after the rest."""

    at_once: list[int] = field(default_factory=list)
    at_rest: list[int] = field(default_factory=list)

    def __str__(self) -> str:
        once = f"{sum(self.at_once) / len(self.at_once):,.0f} (at most {max(self.at_once):,})"
        rest = f"{sum(self.at_rest) / len(self.at_rest):,.0f} (at most {max(self.at_rest):,})"
        return f"{once} bytes at once, {rest} at rest"


def main(command: list[str]) -> None:
    for columns, rows in _SIZES:
        with (
            tempfile.TemporaryDirectory() as state,
            PtyApp(command, columns=columns, rows=rows, env={"XDG_STATE_HOME": state}) as app,
        ):
            print(f"{columns} x {rows}, truecolor")
            _measure(app)
            app.send("\x11")
            app.wait_exit()


def _measure(app: PtyApp) -> None:
    app.wait_for("top-1 for good", 120)
    app.settle(1.0)
    print(f"  start: {app.count:,} bytes")
    _say(app, "a step over the prompt, table and detail", "<" * 4 + ">" * 4)
    print(f"  opening the grid, and its fill: {_bytes(app, '2'):,} bytes")
    _walk(app)
    print(f"  enlarging it: {_bytes(app, '2'):,} bytes")
    _walk(app)
    print(f"  the next heat: {_bytes(app, '%'):,} bytes")
    print(f"  shrinking it: {_bytes(app, chr(27)):,} bytes")
    print(f"  the table alone: {_bytes(app, '1'):,} bytes")


def _walk(app: PtyApp) -> None:
    _say(app, "a step of a row", "jjjkkk")
    _say(app, "a step of a position", "hhhlll")
    before = app.count
    keys = "h" * 10 + "l" * 10
    for key in keys:
        app.send(key)
        time.sleep(1 / 30)
    time.sleep(_AT_ONCE - 1 / 30)
    held = app.count - before
    app.settle(0.6)
    print(f"    a key held for {len(keys)} positions at 30/s, with scrolling: "
          f"{held / len(keys):,.0f} bytes a step, then {app.count - before - held:,}")  # fmt: skip


def _say(app: PtyApp, what: str, keys: str) -> None:
    app.settle(0.6)
    steps = Steps()
    for key in keys:
        before = app.count
        app.send(key)
        time.sleep(_AT_ONCE)
        once = app.count - before
        app.settle(0.6)
        steps.at_once.append(once)
        steps.at_rest.append(app.count - before - once)
    print(f"    {what}: {steps}")


def _bytes(app: PtyApp, keys: str) -> int:
    before = app.count
    app.send(keys)
    app.settle(0.6)
    return app.count - before


if __name__ == "__main__":
    rest = sys.argv[1:]
    given = rest[rest.index("--") + 1 :] if "--" in rest else []
    main(given or [*FAKE, "--chat", "576"])
