"""Runs as CSV, TSV, Markdown, text and JSON, as text and in files."""

from __future__ import annotations

import csv
import io
import json
import os
import stat
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from msgspec.structs import replace
from textual.widgets import Input

from engine.errors import BadInput, LenscopeError
from engine.events import LoadOptions
from engine.pages.opening import read_page
from engine.records import AnswerReading, Comparison, LayerReading, Session, Token, Tracked
from engine.run_tables import TOKEN_COLUMNS
from engine.sessions import read_session
from engine.tables import Candidate, Column, Place, Table
from tests.tui.dialog_stage import HOSTILE, make_view, on_stage
from tests.tui.fakes import track
from tests.tui.stage import ONE_SIZE, SIZES, in_loop
from tui.sharing.copying import row_text, table_text, write_export
from tui.sharing.exporting import suggested_stem, write_text
from tui.sharing.formats import COPY_FORMATS, FIGURES, FORMATS
from tui.sharing.renderers.separated import separated
from tui.state.run_view import RunView
from tui.text.show import display_text
from tui.views.files.export_dialog import ExportDialog
from tui.widgets.line_input import LineInput

at_every_size = pytest.mark.parametrize("size", SIZES)
at_one_size = pytest.mark.parametrize("size", ONE_SIZE)

COLUMNS = tuple(column.name for column in TOKEN_COLUMNS)
OPTIONAL = ("entropy", "rms", "kl", "answer", "tracked")
SPREADSHEET = ["=1+1", "+1", "-1", "@x", '"', "''", ",", "\t", "\r", "\n", "\r\n", "\x00", ";"]
MARKDOWN = ["|", "\\|", "`", "**", "_a_", "<b>", "&lt;", "[a](b)", "![x](y)", "~~x~~", "$x$", "#",
            "- ", "1. ", "https://x.org", "\\", "\\\\", "::", "---", "&#124;"]  # fmt: skip

texts = st.one_of(
    st.sampled_from([*SPREADSHEET, *MARKDOWN, HOSTILE, "", " "]),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
    st.lists(st.sampled_from([*SPREADSHEET, *MARKDOWN, " ", "a"]), max_size=4).map("".join),
)
numbers = st.floats(allow_nan=False, allow_infinity=False, width=32)
tokens = st.builds(
    Token, st.integers(0, 300_000), texts, st.floats(0, 1, width=32), st.none() | numbers
)
rows = st.builds(
    LayerReading,
    layer=st.just(0),
    top=st.lists(tokens, max_size=4).map(tuple),
    entropy=st.none() | numbers,
    rms=st.none() | numbers,
    answer=st.none()
    | st.builds(AnswerReading, st.floats(0, 1), st.none() | numbers, st.integers(1, 9)),
    kl_to_last=st.none() | numbers,
)


def view_of(readings: list[LayerReading]) -> RunView:
    numbered = [replace(row, layer=layer) for layer, row in enumerate(readings)]
    view = make_view(read=0, layers=max(len(numbered), 1))
    view.rows = numbered
    view.run = replace(view.run, rows=tuple(numbered))
    return view


@settings(max_examples=150)
@given(st.lists(rows, max_size=4), st.sampled_from(["csv", "tsv"]))
def test_what_is_read_back_is_what_went_in(readings: list[LayerReading], style: str) -> None:
    view = view_of(readings)
    text = table_text(view, style, raw=True)
    mark = "\t" if style == "tsv" else ","
    head, *lines = csv.reader(io.StringIO(text, newline=""), delimiter=mark)
    assert tuple(head) == COLUMNS
    expected = [(row, rank, token) for row in view.rows for rank, token in enumerate(row.top, 1)]
    assert len(lines) == len(expected)
    for line, (row, rank, token) in zip(lines, expected, strict=True):
        cells = dict(zip(COLUMNS, line, strict=True))
        assert (int(cells["layer"]), int(cells["rank"])) == (row.layer, rank)
        assert (int(cells["id"]), cells["token"]) == (token.id, token.text)
        assert float(cells["probability"]) == token.probability
        answer = row.answer
        for name, value in (
            ("logit", token.logit),
            ("entropy", row.entropy),
            ("rms", row.rms),
            ("kl_to_last", row.kl_to_last),
            ("answer_probability", answer and answer.probability),
            ("answer_rank", answer and answer.rank),
        ):
            assert (float(cells[name]) if cells[name] else None) == value, name


@settings(max_examples=150)
@given(st.lists(rows, min_size=1, max_size=3), st.sampled_from(["csv", "tsv"]))
def test_no_text_is_a_formula(readings: list[LayerReading], style: str) -> None:
    """All else is as in the raw table."""
    view, mark = view_of(readings), "\t" if style == "tsv" else ","
    texts = (table_text(view, style, raw=raw) for raw in (False, True))
    safe, raw = (list(csv.reader(io.StringIO(text, newline=""), delimiter=mark)) for text in texts)
    for line, exact in zip(safe, raw, strict=True):
        for name, cell, given_cell in zip(COLUMNS, line, exact, strict=True):
            if name == "token" and given_cell[:1] in set("=+-@\t\r\n＝＋－＠"):
                assert cell == f"'{given_cell}"
            else:
                assert cell == given_cell


@pytest.mark.parametrize("sign", ["=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠"])
def test_each_kind_of_cell_is_made_harmless(sign: str) -> None:
    evil = f"{sign}HYPERLINK(1)"
    columns = (
        Column(evil, "text"), Column("token", "token"), Column("candidate", "candidate"),
        Column("number", "number"), Column("figure", "figure"), Column("count", "count"),
        Column("place", "place"), Column("mixed", "text"),
    )  # fmt: skip
    row = (evil, evil, Candidate(evil, 0.5), -0.25, "-3.0 %", -3, Place(0.5, 2), -1)
    table = Table("", columns, (row,))
    head, line = csv.reader(io.StringIO(separated(table, ","), newline=""))
    safe = f"'{evil}"
    assert head[0] == safe
    assert line == [safe, safe, safe, "0.5", "-0.25", "-3.0 %", "-3", "0.5", "2", "-1"]
    head, line = csv.reader(io.StringIO(separated(table, ",", raw=True), newline=""))
    assert head[0] == line[0] == line[1] == line[2] == evil


@settings(max_examples=150)
@given(st.lists(rows, min_size=1, max_size=3), st.sets(st.sampled_from(OPTIONAL)))
def test_markdown_shows_the_tokens_in_a_table(
    readings: list[LayerReading], figures: set[str]
) -> None:
    """Read as a renderer reads it: so many columns everywhere, and every token as on the screen."""
    view = view_of(readings)
    chosen = [name for name in OPTIONAL if name in figures]
    text = table_text(view, "markdown", None, chosen)
    parsed = MarkdownIt("commonmark").enable("table").parse(text)
    types = [token.type for token in parsed]
    assert types[0] == "table_open"
    assert types.count("table_open") == 1
    assert types[-1] == "table_close"
    cells: list[list[str]] = []
    for token in parsed:
        if token.type == "tr_open":
            cells.append([])
        elif token.type == "inline":
            assert all(child.type in {"text", "text_special"} for child in token.children or [])
            cells[-1].append("".join(child.content for child in token.children or []))
    top_k = max(1, *(len(row.top) for row in view.rows))
    width = 1 + top_k + len([name for name in chosen if name != "tracked"])
    assert {len(line) for line in cells} == {width}
    for line, row in zip(cells[1:], view.rows, strict=True):
        assert line[0] == str(row.layer)
        for shown, each in zip(line[1 : 1 + top_k], row.top, strict=False):
            assert shown.startswith(display_text(each.text) + " ")
            assert shown.endswith("%")


def test_markdown_has_the_columns_by_choice() -> None:
    view = make_view()
    track(view, [Tracked(7, " a|b", "user", (0.25,) * 11, (0.0,) * 11, (3,) * 11)])
    head, _, first, *_ = table_text(view, "markdown", 2, OPTIONAL).splitlines()
    assert head == "| layer | 1st | 2nd | entropy | rms | KL | answer | ␣a&#124;b |"
    cells = [cell.strip() for cell in first.strip("|").split("|")]
    assert cells[0] == "0"
    assert cells[1] == "␣red 55.0%"
    assert cells[3:6] == ["6.01", "0.5", "0.1"]
    assert cells[6].endswith("(rank 10)")
    assert cells[7] == "25.0% (rank 3)"
    assert table_text(view, "markdown", 12).splitlines()[0].count("10th") == 1


def test_text_is_what_the_command_prints() -> None:
    text = table_text(make_view(prompt="Shape: \x1b[31m"), "text", 2)
    lines = text.splitlines()
    assert lines[0] == "prompt   Shape: \\x1b[31m"
    assert sum(line[:5].strip().isdigit() for line in lines) == 11
    assert "top-2" in text
    assert "top-3" not in text
    assert lines[-2].startswith("answer   ␣cylinder  99.0%")
    assert lines[-1].startswith("proof    passed")
    assert table_text(make_view(prompt="é"), "text", ascii_only=True).isascii()


def test_a_row_is_the_row_of_the_table() -> None:
    view = make_view()
    for style in ("csv", "tsv", "markdown", "text"):
        table, row = table_text(view, style, 3), row_text(view, 6, style, 3)
        assert set(row.splitlines()) < set(table.splitlines()), style
        assert "cylinder" in row
        assert "99.0" not in row
    assert json.loads(row_text(view, 6, "json"))["layer"] == 6
    assert len(row_text(view, 6, "csv").splitlines()) == 1 + 10
    assert len(row_text(view, 6, "csv", 2).splitlines()) == 1 + 2
    with pytest.raises(IndexError):
        row_text(view, 11, "tsv")
    for style in ("svg", ""):
        with pytest.raises(ValueError, match="not a format"):
            row_text(view, 6, style)
        with pytest.raises(ValueError, match="not a format"):
            table_text(view, style)


@pytest.mark.parametrize("style", COPY_FORMATS)
def test_a_run_that_still_runs_is_taken_as_it_is(style: str) -> None:
    view = make_view(running=True, read=4)
    assert "cube" in row_text(view, 3, style)
    assert "cube" in table_text(view, style)
    with pytest.raises(IndexError):
        row_text(view, 4, style)
    assert "red" not in table_text(make_view(running=True, read=0), style)


def test_json_is_a_session(tmp_path: Path) -> None:
    view = make_view()
    (tmp_path / "copied.json").write_text(table_text(view, "json"))
    assert read_session(tmp_path / "copied.json").runs == (view.run,)


@pytest.mark.parametrize(
    "name", [each.name for each in FORMATS if each.name != "svg" and each.name not in FIGURES]
)
def test_every_format_is_written(tmp_path: Path, name: str) -> None:
    view, path = make_view(), tmp_path / "run.out"
    write_export(view, name, path, 2, ("entropy", "rms"), LoadOptions("samples/model"))
    text = path.read_text()
    assert "cylinder" in text or name in {"command", "python"}
    assert text.startswith("<!DOCTYPE html>") is (name == "html")
    match name:
        case "csv" | "tsv":
            assert text == table_text(view, name)
            assert len(text.splitlines()) == 1 + 11 * 10
        case "markdown" | "text":
            assert text == table_text(view, name, 2, ("entropy", "rms"))
        case "json":
            assert read_session(path).runs == (view.run,)
        case "html":
            assert read_page(path).runs == (view.run,)
        case "command":
            assert text.startswith("lenscope run --model samples/model")
        case "python":
            compile(text, "exported", "exec")
    path.unlink()
    assert list(tmp_path.iterdir()) == []


def test_a_page_shows_the_runs_that_the_run_was_compared_with(tmp_path: Path) -> None:
    own, black, other = (make_view(each).run for each in range(3))
    comparisons = (
        Comparison("a" * 16, "counterfactual", own.id, black.id, own.position, ()),
        Comparison("b" * 16, "counterfactual", other.id, black.id, own.position, ()),
    )
    session = Session("2026", "2026", (own, black, other), comparisons)
    write_export(make_view(), "html", tmp_path / "page.html", beside=session)
    page = read_page(tmp_path / "page.html")
    assert page.runs == (own, black)
    assert page.comparisons == comparisons[:1]


def test_a_file_keeps_its_permissions_and_a_link_stays_a_link(tmp_path: Path) -> None:
    path, link = tmp_path / "run.csv", tmp_path / "link.csv"
    path.write_text("old")
    path.chmod(0o640)
    link.symlink_to(path)
    write_export(make_view(), "csv", link)
    assert path.read_text().startswith("layer,rank")
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert link.is_symlink()


def test_text_that_is_no_unicode_is_written_all_the_same(tmp_path: Path) -> None:
    write_text(tmp_path / "x", "a\udcffb\r\n")
    assert (tmp_path / "x").read_bytes() == b"a?b\r\n"


def test_what_cannot_be_written(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    for name in ("csv", "json"):
        for path in (tmp_path, tmp_path / "none" / "x", fifo, Path("/proc/x"), Path("a\0b")):
            with pytest.raises(LenscopeError) as caught:
                write_export(make_view(), name, path)
            assert "\n" not in str(caught.value)
    with pytest.raises(BadInput, match="proof"):
        write_export(make_view(passed=False), "csv", tmp_path / "x")
    with pytest.raises(ValueError, match="svg"):
        write_export(make_view(), "svg", tmp_path / "x")
    assert list(tmp_path.iterdir()) == [fifo]


@given(st.text())
def test_a_suggested_name_is_plain(name: str) -> None:
    stem = suggested_stem(name)
    assert stem
    assert stem.isascii()
    assert set(stem) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")
    assert len(stem) <= 40


# The dialogs


@at_every_size
@in_loop
async def test_a_format_and_a_file_are_chosen(size: tuple[int, int], tmp_path: Path) -> None:
    play = ExportDialog(make_view(prompt="Shape of it:"), tmp_path, ascii_only=False)
    async with on_stage(play, size) as stage:
        for each in FORMATS:
            assert each.name in stage.text
            assert each.title in stage.text
        assert "shape-of-it.csv" in stage.text
        await stage.press("down", "down")
        assert "shape-of-it.md" in stage.text
        await stage.press("up", "enter")
        assert stage.app.results == [("tsv", tmp_path / "shape-of-it.tsv")]


@in_loop
async def test_the_ends_of_the_list_and_endings_of_ones_own(tmp_path: Path) -> None:
    play = ExportDialog(make_view(prompt="a"), tmp_path, ascii_only=False)
    async with on_stage(play) as stage:
        await stage.press("up", *["down"] * 20)
        assert "a.gif" in stage.text
        await stage.press("tab", *["backspace"] * 5, *"b.report", "up", "up")
        assert "b.report" in stage.text
        await stage.press("enter")
        assert stage.app.results == [(FORMATS[-3].name, tmp_path / "b.report")]


@at_one_size
@in_loop
async def test_a_file_is_not_replaced_unasked(size: tuple[int, int], tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("mine")
    (tmp_path / "b.csv").write_text("mine")
    play = ExportDialog(make_view(prompt="a"), tmp_path, ascii_only=False)
    async with on_stage(play, size) as stage:
        await stage.press("enter")
        assert "enter again replaces it" in stage.text
        await stage.press("tab", *["backspace"] * 5, *"b.csv", "enter")
        assert "enter again replaces it" in stage.text
        assert stage.app.results == []
        await stage.press("enter")
        assert stage.app.results == [("csv", tmp_path / "b.csv")]


@in_loop
async def test_files_that_cannot_be_are_refused(tmp_path: Path) -> None:
    play = ExportDialog(make_view(prompt="a"), tmp_path, ascii_only=False)
    async with on_stage(play) as stage:
        for typed, words in (
            ("", "a folder"),
            ("none/a.csv", "no such folder"),
            ("a" * 300, "not a possible file name"),
            ("/dev/null", "not a regular file"),
        ):
            stage.app.screen.query_one(Input).value = typed
            await stage.press("enter")
            assert words in stage.text, typed
        await stage.press("escape")
        assert stage.app.results == [None]


@at_every_size
@in_loop
async def test_hostile_names(size: tuple[int, int], tmp_path: Path) -> None:
    folder = tmp_path / "\x1b[31m[b]\u202e"
    folder.mkdir()
    play = ExportDialog(make_view(prompt=HOSTILE), folder, ascii_only=True)
    async with on_stage(play, size) as stage:
        assert stage.text.isascii()
        await stage.press("enter")
        ((name, path),) = stage.app.results
        assert (name, path.parent) == ("csv", folder)


@at_one_size
@in_loop
async def test_a_line_is_typed(size: tuple[int, int]) -> None:
    for value, keys, result in (
        ("old", ["enter"], "old"),
        ("old", [*"er", "enter"], "older"),
        ("old", ["x", "escape"], None),
        ("", [*"q?", "enter"], "q?"),
        (HOSTILE, ["enter"], HOSTILE),
    ):
        async with on_stage(LineInput(f"title {HOSTILE}", value), size) as stage:
            assert "title \\x1b]0;x" in stage.text
            await stage.press(*keys)
            assert stage.app.results == [result]
