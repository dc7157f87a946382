"""What a session holds besides one run: several runs, readings, other positions, previews."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from engine import sessions
from engine.errors import BadInput
from engine.methods.contrast import ContrastReading, ContrastRequest, ContrastRow
from engine.records import (
    Comparison,
    ComparisonRow,
    OtherPosition,
    ReadingProof,
    Run,
    Session,
    Token,
    UnknownReading,
)
from engine.sessions import read_session, to_json, write_session
from tests.engine.test_sessions import RUN_ID, make_row, make_run, make_session

OTHER_ID = "fedcba9876543210"
READING = ContrastReading(
    request=ContrastRequest(("none",), 0.5, 0.25),
    rows=(ContrastRow(0, (Token(7, " gold", 0.5, 1.25),), 1.5, 0.25, None),),
    against=OTHER_ID,
    references=(OTHER_ID,),
    reason="of two proved runs",
)


def again(session: Session, folder: Path) -> Session:
    write_session(session, folder / "session.json")
    return read_session(folder / "session.json")


def two_runs(**changes: Any) -> Session:
    comparison = Comparison(
        "0" * 16, "counterfactual", RUN_ID, OTHER_ID, 2, (ComparisonRow(0, 0.5, 0.25),)
    )
    runs = (make_run(**changes), make_run(id=OTHER_ID, title="the other"))
    return make_session(*runs, comparisons=(comparison,), view={"row": 2})


def test_several_runs_and_their_comparison_come_back(tmp_path: Path) -> None:
    session = again(two_runs(), tmp_path)
    assert [run.id for run in session.runs] == [RUN_ID, OTHER_ID]
    assert session.runs[1].title == "the other"
    assert again(session, tmp_path) == session
    assert session.comparisons == two_runs().comparisons and session.view == {"row": 2}


def test_previews_are_kept_unless_they_are_left_out(tmp_path: Path) -> None:
    session = two_runs()
    for kept in (read_session(written(session, tmp_path)), again(session, tmp_path)):
        assert [picture(run).preview for run in kept.runs] == ["QUJD", "QUJD"]
    write_session(session, tmp_path / "bare.json", previews=False)
    bare = read_session(tmp_path / "bare.json")
    assert [picture(run).preview for run in bare.runs] == [None, None]
    assert picture(bare.runs[0]).sha256 == picture(session.runs[0]).sha256
    assert json.loads(to_json(session, False)) == json.loads((tmp_path / "bare.json").read_text())


def picture(run: Run) -> Any:
    return run.question.picture


def written(session: Session, folder: Path) -> Path:
    """The session as it is made without writing a file."""
    (folder / "text.json").write_text(to_json(session))
    return folder / "text.json"


def test_readings_come_back_and_those_that_failed_do_not(tmp_path: Path) -> None:
    failed = structs.replace(
        READING,
        request=ContrastRequest(("black",)),
        proof=ReadingProof("a sum", 1.0, 0.1, passed=False),
    )
    session = again(two_runs(readings=(READING, failed)), tmp_path)
    assert session.runs[0].readings == (READING,)
    assert session.runs[1].readings == ()
    content = json.loads((tmp_path / "session.json").read_text())["runs"]
    assert [each["method"] for each in content[0]["readings"]] == ["contrast"]
    assert content[1]["readings"] == []


def changed(folder: Path, change: Callable[[dict[str, Any]], object], **fields: Any) -> Path:
    """A session file whose first run is changed as raw data."""
    path = folder / "session.json"
    write_session(two_runs(**fields), path)
    content = json.loads(path.read_text())
    change(content["runs"][0])
    path.write_text(json.dumps(content))
    return path


def test_a_reading_of_an_unknown_method_is_kept_as_it_is(tmp_path: Path) -> None:
    raw = {"method": "later", "request": {"x": [1]}, "deep": [None, "\u202e", 1.5]}
    session = read_session(changed(tmp_path, lambda run: run.update(readings=[raw])))
    (reading,) = session.runs[0].readings
    assert isinstance(reading, UnknownReading) and reading.raw == raw
    assert again(session, tmp_path).runs[0].readings == (reading,)
    assert json.loads((tmp_path / "session.json").read_text())["runs"][0]["readings"] == [raw]


def nested(depth: int) -> dict[str, Any]:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return {"method": "later", "deep": value}


@pytest.mark.parametrize(
    "readings",
    [
        "text", [3], [None], [{}], [{"method": 3}], [nested(300)],
        [{"method": "contrast"}], [{"method": "contrast", "request": {}, "rows": 3}],
    ],
)  # fmt: skip
def test_damaged_readings_are_refused(readings: Any, tmp_path: Path) -> None:
    path = changed(tmp_path, lambda run: run.update(readings=readings))
    before = path.read_bytes()
    with pytest.raises(BadInput, match="a damaged session file") as caught:
        read_session(path)
    assert "\n" not in str(caught.value) and path.read_bytes() == before


def test_readings_may_be_nested(tmp_path: Path) -> None:
    path = changed(tmp_path, lambda run: run.update(readings=[nested(90)]))
    assert len(read_session(path).runs[0].readings) == 1


def test_other_positions_are_checked_as_the_first(tmp_path: Path) -> None:
    other = OtherPosition(1, (make_row(0), make_row(1)))
    session = again(two_runs(others=(other,)), tmp_path)
    (read,) = session.runs[0].others
    assert (read.position, [row.layer for row in read.rows]) == (1, [0, 1])
    assert again(session, tmp_path) == session

    def skip_a_row(run: dict[str, Any]) -> None:
        run["others"][0]["rows"][1]["layer"] = 2

    def untracked(run: dict[str, Any]) -> None:
        run["others"][0]["tracked"] = run["tracked"]  # of three rows, where two are read

    for change in (skip_a_row, untracked):
        with pytest.raises(BadInput, match="a damaged session file"):
            read_session(changed(tmp_path, change, others=(other,)))


@pytest.mark.parametrize(("count", "fits"), [(0, True), (2, True), (3, True), (4, False)])
def test_a_cancelled_run_has_no_more_rows_than_the_model(
    count: int, fits: bool, tmp_path: Path
) -> None:
    def rows(run: dict[str, Any]) -> None:
        run["rows"] = [{**run["rows"][0], "layer": layer} for layer in range(count)]
        run.update(status="cancelled", formation=None, tracked=[])

    path = changed(tmp_path, rows)
    if fits:
        assert len(read_session(path).runs[0].rows) == count
    else:
        with pytest.raises(BadInput, match="rows are not 0 to 2"):
            read_session(path)


def test_what_could_not_be_opened_again_is_not_written(tmp_path: Path) -> None:
    """Two runs of one id."""
    file = tmp_path / "session.json"
    write_session(make_session(make_run()), file)
    before = file.read_bytes()
    with pytest.raises(BadInput, match="cannot be saved"):
        write_session(make_session(make_run(), make_run()), file)
    assert file.read_bytes() == before


def test_the_limits_are_those_of_the_format() -> None:
    assert (sessions.MAX_BYTES, sessions.MAX_RUN_BYTES) == (2**30, 32 * 2**20)
