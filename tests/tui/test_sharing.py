"""Taking what is shown elsewhere: copy, export, the line that reproduces a run."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from msgspec import structs

from engine.sessions import read_session
from tests.tui.stage import ONE_SIZE, PROMPT, explorer, in_loop
from tui.actions.sharing import write

at_one_size = pytest.mark.parametrize("size", ONE_SIZE)


@at_one_size
@in_loop
async def test_the_row_and_the_table_are_copied(size: tuple[int, int]) -> None:
    async with explorer(size) as stage:
        await stage.run_done()
        await stage.press("y")
        await stage.shows("copied row 5 as tsv")
        row = list(csv.reader(stage.app.clipboard.splitlines(), delimiter="\t"))
        assert any(" cylinder" in cells for cells in row)
        await stage.press("Y")
        await stage.shows("copied 11 rows as tsv")
        assert len(stage.app.clipboard) > len("\n".join("\t".join(cells) for cells in row))


@pytest.mark.parametrize("raw", [False, True])
@in_loop
async def test_formulas_are_copied_and_exported_as_text(raw: bool, tmp_path: Path) -> None:
    async with explorer(startup={"raw_cells": raw}) as stage:
        await stage.run_done()
        view = stage.app.state.current
        assert view is not None
        evil = structs.replace(view.rows[5].top[0], text="=1+1")
        view.rows[5] = structs.replace(view.rows[5], top=(evil, *view.rows[5].top[1:]))
        view.run = structs.replace(view.run, rows=tuple(view.rows))
        write(stage.app, view, ("csv", tmp_path / "run.csv"))
        texts = [(tmp_path / "run.csv").read_text()]
        for key in ("y", "Y"):
            await stage.press(key)
            texts.append(stage.app.clipboard)
        for text in texts:
            assert "=1+1" in text and ("'=1+1" in text) is not raw


@in_loop
async def test_the_format_is_chosen_from_the_palette() -> None:
    async with explorer() as stage:
        await stage.run_done()
        await stage.app.run_action("do('copy-as')")
        await stage.shows("markdown", "json")
        await stage.press(*"json", "enter")
        await stage.shows("copied 11 rows as json")
        assert json.loads(stage.app.clipboard)


@in_loop
async def test_the_line_that_reproduces_the_run_is_copied() -> None:
    async with explorer() as stage:
        await stage.run_done()
        await stage.app.run_action("do('copy-command')")
        await stage.shows("copied the command for this run")
        assert stage.app.clipboard.startswith("lenscope run ")
        assert PROMPT in stage.app.clipboard
        await stage.app.run_action("do('copy-python')")
        await stage.shows("copied the Python for this run")
        compile(stage.app.clipboard, "copied", "exec")


@in_loop
async def test_nothing_of_a_refused_run_is_handed_on() -> None:
    async with explorer(passed=False) as stage:
        await stage.run_done()
        await stage.press("y")
        await stage.shows("its rows cannot be copied")
        assert stage.app.clipboard == ""


@at_one_size
@in_loop
async def test_the_run_is_exported(size: tuple[int, int], tmp_path: Path) -> None:
    async with explorer(size) as stage:
        await stage.run_done()
        await stage.press("x")
        await stage.shows("csv", "markdown", "svg")
        await stage.press("escape")
        for name in ("csv", "json", "svg"):
            write(stage.app, stage.app.state.current, (name, tmp_path / f"run.{name}"))  # type: ignore[arg-type]
            await stage.until(lambda name=name: (tmp_path / f"run.{name}").is_file())  # type: ignore[misc]
        await stage.shows("wrote run.svg")
    assert "cylinder" in (tmp_path / "run.csv").read_text()
    assert len(read_session(tmp_path / "run.json").runs) == 1
    assert (tmp_path / "run.svg").read_text().startswith("<svg")
