"""Standard streams that are closed or full, and errors of the system that are not theirs."""

from __future__ import annotations

import errno
import os
import pwd
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import tui.cli
from tests.cli.conftest import Lenscope
from tests.terminal.pty_app import ROOT
from tui.text.system_errors import system_error_line


def shell(command: str, redirections: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a command with redirections; what they leave of stdout and stderr is captured."""
    line = f"{shlex.quote(sys.executable)} -m tui {command} {redirections}"
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        line, shell=True, cwd=folder, env=env, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(
    ("redirections", "code", "says"),
    [
        ("<&-", 0, ""),
        ("2>&-", 0, ""),
        ("2>/dev/full", 0, ""),
        (">&-", 1, "lenscope: the output cannot be written (stdout is closed)\n"),
        ("<&- >&-", 1, "lenscope: the output cannot be written (stdout is closed)\n"),
        ("<&- >&- 2>&-", 1, ""),
        (">/dev/full", 1, "lenscope: the output cannot be written (No space left on device)\n"),
    ],
)
def test_what_prints(redirections: str, code: int, says: str, tmp_path: Path) -> None:
    ended = shell("paths", redirections, tmp_path)
    assert (ended.returncode, ended.stderr) == (code, says)
    assert ("bundled model" in ended.stdout) == (code == 0)


@pytest.mark.slow
@pytest.mark.parametrize("redirections", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize(
    ("command", "code"),
    [
        ("", 2),
        ("report nowhere", 2),
        ("run --prompt hi --json out.json", 0),
        (f"sweep --data {ROOT}/samples/pictures --prompts clevr --limit 1 --out swept", 0),
        ("check --proof-only", None),
        ("--version", None),
        ("config", None),
    ],
)
def test_every_command(redirections: str, command: str, code: int | None, tmp_path: Path) -> None:
    """What prints no data does not need stdout; nothing ends in a traceback."""
    ended = shell(command, redirections, tmp_path)
    expected = code if code is not None else int(">&-" in redirections.replace("2>&-", ""))
    assert ended.returncode == expected
    assert "Traceback" not in ended.stderr and "Traceback" not in ended.stdout


def test_a_closed_stream_is_given_to_no_file(tmp_path: Path) -> None:
    code = (
        "from tui.commands.streams import guard_streams; guard_streams();"
        "print(open('kept', 'w').fileno() > 2, flush=True)"
    )
    line = f"{shlex.quote(sys.executable)} -c {shlex.quote(code)} <&- 2>&-"
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(line, shell=True, cwd=tmp_path, env=env, capture_output=True, check=True)
    assert done.stdout == b"True\n"


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (PermissionError(13, "Permission denied", "/a/b"), "/a/b: Permission denied"),
        (OSError(18, "Cross-device link", "a", None, "b"), "a and b: Cross-device link"),
        (
            OSError(errno.EMFILE, "Too many open files"),
            "the system refused something: Too many open files (EMFILE)",
        ),
        (BrokenPipeError(32, "Broken pipe"), "the system refused something: Broken pipe (EPIPE)"),
        (OSError("odd"), "the system refused something: odd (OSError)"),
        (OSError(9, "Bad file descriptor", 7), "file descriptor 7: Bad file descriptor"),
    ],
)
def test_other_errors_are_not_those_of_stdout(
    lenscope: Lenscope, monkeypatch: pytest.MonkeyPatch, error: OSError, line: str
) -> None:
    def fail(_: object) -> int:
        raise error

    assert system_error_line(error) == line
    monkeypatch.setattr(tui.cli, "_run", fail)
    ended = lenscope("run")
    assert (ended.code, ended.err) == (1, f"lenscope: {line}\n")


@pytest.fixture
def homeless(monkeypatch: pytest.MonkeyPatch) -> None:
    """No home: the variables are not set, and the user has no entry in the system's list."""
    for name in ("HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME", "HF_HOME"):
        monkeypatch.delenv(name, raising=False)

    def unknown(_: object) -> None:
        raise KeyError("getpwuid(): uid not found: 12345")

    monkeypatch.setattr(pwd, "getpwuid", unknown)


@pytest.mark.usefixtures("homeless")
def test_no_home(lenscope: Lenscope, saved: Callable[[str], Path]) -> None:
    assert "no home folder is known; set HOME or XDG_CONFIG_HOME" in lenscope("config").out
    paths = lenscope("paths")
    assert paths.code == 0 and paths.out.count("none: no home folder is known") == 5
    assert lenscope("run", "--model", saved("llama"), "--no-image", "--prompt", "hi").code == 0
    hub = lenscope("run", "--model", "owner/model")
    assert hub.code == 3 and "no home folder is known" in hub.err


def test_no_working_folder(lenscope: Lenscope, tmp_path: Path) -> None:
    config = tmp_path / "config" / "lenscope"
    config.mkdir(parents=True)
    (config / "config.toml").write_text("top_k = 4\n")
    (tmp_path / "work").rmdir()
    assert lenscope("config").code == 0
    ended = lenscope("run", "--image", "a.png")
    assert ended.code in (2, 3)  # torch may be loaded already by another test
    assert "no such picture" in ended.err or "the working folder has been removed" in ended.err


def test_torch_is_not_imported_without_a_working_folder(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    code = (
        f"import os, sys; sys.path.insert(0, {str(ROOT)!r}); os.rmdir('.' + '/../gone');"
        "from tui.cli import script; sys.argv = ['lenscope', 'run']; script()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=gone, capture_output=True, text=True, check=False
    )
    assert done.returncode == 3
    assert done.stderr.startswith("lenscope: the working folder has been removed")
