"""What every key and every dialog costs on the line. Reports, asserts nothing.

    python -m tests.terminal.measure_keys [--all] [--local] [-- COMMAND ...]

For every action with a key: the bytes that it writes, the bytes that closing its dialog (or
pressing the key again) writes, and the processor time that the program takes for both; with whole
frames (`--no-diff`) and with changed cells only. At 120x40 in true colour over SSH; `--all` adds
80x24 and 200x60, 256 colours and `--lite`, `--local` measures as without SSH, where a tint lies
over what is below a dialog. Without a command a worker with fixed data answers (33 rows).
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import dataclass

from tests.terminal.measure import process_seconds
from tests.terminal.pty_app import FAKE, ROOT, PtyApp
from tui.actions.registry import ACTIONS, Action

_SEQUENCES = {
    "escape": "\x1b", "tab": "\t", "shift+tab": "\x1b[Z", "enter": "\r", "delete": "\x1b[3~",
    "down": "\x1b[B", "up": "\x1b[A", "pagedown": "\x1b[6~", "pageup": "\x1b[5~", "f6": "\x1b[17~",
    "plus": "+", "minus": "-", "slash": "/", "percent_sign": "%", "question_mark": "?",
    "exclamation_mark": "!",
    "less_than_sign": "<", "greater_than_sign": ">", "left_parenthesis": "(",
    "right_parenthesis": ")",
    "comma": ",", "full_stop": ".", "colon": ":", "at": "@", "semicolon": ";",
}  # fmt: skip
_LEFT_OUT = {"leave", "suspend", "cancel", "screenshot", "recover"}
_LAST = ("run", "continue", "norm", "delete", "undo", "without", "against", "run-presets")
"""Actions that add runs, or take them away; they come after all others."""
_PICTURES = ("scene_1.png", "scene_2.png")


@dataclass(frozen=True)
class Cost:
    """Of one key: bytes at once, bytes of the way back, seconds of processor time for both."""

    there: int
    back: int
    seconds: float


@dataclass(frozen=True)
class Terminal:
    """What the keys are measured on."""

    columns: int = 120
    rows: int = 40
    colours: str = "truecolor"
    lite: bool = False
    ssh: bool = True

    def __str__(self) -> str:
        return f"{self.columns}x{self.rows}, {self.colours}" + ", --lite" * self.lite

    def start(self, command: list[str], state: str, *, diff: bool) -> PtyApp:
        options = ["--lite"] * self.lite + ["--no-diff"] * (not diff)
        env = {"XDG_STATE_HOME": state, "COLORTERM": self.colours if "true" in self.colours else ""}
        if self.ssh:
            env["SSH_CONNECTION"] = "measured"
        return PtyApp([*command, *options], columns=self.columns, rows=self.rows, env=env)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--local", action="store_true")
    parser.add_argument("command", nargs="*")
    given = parser.parse_args()
    command = given.command or [
        *FAKE, "--picture", str(ROOT / "samples" / "pictures" / _PICTURES[0]),
    ]  # fmt: skip
    terminals = [Terminal(ssh=not given.local)]
    if given.all:
        terminals += [
            Terminal(80, 24),
            Terminal(200, 60),
            Terminal(colours="256"),
            Terminal(lite=True),
        ]
    for terminal in terminals:
        _report(terminal, command)


def _report(terminal: Terminal, command: list[str]) -> None:
    whole = _costs(terminal, command, diff=False)
    cells = _costs(terminal, command, diff=True)
    print(f"\n{terminal}{'' if terminal.ssh else ', not over SSH'}")
    print(f"{'':34}{'whole frames':^30}   {'changed cells':^30}")
    heads = f"{'there':>10}{'back':>10}{'CPU ms':>10}"
    print(f"{'key':34}{heads}   {heads}")
    for name, cost in whole.items():
        print(f"{name:34}{_figures(cost)}   {_figures(cells.get(name))}")


def _figures(cost: Cost | None) -> str:
    if cost is None:
        return ""
    return f"{cost.there:10,}{cost.back:10,}{1000 * cost.seconds:10.0f}"


def _costs(terminal: Terminal, command: list[str], *, diff: bool) -> dict[str, Cost]:
    """Press every key, each from the top of the table."""
    costs: dict[str, Cost] = {}
    with (
        tempfile.TemporaryDirectory() as state,
        terminal.start(command, state, diff=diff) as app,
    ):
        app.wait_for("top-1 for good", 120)
        _rest(app, 1.0)
        costs["start"] = Cost(app.count, 0, process_seconds(app.process.pid))
        keyed = [action for action in ACTIONS if action.keys and action.id not in _LEFT_OUT]
        for action in sorted(keyed, key=_order):
            costs[f"{action.keys[0]}  {action.title}"[:33]] = _press(app, action)
        costs |= _typing(app)
        costs |= _between_runs(app)
        app.send("\x11")
        app.wait_exit()
    return costs


def _order(action: Action) -> int:
    return _LAST.index(action.id) + 1 if action.id in _LAST else 0


def _press(app: PtyApp, action: Action) -> Cost:
    typed = _typed(action.keys[0])
    app.send("g")
    _rest(app)
    before = app.text
    busy = process_seconds(app.process.pid)
    there = _bytes(app, typed)
    shown = app.text
    back = _bytes(app, "\x1b")
    if app.text == shown != before:
        back = _bytes(app, typed)
    return Cost(there, back, _since(app, busy))


def _typed(key: str) -> str:
    """Return what a terminal sends for a key."""
    return chr(ord(key[-1]) - 96) if key.startswith("ctrl+") else _SEQUENCES.get(key, key)


def _bytes(app: PtyApp, keys: str) -> int:
    """What is written after some keys until nothing has been written for a while."""
    before = app.count
    app.send(keys)
    _rest(app)
    return app.count - before


def _rest(app: PtyApp, quiet: float = 0.35) -> None:
    """Wait until for a while nothing has been written and no processor been used: on a busy machine
    silence alone may mean that the program has not had its turn."""
    for _ in range(60):
        busy = process_seconds(app.process.pid)
        app.settle(quiet)
        if _since(app, busy) < 0.02:
            return


def _typing(app: PtyApp) -> dict[str, Cost]:
    costs = {}
    for name, key in (("a letter in the prompt", "e"), ("a letter in the palette", "\x10")):
        _bytes(app, key)
        _bytes(app, "e")  # the first letter also changes captions
        busy = process_seconds(app.process.pid)
        there = _bytes(app, "r")
        costs[name] = Cost(there, _bytes(app, "\x7f"), _since(app, busy))
        _bytes(app, "\x1b")
    return costs


def _between_runs(app: PtyApp) -> dict[str, Cost]:
    """Steps between runs of one picture and of two, and another run of the same question. (The
    worker with fixed data answers every question alike; a real model does not.)"""
    for key in "]r":
        _bytes(app, key)
    busy = process_seconds(app.process.pid)
    same = _bytes(app, ",")
    costs = {",  a run of the same picture": Cost(same, _bytes(app, "."), _since(app, busy))}
    other = ROOT / "samples" / "pictures" / _PICTURES[1]
    if other.is_file():
        _bytes(app, "o")
        _bytes(app, f"\x01\x0b{other}")
        _bytes(app, "\r")
        _bytes(app, "r")
        busy = process_seconds(app.process.pid)
        step = _bytes(app, ",")
        costs[",  a run of another picture"] = Cost(step, _bytes(app, "."), _since(app, busy))
    busy = process_seconds(app.process.pid)
    costs["r  the same question again"] = Cost(_bytes(app, "r"), 0, _since(app, busy))
    return costs


def _since(app: PtyApp, busy: float) -> float:
    return process_seconds(app.process.pid) - busy


if __name__ == "__main__":
    main()
