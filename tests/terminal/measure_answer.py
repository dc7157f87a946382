"""What the screen of the answer costs on the line. Reports, asserts nothing.

    python -m tests.terminal.measure_answer [--seconds S]

Bytes of opening it, of one more token while it grows (the median and the largest, which is that of
a scroll), and of steps of its cursor; in true colour at two sizes. A worker with fixed data answers
(33 rows), with a token every S seconds.
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
        steps = [_bytes(app, key) for key in keys]
        print(f"  a step of {what}: {statistics.median(steps):,.0f} bytes, at most {max(steps):,}")
    _say(app, "the first tint", "f")
    _say(app, "the next panel", "\t")
    _say(app, "closing it", "q")


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
