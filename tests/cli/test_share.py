"""`lenscope share`, and opening what it has written."""

from __future__ import annotations

import base64
import gzip
import json
from pathlib import Path

import pytest

from engine.pages.opening import read_page
from engine.pages.packing import elements_in
from engine.records import Session
from engine.sessions import read_session, write_session
from tests.cli.conftest import Lenscope
from tests.tui.dialog_stage import HOSTILE, make_view
from tui.sharing.reproduce import as_command


@pytest.fixture
def session(tmp_path: Path) -> Path:
    """A session file with two runs, one of them asked with what terminals run."""
    runs = tuple(make_view(each, prompt).run for each, prompt in enumerate(("Shape:", HOSTILE)))
    path = tmp_path / "session.json"
    write_session(Session("2026-11-22T03:00:00Z", "2026-11-22T03:00:00Z", runs), path)
    return path


def test_a_session_becomes_a_page_that_opens_again(lenscope: Lenscope, session: Path) -> None:
    ended = lenscope("share", session, "-o", "page.html")
    assert (ended.code, ended.out) == (0, "")
    assert ended.err == "lenscope: wrote page.html: 2 runs, 0.1 MB\n"
    assert read_page("page.html") == read_session(session)
    # The explorer needs a terminal; that is said after the page has been read.
    opened = lenscope("page.html")
    assert opened.code == 2 and "needs a terminal" in opened.err


def test_a_page_becomes_a_page_without_previews(lenscope: Lenscope, session: Path) -> None:
    lenscope("share", session, "-o", "page.html")
    assert lenscope("share", "page.html", "-o", "again.html", "--no-preview").code == 0
    runs = read_page("again.html").runs
    assert [run.rows for run in runs] == [run.rows for run in read_session(session).runs]
    assert all(run.question.picture is None or not run.question.picture.preview for run in runs)


def test_a_page_on_stdout(lenscope: Lenscope, session: Path) -> None:
    ended = lenscope("share", session, "-o", "-")
    assert ended.code == 0 and ended.err == ""
    Path("page.html").write_text(ended.out)
    assert read_page("page.html") == read_session(session)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("missing.json", "-o", "page.html"), "no such session file"),
        (("damaged.json", "-o", "page.html"), "damaged session file"),
        (("foreign.html", "-o", "page.html"), "not one that Lenscope has written"),
        (("session.json", "-o", "session.json"), "this is the session itself"),
        (("session.json", "-o", "none/page.html"), "cannot be written"),
        (("session.json",), "required: -o/--out"),
        ((), "required: SESSION.json"),
    ],
)
def test_bad_usage(
    lenscope: Lenscope, session: Path, arguments: tuple[str, ...], words: str
) -> None:
    Path("session.json").write_bytes(session.read_bytes())
    Path("damaged.json").write_text("{")
    Path("foreign.html").write_text("<!DOCTYPE html><p>Hello")
    before = sorted(Path().iterdir())
    ended = lenscope("share", *arguments)
    assert ended.code == 2 and words in ended.err, ended
    assert ended.out == ""
    assert sorted(Path().iterdir()) == before
    assert read_session("session.json") == read_session(session)


def test_a_foreign_page_is_not_opened(lenscope: Lenscope) -> None:
    Path("foreign.html").write_text("<html>")
    ended = lenscope("foreign.html")
    assert ended.code == 2
    assert ended.err == ("lenscope: foreign.html: a page, but not one that Lenscope has written\n")


def test_the_command_in_the_page_is_that_of_the_run(lenscope: Lenscope, session: Path) -> None:
    lenscope("share", session, "-o", "page.html")
    found = elements_in(Path("page.html").read_bytes())
    for index, run in enumerate(read_session(session).runs):
        packed = json.loads(found[f"lenscope-shown-{index}"])
        shown = json.loads(gzip.decompress(base64.b64decode(packed)))
        assert shown["command"] == as_command(run, None)


def test_a_figure_is_of_the_run_with_its_picture(lenscope: Lenscope) -> None:
    asked = ["--against", "noise", "--read", "geometry", "--read", "words:words=sphere"]
    assert lenscope("run", *asked, "--json", "s.json").code == 0
    ended = lenscope("share", "s.json", "-o", "map.svg", "--figure", "map", "--map", "sphere")
    assert (ended.code, ended.err) == (0, "lenscope: wrote map.svg\n")
    assert Path("map.svg").read_bytes().startswith(b"<?xml")
    assert lenscope("share", "s.json", "-o", "map.svg", "--run", "0" * 16).code == 2
    assert lenscope("share", "s.json", "-o", "plot.gif", "--figure", "plot").code == 2
