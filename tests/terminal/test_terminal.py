"""The program in a real (pseudo-)terminal: start, storms, signals, and what it leaves behind."""

from __future__ import annotations

import itertools
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from engine.records import Run
from engine.sessions import read_session
from tests.terminal.pty_app import FAKE, ROOT, PtyApp
from tests.terminal.seen import Seen
from tui.disk.journal_file import read_journal

LEFT_ALTERNATE_SCREEN = b"\x1b[?1049l"
SHOWN_CURSOR = b"\x1b[?25h"
ENDED = "top-1 for good"
SCENE = ROOT / "samples" / "pictures" / "scene_1.png"


def kept_runs(state: Path) -> tuple[Run, ...]:
    """The runs that the explorer kept when it was left."""
    (file,) = (state / "lenscope" / "sessions").glob("*.json")
    return read_session(file).runs


def journaled(journals: Path) -> tuple[Run, ...]:
    """The runs in the only journal."""
    files = list(journals.glob("*.journal"))
    return read_journal(files[0]).runs if len(files) == 1 else ()


def start(tmp_path: Path, *options: str, **env: str) -> PtyApp:
    return PtyApp(
        [*FAKE, "--layers", "10", *options],
        env={"XDG_STATE_HOME": str(tmp_path / "state"), **env},
        folder=tmp_path,
    )


def assert_clean(app: PtyApp) -> None:
    """The terminal is as it was: no alternate screen, a cursor, no mouse reports."""
    end = bytes(app.output)
    assert end.rindex(LEFT_ALTERNATE_SCREEN) > end.rindex(b"\x1b[?1049h")
    assert end.rindex(SHOWN_CURSOR) > end.rindex(b"\x1b[?25l")
    assert end.rindex(b"\x1b[?1000l") > end.rindex(b"\x1b[?1000h")


def test_it_starts_saves_and_leaves_a_clean_terminal(tmp_path: Path) -> None:
    with start(tmp_path) as app:
        app.wait_for(ENDED)
        app.send("s")
        app.wait_for("saved 1 run to lenscope-")
        app.send("q")
        assert app.wait_exit() == 0
        assert_clean(app)
        assert b"unsaved" not in app.output
    assert len(list(tmp_path.glob("lenscope-*.json"))) == 1


def test_quitting_during_a_blocking_pass_is_immediate(tmp_path: Path) -> None:
    with start(tmp_path, "--hold-at", "4", "--deaf") as app:
        app.wait_for("layer 3 of 10")
        asked = time.monotonic()
        app.send("q")
        assert app.wait_exit() == 0
        assert time.monotonic() - asked < 5  # the pass itself never ends
        assert_clean(app)
        assert b"unsaved runs are in" in app.output
    (run,) = kept_runs(tmp_path / "state")
    assert (run.status, len(run.rows)) == ("cancelled", 4)


def test_ctrl_c_cancels_and_never_quits(tmp_path: Path) -> None:
    with start(tmp_path, "--hold-at", "4") as app:
        app.wait_for("layer 3 of 10")
        app.send("\x03")
        app.wait_for("cancelled after 4 of 11 rows")
        app.send("\x03")
        app.wait_for("q or ctrl+q quits")
        assert app.process.poll() is None
        app.send("\x11")
        assert app.wait_exit() == 0


@pytest.mark.parametrize(
    ("number", "hold"),
    [
        (signal.SIGTERM, False),
        pytest.param(signal.SIGTERM, True, marks=pytest.mark.slow),
        # From outside: in the terminal ctrl+c is a key.
        pytest.param(signal.SIGINT, False, marks=pytest.mark.slow),
        (signal.SIGINT, True),
        pytest.param(signal.SIGQUIT, False, marks=pytest.mark.slow),
    ],
)
def test_a_signal_that_ends_it_saves_first(tmp_path: Path, number: int, hold: bool) -> None:
    with start(tmp_path, *(["--hold-at", "4", "--deaf"] if hold else [])) as app:
        app.wait_for("layer 3 of 10" if hold else ENDED)
        os.kill(app.process.pid, number)
        assert app.wait_exit() == 128 + number
        assert_clean(app)
        assert b"unsaved runs are in" in app.output
    assert len(kept_runs(tmp_path / "state")) == 1


@pytest.mark.parametrize("hold", [pytest.param(False, marks=pytest.mark.slow), True])
def test_hang_up_saves_first(tmp_path: Path, hold: bool) -> None:
    with start(tmp_path, *(["--hold-at", "4", "--deaf"] if hold else [])) as app:
        app.wait_for("layer 3 of 10" if hold else ENDED)
        app.hang_up()
        assert app.wait_exit() == 128 + signal.SIGHUP
    assert len(kept_runs(tmp_path / "state")) == 1


def test_terminate_ends_it_though_nobody_reads_the_terminal(tmp_path: Path) -> None:
    with start(tmp_path) as app:
        app.wait_for(ENDED)
        app.settle()
        app.stuck = True
        for step in range(40):  # more than a terminal holds, and Textual's queue
            app.resize(120 + step, 40)
            time.sleep(0.05)
        os.kill(app.process.pid, signal.SIGTERM)
        assert app.wait_exit() == 128 + signal.SIGTERM
    assert len(kept_runs(tmp_path / "state")) == 1


def test_kill_9_loses_nothing_that_was_on_the_screen(tmp_path: Path) -> None:
    journals = tmp_path / "state" / "lenscope" / "journals"
    with start(tmp_path, "--hold-at", "4", "--deaf") as app:
        app.wait_for("layer 3 of 10")
        app.wait_for(lambda: [len(run.rows) for run in journaled(journals)] == [4])
        app.process.kill()
        app.wait_exit()
    with start(tmp_path, "--worker", "later") as app:
        app.wait_for("a session of 1 run from ")
        app.wait_for("was not closed: R reopens it")
        app.send("R")
        app.wait_for("cancelled after 4 of 11 rows")
        app.send("q")
        assert app.wait_exit() == 0
    assert list(journals.glob("*")) == []
    kept = (tmp_path / "state" / "lenscope" / "sessions").glob("*.json")
    statuses = sorted(run.status for file in kept for run in read_session(file).runs)
    assert statuses == ["cancelled", "done"]  # the killed one's, and the new one's own


def test_resume_opens_what_was_killed(tmp_path: Path) -> None:
    state = tmp_path / "state"
    journals = state / "lenscope" / "journals"
    with start(tmp_path) as app:
        app.wait_for(ENDED)
        app.wait_for(lambda: [run.status for run in journaled(journals)] == ["done"])
        app.process.kill()
        app.wait_exit()
    lenscope = [sys.executable, "-m", "tui", "--resume"]
    with PtyApp(lenscope, env={"XDG_STATE_HOME": str(state)}, folder=tmp_path) as app:
        app.wait_for(ENDED)
        app.wait_for("(reopened)")
        app.send("q")
        assert app.wait_exit() == 0


def test_a_crash_names_the_journal_and_the_command_that_opens_it(tmp_path: Path) -> None:
    state = tmp_path / "state" / "lenscope"
    with start(tmp_path, "--crashes") as app:
        app.wait_for(ENDED)
        app.send("y")  # at once: the journal of the last second is not written yet
        assert app.wait_exit() == 1
        assert_clean(app)
        said = bytes(app.output[app.output.rindex(LEFT_ALTERNATE_SCREEN) :]).decode()
    (journal,) = (state / "journals").glob("*.journal")
    (traceback,) = (state / "crashes").glob("*.txt")
    flat = "".join(said.split())
    assert "endedonanerrorofitsown(RuntimeError:boom" in flat
    assert f"{journal}:`lenscope--resume`opensit" in flat
    assert f"thetracebackisin{traceback}" in flat
    assert "no terminal should show" not in said
    assert "\x1b[31m" not in said
    assert said.count("\n") < 12
    text = traceback.read_text()
    assert "_crash" in text
    assert "no terminal should show: " not in text.replace('f"a value that no terminal', "")
    lenscope = [sys.executable, "-m", "tui", "--resume"]
    with PtyApp(lenscope, env={"XDG_STATE_HOME": str(state.parent)}, folder=tmp_path) as app:
        app.wait_for(ENDED)
        app.send("q")
        assert app.wait_exit() == 0


def test_two_explorers_at_once_keep_a_file_each(tmp_path: Path) -> None:
    with start(tmp_path) as one, start(tmp_path) as other:
        for app in (one, other):
            app.wait_for(ENDED)
        journals = tmp_path / "state" / "lenscope" / "journals"
        one.wait_for(lambda: len(list(journals.glob("*.journal"))) == 2)
        assert "was not closed" not in one.text + other.text
        for app in (one, other):
            app.send("q")
            assert app.wait_exit() == 0
    assert list(journals.glob("*")) == []
    assert len(list((tmp_path / "state" / "lenscope" / "sessions").glob("*.json"))) == 2


def test_suspend_and_resume_restore_the_screen(tmp_path: Path) -> None:
    command = " ".join([*FAKE, "--layers", "10"])
    with PtyApp(
        ["bash", "--norc", "--noprofile", "-i"],
        env={"XDG_STATE_HOME": str(tmp_path / "state"), "PS1": "shell> "},
        folder=tmp_path,
    ) as app:
        app.wait_for("shell>")
        app.send(command + "\n")
        app.wait_for(ENDED)
        app.settle()
        before = app.count
        app.send("\x1a")
        app.wait_for("Stopped")
        assert LEFT_ALTERNATE_SCREEN in app.output[before:]
        assert SHOWN_CURSOR in app.output[before:]
        before = app.count
        app.send("fg\n")
        app.wait_for(lambda: b"1st" in app.output[before:])
        app.settle()
        app.wait_for(ENDED)
        app.send("ex")
        app.wait_for("prompt, not asked yet")
        app.send("\x1a")  # in the editor it is undo
        app.wait_for(lambda: "not asked yet" not in app.text)
        app.settle()
        assert "Stopped" not in app.text
        app.send("\x11")
        app.wait_for("unsaved runs are in")
        app.send("exit\n")
        app.wait_exit()


def test_without_the_mouse_the_terminal_keeps_it(tmp_path: Path) -> None:
    with start(tmp_path) as app:
        app.wait_for(ENDED)
        app.send("\x1b[<0;60;6M\x1b[<0;60;6m")  # a click on a row
        app.wait_for(lambda: app.text.split("\n")[5].find("▌") > 0)
        app.send("q")
        app.wait_exit()
        assert b"\x1b[?1000h" in app.output
    with start(tmp_path, "--no-mouse") as app:
        app.wait_for(ENDED)
        app.send("q")
        app.wait_exit()
        assert b"\x1b[?1000h" not in app.output


def test_a_resize_storm(tmp_path: Path) -> None:
    with start(tmp_path, "--layers", "32") as app:
        app.wait_for(lambda: app.first_paint)
        for step in range(60):
            app.resize(50 + step * 7 % 160, 10 + step * 5 % 60)
            app.send("jk"[step % 2])
            time.sleep(0.01)
        app.resize(50, 12)
        app.wait_for("needs 60 x 16")
        app.resize(120, 40)
        app.wait_for(ENDED)
        app.wait_for("entropy")
        app.settle()
        assert all(len(line) == 120 for line in app.text.split("\n"))
        assert app.text.split("\n")[2].rstrip().endswith("╮")  # below the strip of the prompt
        app.send("q")
        assert app.wait_exit() == 0


def test_a_view_that_a_larger_screen_uncovers_shows_the_run(tmp_path: Path) -> None:
    command = [*FAKE, "--layers", "10"]
    env = {"XDG_STATE_HOME": str(tmp_path / "state")}
    with PtyApp(command, columns=80, rows=24, env=env, folder=tmp_path) as app:
        app.wait_for(ENDED)
        app.settle()
        assert "layer detail" not in app.text
        app.resize(120, 40)
        app.wait_for("layer detail")
        app.settle()
        assert "nothing read yet" not in app.text
        assert "rms" in app.text


def test_a_cursor_step_costs_at_most_200_bytes(tmp_path: Path) -> None:
    with start(tmp_path) as app:
        app.wait_for(ENDED)
        app.wait_for("▀")  # the picture, which comes last
        app.send("d")  # the table alone: the detail follows after the rest
        app.wait_for(lambda: "layer detail" not in app.text)
        app.send("g")
        app.settle(1.5)
        for _ in range(5):
            before = app.count
            app.send("j")
            app.wait_for(lambda before=before: app.count > before)  # type: ignore[misc]
            app.settle()
            assert app.count - before <= 200, bytes(app.output[before:])
        before = app.count
        time.sleep(1)
        assert app.count == before  # nothing is written while nothing happens
        app.send("q")
        app.wait_exit()


def test_hostile_tokens_never_reach_the_terminal(tmp_path: Path) -> None:
    with start(tmp_path, "--hostile") as app:
        app.wait_for(ENDED)
        app.send("\x1b[200~" + "\x9b2J\u202epasted" + "\x1b[201~")  # a paste into the table
        app.send("c")
        app.settle()
        assert "\\x1b]0" in app.text
        app.send("q")  # closes the answer
        app.settle()
        app.send("q")
        app.wait_exit()
        output = bytes(app.output)
    assert b"\x1b]0;PWNED" not in output
    assert "\u202e".encode() not in output
    assert b"\x1b]0" not in output


def test_no_color(tmp_path: Path) -> None:
    with start(tmp_path, NO_COLOR="1") as app:
        app.wait_for(ENDED)
        app.send("q")
        app.wait_exit()
        colours = set(re.findall(rb"[34]8;2;(\d+);(\d+);(\d+)", bytes(app.output)))
    assert all(red == green == blue for red, green, blue in colours)


STEPS = ["jjj", "?", "\x1b", "P", "d", "H", "q", "z", "q", "Gkk", "\x10", "the", "\x1b\x1b"]


class Multiplexer:
    """tmux or GNU screen, with the explorer in it: keys, sizes, and what it shows."""

    def __init__(self, name: str, folder: Path) -> None:
        self._name = name
        self._socket = f"lenscope-test-{os.getpid()}-{name}"
        self._folder = folder
        command = [*FAKE, "--layers", "32", "--picture", str(ROOT / "samples/pictures/scene_1.png")]
        env = {
            **os.environ,
            "XDG_STATE_HOME": str(folder / "state"),
            "SCREENDIR": str(folder),
            "LANG": "C.UTF-8",
            "PYTHONPATH": str(ROOT),
        }
        folder.chmod(0o700)
        if name == "tmux":
            start = [*self._tmux(), "new-session", "-x", "100", "-y", "30"]
        else:
            start = ["screen", "-U", "-T", "xterm-256color", "-S", self._socket]
        self.client = PtyApp([*start, *command], columns=100, rows=30, env=env, folder=folder)

    def _tmux(self) -> list[str]:
        settings = self._folder / "tmux.conf"
        settings.write_text("set -s escape-time 0\n")
        return ["tmux", "-L", self._socket, "-f", str(settings)]

    def attach(self, columns: int, rows: int) -> None:
        """Leave, and come back on a terminal of another size."""
        self.client.hang_up()
        self.client.process.wait(10)
        again = (
            [*self._tmux(), "attach"]
            if self._name == "tmux"
            else ["screen", "-U", "-T", "xterm-256color", "-D", "-r", self._socket]
        )
        env = {"SCREENDIR": str(self._folder), "LANG": "C.UTF-8"}
        self.client = PtyApp(again, columns=columns, rows=rows, env=env, folder=self._folder)

    def shows(self) -> list[list[Seen]]:
        """What the outer terminal shows, without tmux's status line."""
        lines = self.client.cells()
        return lines[:-1] if self._name == "tmux" else lines

    def settled(self) -> list[list[Seen]]:
        """What it shows once nothing changes any more."""
        self.client.settle(1.2)
        return self.shows()

    def assert_redraw_changes_nothing(self) -> None:
        """Draw every cell anew: the same is to be seen. A busy machine may take a while."""
        shown = self.settled()
        self.client.send("\x0c")
        self.client.settle(0.6)
        self.client.wait_for(lambda: self.shows() == shown)

    def end(self) -> None:
        self.client.send("q")
        self.client.settle()
        if self._name == "tmux":
            subprocess.run([*self._tmux(), "kill-server"], capture_output=True)
        self.client.__exit__()


@pytest.mark.parametrize("steps", [["?", "\x1b"], pytest.param(STEPS, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", ["tmux", "screen"])
def test_under_a_multiplexer(name: str, steps: list[str], tmp_path: Path) -> None:
    if shutil.which(name) is None:
        pytest.skip(f"no {name} here")
    multiplexer = Multiplexer(name, tmp_path)
    try:
        multiplexer.client.wait_for(ENDED)
        for keys in steps:
            multiplexer.client.send(keys)
            multiplexer.assert_redraw_changes_nothing()
        multiplexer.attach(120, 40)
        multiplexer.client.wait_for("entropy")
        assert len(multiplexer.settled()[0]) == 120
        multiplexer.assert_redraw_changes_nothing()
    finally:
        multiplexer.end()


def test_what_other_code_writes_stays_off_the_screen(tmp_path: Path) -> None:
    with start(tmp_path, "--foreign") as app:
        app.wait_for(ENDED)
        app.settle()
        assert "FOREIGN" not in app.text
        app.send("q")
        assert app.wait_exit() == 0
        assert b"other code wrote" in app.output
        assert b"FOREIGN to 2" in app.output
        assert b"FOREIGN to 1" in app.output
        assert b"\x1b]0;PWNED" not in app.output


@pytest.mark.parametrize("seconds", [2, pytest.param(30, marks=pytest.mark.slow)])
def test_a_line_that_stops_reading_for_a_while(tmp_path: Path, seconds: int) -> None:
    with start(tmp_path, "--layers", "32", "--picture", str(SCENE)) as app:
        app.wait_for(ENDED)
        app.settle()
        app.pause()
        end = time.monotonic() + seconds
        keys = itertools.cycle(["?", "?", "H", "q", "j", "P", "k"])
        while time.monotonic() < end:
            app.send(next(keys))
            time.sleep(0.1)
        time.sleep(2)  # a busy machine may be behind with the keys, which it handles one by one
        before = app.count
        app.go_on()
        app.send("\x1b\x1bg")
        app.settle(0.6)
        # What was kept in the terminal's buffer, and one frame: not each that was missed.
        assert app.count - before < 90_000
        shown = app.cells()
        app.send("\x0c")
        app.settle(0.6)
        app.wait_for(lambda: app.cells() == shown)
        app.send("q")
        assert app.wait_exit() == 0


def test_with_synchronised_output(tmp_path: Path) -> None:
    with start(tmp_path, "--layers", "32", "--picture", str(SCENE)) as app:
        app.send("\x1b[?2026;2$y")  # the terminal's answer: it can
        app.wait_for(ENDED)
        app.settle()
        before = app.count
        app.send("?")
        app.settle()
        app.send("\x1b")
        app.settle()
        written = bytes(app.output[before:])
        begins, ends = written.count(b"\x1b[?2026h"), written.count(b"\x1b[?2026l")
        assert begins == ends > 0
        shown = app.cells()
        app.send("\x0c")
        app.settle()
        app.wait_for(lambda: app.cells() == shown)
        app.send("q")
        assert app.wait_exit() == 0
