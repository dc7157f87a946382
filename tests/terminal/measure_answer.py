"""What the screens of the answer, of parts and of neurons cost on the line. Reports, asserts
nothing.

    python -m tests.terminal.measure_answer [--seconds S]

Bytes of opening each, and of steps of its cursor; of the answer also of one more token while it
grows (the median and the largest, which is that of a scroll); in true colour at two sizes. A worker
with fixed data answers (33 rows), with a token every S seconds.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time

from tests.terminal.pty_app import FAKE, PtyApp

_SIZES = ((80, 24), (120, 40))
_TOKENS = 40
_QUIET = 0.4


def main() -> None:
    """Measure at every size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=1.0)
    given = parser.parse_args()
    command = [*FAKE, "--chat", "576", "--token-seconds", str(given.seconds)]
    for columns, rows in _SIZES:
        with (
            tempfile.TemporaryDirectory() as state,
            PtyApp(command, columns=columns, rows=rows, env={"XDG_STATE_HOME": state}) as app,
        ):
            print(f"{columns} x {rows}, truecolor")
            _measure(app, given.seconds)
            _measure_shares(app)
            app.send("\x11")
            app.wait_exit()


def _measure(app: PtyApp, seconds: float) -> None:
    app.wait_for("top-1 for good", 120)
    app.settle(1.0)
    _say(app, "opening it, before the first token", "c")
    app.send("\x1b")
    app.settle(_QUIET)
    app.send("e")
    app.settle(_QUIET)
    app.send(f"max_new_tokens={_TOKENS}\r")
    app.wait_for("1 of at most", 30)
    time.sleep(seconds / 2)
    grown = []
    for _ in range(_TOKENS - 4):
        before = app.count
        time.sleep(seconds)
        grown.append(app.count - before)
    print(
        f"  one more token: {statistics.median(grown):,.0f} bytes, "
        f"{statistics.quantiles(grown, n=10)[-1]:,.0f} of one in ten, at most {max(grown):,}"
    )
    app.wait_for(f"answer, {_TOKENS} tokens", 60)
    app.settle(_QUIET)
    for what, keys in (("a token", "hhhlll"), ("a row", "kkkjjj")):
        _say_steps(app, what, keys)
    _say(app, "the first tint", "f")
    _say(app, "the next panel", "\t")
    _say(app, "closing it", "q")


def _measure_shares(app: PtyApp) -> None:
    """Parts, their heads, and neurons."""
    _say(app, "parts: opening them", "6")
    for what, keys in (("a layer", "jjjkkk"), ("a side", "lhlhlh")):
        _say_steps(app, what, keys)
    _held(app, "layers", "k" * 10 + "j" * 10)
    _say(app, "taking the largest out", "a")
    _say(app, "every head", "D")
    _say_steps(app, "a head", "))((")
    _say(app, "closing them", "q")
    _say(app, "neurons: opening them", "9")
    _say_steps(app, "a unit", "jjjkkk")
    _held(app, "units", "j" * 8 + "k" * 8)
    _say(app, "setting one to zero", "K")
    _say(app, "closing them", "q")


def _say_steps(app: PtyApp, what: str, keys: str) -> None:
    steps = [_bytes(app, key) for key in keys]
    print(f"  a step of {what}: {statistics.median(steps):,.0f} bytes, at most {max(steps):,}")


def _held(app: PtyApp, what: str, keys: str) -> None:
    """The bytes of steps that follow each other faster than what follows the cursor."""
    print(
        f"  a key held over {len(keys)} {what}: {_bytes(app, keys) / len(keys):,.0f} bytes a step"
    )


def _say(app: PtyApp, what: str, keys: str) -> None:
    print(f"  {what}: {_bytes(app, keys):,} bytes")


def _bytes(app: PtyApp, keys: str) -> int:
    before = app.count
    app.send(keys)
    app.wait_for(lambda: app.count > before)
    app.settle(_QUIET)
    return app.count - before


if __name__ == "__main__":
    main()
