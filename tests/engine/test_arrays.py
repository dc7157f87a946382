"""Arrays in session files: exact, small, and checked before anything is decoded."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from msgspec import structs

import samples
from engine import Loaded, load
from engine.arrays import MOST_BYTES, Array, arrays_in, with_numpy
from engine.errors import BadInput
from engine.methods.geometry import GeometryReading, GeometryRequest
from engine.methods.grid import GridReading
from engine.records import Run, Session
from engine.sessions import read_session, run_size, write_session
from engine.system.stamps import now
from tests.engine.llava_sized import llava_sized

KINDS = ("<f4", "<i4", "<i2", "<u1")


@settings(max_examples=80, deadline=None)
@given(
    st.sampled_from(KINDS).flatmap(
        lambda kind: st.tuples(
            st.just(kind),
            arrays.arrays(
                np.dtype(kind), arrays.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5)
            ),
        )
    )
)
def test_what_is_written_is_what_is_read(made: tuple[Any, np.ndarray[Any, Any]]) -> None:
    kind, values = made
    array = Array.of(values, kind)
    again = msgspec.json.decode(msgspec.json.encode(array), type=Array)
    assert again == array and again.shape == values.shape
    assert np.array_equal(again.values, values, equal_nan=kind == "<f4")
    assert again.values.tobytes() == np.ascontiguousarray(values).tobytes()
    assert not again.values.flags.writeable


def test_numbers_are_little_endian_whatever_they_were() -> None:
    values = np.arange(6, dtype=">i4").reshape(2, 3)[:, ::-1]
    array = Array.of(values, "<i4")
    assert array.values.tolist() == values.tolist()


def test_an_array_is_deflated_where_that_is_smaller() -> None:
    assert Array.of(np.zeros(1000, dtype="f4"), "<f4").deflate is True
    assert (
        "deflate" not in msgspec.json.encode(Array.of(np.array([1.5], dtype="f4"), "<f4")).decode()
    )


def plain(values: Any, kind: str = "<f4", **other: Any) -> dict[str, Any]:
    data = np.asarray(values, dtype=kind).tobytes()
    made = {
        "dtype": kind,
        "shape": list(np.shape(values)),
        "data": base64.b64encode(data).decode(),
    }
    return made | other


def bomb(size: int) -> str:
    return base64.b64encode(zlib.compress(bytes(size))).decode()


REFUSED: list[tuple[dict[str, Any], str]] = [
    (plain([1.0, 2.0], shape=[3]), "characters"),
    (plain([1.0, 2.0], shape=[1]), "characters"),
    (plain([1.0], shape=[2**31 - 1, 2**31 - 1]), "limit"),
    (plain([1.0], shape=[2**40]), "2147483647"),
    (plain([1.0], shape=[-1]), ">= 0"),
    (plain([1.0], shape=[1, 1, 1, 1, 1]), "length"),
    (plain([1.0], dtype="<f8"), "Invalid enum value"),
    (plain([1.0], dtype="|O"), "Invalid enum value"),
    (plain([1.0], data="!!!!!!!!"), "damaged array"),
    (plain([1.0], data="AAAA===="), "damaged array"),
    (plain([1.0], deflate=True), "damaged array"),
    (plain([1.0], data=bomb(10**6), deflate=True), "damaged array"),
    (plain([1.0], data=bomb(3), deflate=True), "damaged array"),
    (plain([1.0], data=bomb(4)[:-6], deflate=True), "damaged array"),
    (plain([1.0], deflate="yes"), "bool"),
    (plain([1.0], data=5), "str"),
]


@pytest.mark.parametrize("array, words", REFUSED)
def test_damaged_arrays(array: dict[str, Any], words: str) -> None:
    with pytest.raises((msgspec.ValidationError, BadInput), match=words) as caught:
        _ = msgspec.convert(array, Array).values
    assert len(str(caught.value)) < 300 and "\n" not in str(caught.value)


def test_a_bomb_never_inflates(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream that would become 32 megabytes is given up at the size that its shape allows."""
    array = msgspec.convert(plain([1.0], data=bomb(2**25), deflate=True), Array)
    import tracemalloc

    tracemalloc.start()
    with pytest.raises(BadInput, match="damaged array"):
        _ = array.values
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**20
    assert MOST_BYTES == 2**26


# In sessions


@pytest.fixture(scope="module")
def model() -> Loaded:
    return load(samples.MODEL)


@pytest.fixture(scope="module")
def read(model: Loaded) -> Run:
    asked = model.ask("Shape of the main object:", image=samples.DEFAULT_PICTURE)
    asked.read("grid")
    asked.read("words", words=("cube",))
    asked.read("visit", positions=(3, 5))
    asked.read("geometry")
    return asked.run


def session_of(run: Run) -> Session:
    return Session(created=now(), saved=now(), runs=(run,))


def test_readings_reopen_without_torch_or_numpy(read: Run, tmp_path: Path) -> None:
    file = tmp_path / "session.json"
    write_session(session_of(read), file)
    assert read_session(file).runs[0] == read
    code = (
        "import sys\n"
        "from engine.sessions import read_session\n"
        f"run = read_session({str(file)!r}).runs[0]\n"
        "assert not {'torch', 'numpy', 'transformers'} & set(sys.modules)\n"
        "assert [other.position for other in run.others] == [3, 5]\n"
        "grid = next(each for each in run.readings if each.method == 'grid')\n"
        "assert grid.ids.values.shape == (len(grid.rows), len(grid.positions), 1)\n"
        "assert 'torch' not in sys.modules and 'numpy' in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def set_of(run: Run, method: str, change: Callable[[dict[str, Any]], None], file: Path) -> None:
    """Write a session in which a reading has been changed."""
    write_session(session_of(run), file)
    content = json.loads(file.read_text())
    (reading,) = [each for each in content["runs"][0]["readings"] if each["method"] == method]
    change(reading)
    file.write_text(json.dumps(content))


DAMAGES: list[tuple[str, str, Any]] = [
    *(("grid", "ids", array) for array, _ in REFUSED),
    ("grid", "lse", plain([[1.0]])),
    ("grid", "ids", plain([[1]], "<i4")),
    ("grid", "rows", [0, 1, 1]),
    ("grid", "rows", [99999]),
    ("grid", "positions", [3, 2]),
    ("grid", "positions", None),
    ("grid", "texts", {"x": "y"}),
    ("grid", "sinks", [10**6]),
    ("grid", "approximate", [{"row": 9999, "reason": "?"}]),
    ("grid", "texts", {"1": 3}),
    ("words", "probability", plain([[[1.0]]])),
    ("words", "words", []),
    ("geometry", "boxes", plain([[1.0, 2.0]])),
    ("geometry", "tokens", plain([10**6], "<i4")),
    ("geometry", "tokens", plain([[1]], "<i4")),
    ("geometry", "how", "perhaps"),
]


@pytest.mark.parametrize("method, field, value", DAMAGES)
def test_a_damaged_reading_is_one_line(
    read: Run, tmp_path: Path, method: str, field: str, value: Any
) -> None:
    file = tmp_path / "session.json"
    set_of(read, method, lambda reading: reading.update({field: value}), file)
    with pytest.raises(BadInput, match="damaged session file") as caught:
        read_session(file)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 600


def test_rows_that_do_not_end_with_the_last_are_damage(read: Run, tmp_path: Path) -> None:
    file = tmp_path / "session.json"

    def shorter(reading: dict[str, Any]) -> None:
        reading["rows"] = reading["rows"][:3]
        values = np.zeros((1, 3, len(reading["positions"])), dtype="f4")
        reading["probability"] = plain(values)

    set_of(read, "words", shorter, file)
    with pytest.raises(BadInput, match="its rows end with"):
        read_session(file)


def test_positions_beyond_the_prompt_are_damage(read: Run, tmp_path: Path) -> None:
    file = tmp_path / "session.json"

    def beyond(reading: dict[str, Any]) -> None:
        reading["positions"][-1] = len(read.tokens)

    set_of(read, "grid", beyond, file)
    with pytest.raises(BadInput, match="tokens"):
        read_session(file)


@pytest.mark.parametrize("tokens, words", [([3, 2], "ascend"), ([0, 10**6], "tokens 0 to")])
def test_patches_beyond_the_prompt_are_damage(
    read: Run, tmp_path: Path, tokens: list[int], words: str
) -> None:
    two = np.zeros(2)
    geometry = GeometryReading(
        request=GeometryRequest(),
        how="exact",
        tokens=Array.of(np.array(tokens), "<i4"),
        boxes=Array.of(np.zeros((2, 4)), "<f4"),
        tile=Array.of(two, "<i2"),
        row=Array.of(two, "<i2"),
        column=Array.of(two, "<i2"),
    )
    run = structs.replace(read, readings=(geometry,))
    with pytest.raises(BadInput, match=words):
        write_session(session_of(run), tmp_path / "x.json")


def test_numbers_that_are_none_may_stand_in_arrays(read: Run, tmp_path: Path) -> None:
    (grid,) = [each for each in read.readings if isinstance(each, GridReading)]
    nothing = Array.of(np.full(grid.lse.shape, np.nan, dtype="f4"), "<f4")
    run = structs.replace(
        read, readings=(structs.replace(grid, lse=nothing, entropy=nothing, rms=nothing),)
    )
    write_session(session_of(run), tmp_path / "x.json")
    (again,) = read_session(tmp_path / "x.json").runs[0].readings
    assert isinstance(again, GridReading) and np.isnan(again.lse.values).all()


def test_python_gets_numpy_arrays(model: Loaded) -> None:
    asked = model.ask("Shape of the main object:", image=samples.DEFAULT_PICTURE)
    grid = asked.read("grid")
    for name in ("ids", "logits", "lse", "entropy", "rms"):
        assert isinstance(getattr(grid, name), np.ndarray)
    (stored,) = asked.run.readings
    assert isinstance(stored, GridReading) and isinstance(stored.ids, Array)
    assert len(list(arrays_in(stored))) == 5
    assert np.array_equal(with_numpy(stored).lse, grid.lse)


def test_a_grid_of_llava_and_what_belongs_to_it_is_below_a_megabyte(read: Run) -> None:
    visited = read.others[0]
    run = llava_sized(read, visited.rows[-1], visited.tracked[0])
    assert run_size(run) < 1_000_000, run_size(run)
