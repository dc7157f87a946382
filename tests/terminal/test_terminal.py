"""The program in a real (pseudo-)terminal: start, storms, signals, and what it leaves behind."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from engine.records import Run
from engine.sessions import read_session
from tests.terminal.pty_app import FAKE, PtyApp

LEFT_ALTERNATE_SCREEN = b"\x1b[?1049l"
SHOWN_CURSOR = b"\x1b[?25h"
ENDED = "top-1 for good"


def kept_runs(state: Path) -> tuple[Run, ...]:
    """The runs that the explorer kept when it was left."""
    (file,) = (state / "lenscope" / "sessions").glob("*.json")
    return read_session(file).runs


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


@pytest.mark.parametrize("hold", [False, True])
def test_terminate_saves_first(tmp_path: Path, hold: bool) -> None:
    with start(tmp_path, *(["--hold-at", "4", "--deaf"] if hold else [])) as app:
        app.wait_for("layer 3 of 10" if hold else ENDED)
        os.kill(app.process.pid, signal.SIGTERM)
        assert app.wait_exit() == 128 + signal.SIGTERM
        assert_clean(app)
    assert len(kept_runs(tmp_path / "state")) == 1


@pytest.mark.parametrize("hold", [False, True])
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
        app.wait_for(lambda: any(len(read_session(f).runs) for f in journals.glob("*.json")))
        app.wait_for(lambda: len(read_session(*journals.glob("*.json")).runs[0].rows) == 4)
        app.process.kill()
        app.wait_exit()
    with start(tmp_path, "--worker", "later") as app:
        app.wait_for("a session of 1 run from ")
        app.wait_for("was not closed: R reopens it")
        app.send("R")
        app.wait_for("cancelled after 4 of 11 rows")
        app.send("q")
        assert app.wait_exit() == 0
    assert list(journals.glob("*.json")) == []
    kept = (tmp_path / "state" / "lenscope" / "sessions").glob("*.json")
    statuses = sorted(run.status for file in kept for run in read_session(file).runs)
    assert statuses == ["cancelled", "done"]  # the killed one's, and the new one's own


def test_resume_opens_what_was_killed(tmp_path: Path) -> None:
    state = tmp_path / "state"
    journals = state / "lenscope" / "journals"
    with start(tmp_path) as app:
        app.wait_for(ENDED)
        app.wait_for(lambda: list(journals.glob("*.json")))
        app.wait_for(lambda: read_session(*journals.glob("*.json")).runs[0].status == "done")
        app.process.kill()
        app.wait_exit()
    lenscope = [sys.executable, "-m", "tui", "--resume"]
    with PtyApp(lenscope, env={"XDG_STATE_HOME": str(state)}, folder=tmp_path) as app:
        app.wait_for(ENDED)
        app.wait_for("(reopened)")
        app.send("q")
        assert app.wait_exit() == 0


def test_two_explorers_at_once_keep_a_file_each(tmp_path: Path) -> None:
    with start(tmp_path) as one, start(tmp_path) as other:
        for app in (one, other):
            app.wait_for(ENDED)
        journals = tmp_path / "state" / "lenscope" / "journals"
        one.wait_for(lambda: len(list(journals.glob("*.json"))) == 2)
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
        app.wait_for("not run yet")
        app.send("\x1a")  # in the editor it is undo
        app.wait_for(lambda: "not run yet" not in app.text)
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
        assert app.text.split("\n")[1].rstrip().endswith("╮")
        app.send("q")
        assert app.wait_exit() == 0


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


@pytest.mark.skipif(
    subprocess.run(["which", "tmux"], capture_output=True).returncode != 0, reason="no tmux here"
)
def test_under_tmux(tmp_path: Path) -> None:
    tmux = ["tmux", "-L", f"lenscope-test-{os.getpid()}", "-f", "/dev/null"]
    command = " ".join(FAKE)
    state = f"XDG_STATE_HOME={tmp_path / 'state'}"
    subprocess.run(
        [*tmux, "new-session", "-d", "-x", "80", "-y", "24", f"{state} {command}"], check=True
    )
    try:
        text = ""
        end = time.monotonic() + 30
        while ENDED not in text and time.monotonic() < end:
            time.sleep(0.1)
            shown = subprocess.run([*tmux, "capture-pane", "-p"], capture_output=True, text=True)
            text = shown.stdout
        assert ENDED in text
        assert "␣cylinder" in text
        subprocess.run([*tmux, "send-keys", "q"], check=True)
    finally:
        subprocess.run([*tmux, "kill-server"], capture_output=True)
