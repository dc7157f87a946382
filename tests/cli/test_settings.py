"""How config.toml, the environment and flags come together, and what is reopened."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

import samples
import tui.app
import tui.cli
from engine.records import Question, Session
from engine.sessions import read_session, write_session
from tests.cli.conftest import Lenscope
from tests.tui.fakes import finish, make_rows, make_run
from tui.disk.paths import config_file, journals_folder, own_folder, sessions_folder
from tui.startup import Startup

Saved = Callable[[str], Path]

SESSION = Session(
    created="x",
    saved="x",
    runs=(finish(make_run("a" * 16, Question(prompt="Shape:")), make_rows(10, 5)),),
)


def configure(text: str) -> None:
    config_file().parent.mkdir(parents=True, exist_ok=True)
    config_file().write_text(text)


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Startup]:
    """What the explorer would have been started with, on a terminal."""
    found: list[Startup] = []

    def run_explorer(startup: Startup) -> int:
        found.append(startup)
        return 0

    monkeypatch.setattr(tui.app, "run_explorer", run_explorer)
    monkeypatch.setattr(tui.cli, "_has_terminal", lambda: True)
    return found


def test_flags_come_before_the_environment_and_that_before_the_file(
    lenscope: Lenscope, started: list[Startup], monkeypatch: pytest.MonkeyPatch
) -> None:
    configure(
        'theme = "nord"\nprompt = "One:"\ndevice = "cpu"\ndtype = "float32"\ntop_k = 5\n'
        'plot = "rank"\nmouse = false\ncolumns = ["kl"]\ncopy_format = "json"\nremember = false\n'
        'presets_file = "~/more.toml"\nautosave = false\npicture = false\n[keys]\nrun = "f9"\n'
    )
    monkeypatch.setenv("LENSCOPE_PROMPT", "Two:")
    monkeypatch.setenv("LENSCOPE_THEME", "gruvbox")
    monkeypatch.setenv("LENSCOPE_LITE", "yes")
    assert lenscope("--theme", "dracula", "--dtype", "auto", "--ascii").code == 0
    startup = started[0]
    assert startup.options is not None
    assert startup.theme == "dracula"
    assert startup.question.prompt == "Two:"
    assert startup.question.top_k == 5
    assert (startup.options.device, startup.options.dtype) == ("cpu", "auto")
    assert startup.options.model == str(samples.MODEL)
    assert (startup.lite, startup.ascii, startup.mouse) == (True, True, False)
    assert (startup.plot, startup.columns, startup.copy_format) == ("rank", ("kl",), "json")
    assert (startup.remember, startup.autosave, startup.preview) == (False, False, False)
    assert startup.presets_file == Path("~/more.toml")  # whoever reads it expands it
    assert startup.keys == {"run": "f9"}


def test_without_settings_what_was_chosen_last_may_hold(
    lenscope: Lenscope, started: list[Startup]
) -> None:
    assert lenscope().code == 0
    startup = started[0]
    assert (startup.theme, startup.columns, startup.plot, startup.copy_format) == (None,) * 4
    assert startup.remember
    assert startup.autosave


def test_an_empty_prompt_of_the_command_line_is_one(
    lenscope: Lenscope, started: list[Startup], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LENSCOPE_PROMPT", "Two:")
    lenscope("--prompt", "")
    assert started[0].question.prompt == ""


def test_run_and_check_follow_the_settings(lenscope: Lenscope, saved: Saved) -> None:
    configure(f'model = "{saved("llava")}"\nprompt = "What is it?"\ntop_k = 4\n')
    ended = lenscope("run", "--no-image")
    assert ended.code == 0
    assert "LlavaForConditionalGeneration" in ended.err
    assert "What is it?" in ended.out
    last = [line for line in ended.out.splitlines() if line[:5].strip().isdigit()][-1]
    configure(f'model = "{saved("llava")}"\nprompt = "What is it?"\ntop_k = 1\n')
    shorter = [
        line
        for line in lenscope("run", "--no-image").out.splitlines()
        if line[:5].strip().isdigit()
    ][-1]
    assert len(last.split()) > len(shorter.split())
    checked = lenscope("check", "--proof-only")
    assert checked.code == 0
    assert "LlavaForConditionalGeneration" in checked.out


def test_a_device_map_stands_above_a_device_of_the_settings(
    lenscope: Lenscope, started: list[Startup]
) -> None:
    configure('device = "cpu"')
    assert lenscope("--device-map", "auto").code == 0
    assert started[0].options is not None
    assert started[0].options.device == "auto"
    assert lenscope("--device-map", "auto", "--device", "cpu").code == 2


def test_a_tilde_in_the_settings_is_the_home_folder(
    lenscope: Lenscope, started: list[Startup], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    configure('cache_dir = "~/models"')
    assert lenscope().code == 0
    assert started[0].options is not None
    assert started[0].options.cache_dir == "/home/somebody/models"
    configure('cache_dir = "~nobody-at-all/models"')
    ended = lenscope()
    assert ended.code == 2
    assert "cache_dir: ~nobody-at-all/models: " in ended.err


@pytest.mark.parametrize("command", [(), ("run",), ("check",), ("config",)])
def test_a_wrong_setting_ends_every_command_in_one_line(
    lenscope: Lenscope, started: list[Startup], command: tuple[str, ...]
) -> None:
    configure('lite = true\n\nthem = "nord\\u001b"\n')
    ended = lenscope(*command)
    assert ended.code == 2
    assert ended.out == ""
    [line] = ended.err.splitlines()
    assert line.endswith("config.toml, line 3: unknown setting 'them'; did you mean 'theme'?")
    assert started == []
    assert lenscope("paths").code == 0


def test_a_wrong_variable_ends_in_one_line(
    lenscope: Lenscope, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LENSCOPE_LITE", "perhaps\x1b[31m")
    ended = lenscope("run")
    assert ended.code == 2
    [line] = ended.err.splitlines()
    assert line.startswith("lenscope: LENSCOPE_LITE: lite: expected true or false, got 'perhaps")
    assert line.isprintable()


def test_what_config_prints_can_be_the_config(lenscope: Lenscope) -> None:
    configure('prompt = "a\\u0007\\u202e\\"b"\n[keys]\nrun = "f9, x"\n')
    printed = lenscope("config").out
    configure(printed)
    assert tomllib.loads(printed) == {"prompt": 'a\a\u202e"b', "keys": {"run": "f9, x"}}
    assert tomllib.loads(lenscope("config").out) == tomllib.loads(printed)


@pytest.mark.parametrize("name", ["config", "paths"])
def test_both_have_help_and_take_nothing(lenscope: Lenscope, name: str) -> None:
    ended = lenscope(name, "--help")
    assert ended.code == 0
    assert f"usage: lenscope {name}" in ended.out
    assert lenscope(name, "more").code == 2


def test_a_session_called_config_goes_by_its_folder(
    lenscope: Lenscope, started: list[Startup]
) -> None:
    write_session(SESSION, "config")
    assert lenscope("./config").code == 0
    assert started[0].session == SESSION


def test_resume_reopens_what_was_not_closed_or_else_what_was_kept(
    lenscope: Lenscope, started: list[Startup]
) -> None:
    ended = lenscope("--resume")
    assert (ended.code, started) == (2, [])
    assert ended.err == "lenscope: --resume: no session was left unsaved\n"
    write_session(SESSION, own_folder(journals_folder()) / "1.json")
    assert lenscope("--resume").code == 0
    assert started[0].session == SESSION
    assert started[0].session_path is None
    assert started[0].options is None
    assert list(journals_folder().iterdir()) == []  # not offered twice
    [kept] = sessions_folder().iterdir()  # and not lost
    assert read_session(kept) == SESSION
    assert lenscope("--resume").code == 0
    assert started[1].session == SESSION


def test_resume_without_a_terminal_leaves_the_journal_alone(lenscope: Lenscope) -> None:
    journal = own_folder(journals_folder()) / "1.json"
    write_session(SESSION, journal)
    assert lenscope("--resume").code == 2
    assert journal.is_file()


def test_resume_and_a_file_are_one_too_many(lenscope: Lenscope, started: list[Startup]) -> None:
    ended = lenscope("--resume", "session.json")
    assert (ended.code, started) == (2, [])
    assert "leave out either it or the file" in ended.err
