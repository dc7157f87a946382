"""The commands as a whole: help, completion, the manual page, and what stands in their place."""

from __future__ import annotations

import io
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

import samples
from engine.records import MOST_LONG
from tests import manpage
from tests.cli.conftest import Lenscope
from tui.commands.parsers import COMMANDS, SHELLS
from tui.disk.paths import journals_folder, sessions_folder

ROOT = Path(__file__).parents[2]

COMPLETE = """
source "$1"; shift
COMP_WORDS=("$@"); COMP_CWORD=$(( $# - 1 )); COMPREPLY=()
_shtab_lenscope lenscope "${COMP_WORDS[$COMP_CWORD]}" "${COMP_WORDS[$COMP_CWORD-1]}"
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash")
@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        (("",), set(COMMANDS)),
        (("sw",), {"sweep"}),
        (("run", "--js"), {"--json"}),
        (("run", "--dtype", ""), {"auto", "float32", "bfloat16", "float16"}),
        (("run", "--image", ""), {"cat.png", "folder"}),
        (("report", ""), {"folder"}),
        (("completion", ""), set(SHELLS)),
        (("--th",), {"--theme"}),
    ],
    ids=lambda words: " ".join(sorted(words)),
)
def test_bash_completes(typed: tuple[str, ...], offered: set[str], lenscope: Lenscope) -> None:
    Path("cat.png").touch()
    Path("folder").mkdir()
    script = Path("..", "script")
    script.write_text(lenscope("completion", "bash").out)
    done = subprocess.run(
        ["bash", "-c", COMPLETE, "bash", script, "lenscope", *typed],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    assert set(done.stdout.split()) == offered


@pytest.mark.parametrize("shell", SHELLS)
def test_every_command_and_flag_is_in_each_script(shell: str, lenscope: Lenscope) -> None:
    ended = lenscope("completion", shell)
    assert ended.code == 0
    for name, command in COMMANDS.items():
        assert name in ended.out
        for action in command.parser()._actions:
            assert all(flag.lstrip("-") in ended.out for flag in action.option_strings)


@pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="argparse breaks lines differently")
def test_the_manual_page_is_that_of_the_parsers() -> None:
    assert manpage.PAGE.read_text(encoding="utf-8") == manpage.page(), (
        "python -m tests.manpage writes it anew"
    )


def test_help_lists_every_command(lenscope: Lenscope) -> None:
    help_text = lenscope("--help").out
    for name, command in COMMANDS.items():
        assert name in help_text and command.what in help_text


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        (("chekc",), "check"),
        (("swep", "--data", "x", "--out", "y"), "sweep"),
        (("Run",), "run"),
    ],
)
def test_a_mistyped_command_is_named(
    typed: tuple[str, ...], meant: str, lenscope: Lenscope
) -> None:
    ended = lenscope(*typed)
    assert ended.code == 2
    [line] = ended.err.splitlines()
    assert line.endswith(f"{typed[0]!r}: did you mean `lenscope {meant}`?")


def test_a_file_with_almost_the_name_of_a_command_is_opened(lenscope: Lenscope) -> None:
    Path("chek").write_text("no session")
    [line] = lenscope("chek").err.splitlines()
    assert "did you mean" not in line and "session" in line


class Piped(io.TextIOWrapper):
    def isatty(self) -> bool:
        return False


def pipe(data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", Piped(io.BytesIO(data)))


def test_a_prompt_comes_from_stdin(lenscope: Lenscope, monkeypatch: pytest.MonkeyPatch) -> None:
    from engine.sessions import read_session

    pipe(b"Shape of the\nmain object:\n", monkeypatch)
    assert lenscope("run", "--prompt", "-", "--json", "found.json").code == 0
    [run] = read_session("found.json").runs
    assert run.question.prompt == "Shape of the\nmain object:"


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (b"\xff\xfe", "--prompt -: what stdin holds is no UTF-8 text"),
        (b"a" * (MOST_LONG + 1), f"--prompt -: more than {MOST_LONG:,} characters"),
        ("ä".encode() * (3 * MOST_LONG), f"--prompt -: more than {MOST_LONG:,} characters"),
        ("…".encode() * (2 * MOST_LONG), f"--prompt -: more than {MOST_LONG:,} characters"),
    ],
    ids=["latin", "long", "cut between two letters", "cut inside a letter"],
)
def test_what_is_no_prompt_is_refused(
    data: bytes, complaint: str, lenscope: Lenscope, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipe(data, monkeypatch)
    ended = lenscope("run", "--prompt", "-")
    assert ended.code == 2
    assert ended.err.splitlines() == [f"lenscope: {complaint}"]


def test_the_explorer_needs_stdin_itself(
    lenscope: Lenscope, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipe(b"Shape:", monkeypatch)
    ended = lenscope("--prompt", "-")
    assert ended.code == 2
    assert "use `lenscope run`" in ended.err


def test_paths_counts_what_is_there(lenscope: Lenscope) -> None:
    sessions_folder().mkdir(parents=True)
    for name in ("a.json", "b.json", "b.lock"):
        (sessions_folder() / name).write_bytes(b"x" * 600_000)
    journals_folder().mkdir(parents=True)
    (journals_folder() / "a.journal").write_bytes(b"x" * 300_000)
    (journals_folder() / "a.lock").touch()
    lines = {line[:18].strip(): line for line in lenscope("paths").out.splitlines()}
    assert lines["kept sessions"].endswith("(2 sessions, 1.2 MB)")
    assert lines["journals"].endswith("(1 journal, 0.3 MB)")
    files = [each for each in Path(samples.MODEL).iterdir() if each.is_file()]
    assert f"({len(files)} files, " in lines["bundled model"]


def test_the_citation_names_this_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert (citation["version"], citation["license"]) == (project["version"], project["license"])


def test_what_the_readme_installs_with_is_in_an_archive() -> None:
    """The file of overrides that an unpacked archive is installed with says what a clone does."""
    tool = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (name,) = re.findall(r"^uv tool install --overrides (\S+) \.$", readme, re.MULTILINE)
    assert {name, "CITATION.cff"} <= {*tool["hatch"]["build"]["targets"]["sdist"]["include"]}
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    overrides = [line for line in lines if line and not line.startswith("#")]
    assert overrides == tool["uv"]["override-dependencies"]
