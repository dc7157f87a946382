"""Files that the version before wrote (tests/written_before) reopen with everything in them."""

from __future__ import annotations

import json
from pathlib import Path

from engine.sessions import read_session, write_session
from engine.sweeps.reopening import open_item
from engine.sweeps.results import read_results

BEFORE = Path(__file__).parent / "written_before"


def held_in(written: object, again: object, path: str = "") -> None:
    """Everything that was written is there; fields may have been added."""
    if isinstance(written, dict):
        assert isinstance(again, dict), path
        for name, value in written.items():
            assert name in again, f"{path}.{name}"
            held_in(value, again[name], f"{path}.{name}")
    elif isinstance(written, list):
        assert isinstance(again, list), path
        assert len(written) == len(again), path
        for index, (one, other) in enumerate(zip(written, again, strict=True)):
            held_in(one, other, f"{path}[{index}]")
    else:
        assert written == again, path


def test_a_session_reopens_with_everything_in_it(tmp_path: Path) -> None:
    session = read_session(BEFORE / "session.json")
    assert [run.status for run in session.runs] == ["done"] * 4
    assert len(session.comparisons) == 3
    assert all(run.readings == () for run in session.runs)
    write_session(session, tmp_path / "again.json")
    written = json.loads((BEFORE / "session.json").read_text())
    held_in(written, json.loads((tmp_path / "again.json").read_text()))


def test_a_sweep_reopens_with_everything_in_it() -> None:
    results = read_results(BEFORE / "sweep")
    lines = (BEFORE / "sweep" / "items-00000-of-00001.jsonl").read_text().splitlines()
    assert len(lines) == 8
    for line in map(json.loads, lines):
        run = open_item(BEFORE / "sweep", line["item"])
        assert run.question.prompt == line["prompt"]
        assert [row.top[0].id for row in run.rows] == [row["top"][0]["id"] for row in line["rows"]]
    assert results is not None
