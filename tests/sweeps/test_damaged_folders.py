"""A sweep's folder that anybody may have written: a right result, or one line; bounded always."""

from __future__ import annotations

import json
import os
import random
import resource
import shutil
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.errors import LenscopeError
from engine.records import Session
from engine.sessions import read_session, write_session
from engine.sweeps.findings import find
from engine.sweeps.records import Failure
from engine.sweeps.reopening import open_item
from engine.sweeps.report import sections
from engine.sweeps.results import read_results
from engine.sweeps.store import FAILURES, SWEEP, Store, count_failures, count_items, read_sweep
from tests.sweeps.test_findings import item, results
from tui.views.sweep.sweep_view import read_shown

ITEMS = "items-00000-of-00001.jsonl"
FILES = (SWEEP, ITEMS, FAILURES)
WHOLE = (
    item(1, [7, 0, 0, 0, 0], "cube"),
    item(2, [7, 7, 0, 0, 1], "cube", bare=[0.9] * 4),
    item(3, [7, 7, 1, 1, 1], "sphere", bare=[0.9] * 4),
    item(4, [7, 6, 6, 6, 6], "red", "colour"),
)
FAILED = Failure("", "a.png", "Shape?", "no such picture", "shape", "cube")


def fill(folder: Path) -> Path:
    """A whole sweep's folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / SWEEP).write_bytes(msgspec.json.encode(results(*WHOLE).sweep))
    (folder / ITEMS).write_bytes(b"".join(msgspec.json.encode(each) + b"\n" for each in WHOLE))
    (folder / FAILURES).write_bytes(msgspec.json.encode(FAILED) + b"\n")
    return folder


def one_line_or_right(read: Callable[[], object]) -> object:
    """What it gives; None where it is refused in one line."""
    try:
        return read()
    except LenscopeError as error:
        text = str(error)
        assert text and len(text) < 2000 and len(text.splitlines()) == 1, text
        return None


def shown(folder: Path) -> str:
    """All that a report says."""
    found = find(read_results(folder), samples=10)
    return " ".join(f"{each.title} {each.words} {each.tables}" for each in sections(found))


def read_in_every_way(folder: Path) -> None:
    """Read a folder as a report, the explorer, an item and a sweep that is taken up again do."""
    one_line_or_right(lambda: shown(folder))
    one_line_or_right(lambda: read_shown(folder))
    one_line_or_right(lambda: (count_items(folder), count_failures(folder)))
    for each in WHOLE[:2]:
        run: Any = one_line_or_right(lambda each=each: open_item(folder, each.item))  # type: ignore[misc]
        if run is not None:  # the explorer shows it as it shows a session's
            file = folder / "run.json"
            write_session(Session(created="x", saved="x", runs=(run,)), file)
            assert len(read_session(file).runs[0].rows) == len(run.rows)
            file.unlink()

    def taken_up() -> None:
        store = Store(folder)
        try:
            store.belongs_to(read_sweep(folder))
            store.done()
            store.forget_failures(set())
        finally:
            store.close()

    one_line_or_right(taken_up)


@contextmanager
def a_folder() -> Iterator[Path]:
    place = Path(tempfile.mkdtemp())
    try:
        yield fill(place / "out")
    finally:
        shutil.rmtree(place, ignore_errors=True)


VALUES: tuple[str, ...] = (
    "null", "true", "-1", "0", "5", "1024", "1025", "10000000", str(2**31), str(2**53 + 1),
    str(2**63), str(2**64), str(2**200), "1" + "0" * 5000, "0.5", "-0.5", "1e38", "1e300", "1e999",
    '""', '"x"', '"cube"', '"\\u0000"', '"\\ud800"', '"\\u202e\\u001b[31m"', '"=1+1"',
    '"0000000000000001"', "[]", "{}", "[[]]", "[null]", "[" * 2000, '{"a":' * 2000,
    json.dumps("y" * 5000), json.dumps("z" * (2**20 + 1)), '"%FF.png"', '"%"', '"~nobody/x.png"',
)  # fmt: skip


def places_in(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place in a JSON value."""
    yield path
    if isinstance(value, dict | list):
        inner = value.items() if isinstance(value, dict) else enumerate(value)
        for key, each in inner:
            yield from places_in(each, (*path, key))


MARK = "\ue000mark\ue000"


def with_value(line: bytes, choice: random.Random) -> bytes:
    """A JSON text in which one value is another, is gone, or stands there many times."""
    value = json.loads(line)
    path = choice.choice([*places_in(value)])
    if not path:
        return choice.choice(VALUES).encode()
    holder = value
    for key in path[:-1]:
        holder = holder[key]
    what = choice.randrange(8)
    if what == 0:
        del holder[path[-1]]
    elif what == 1 and isinstance(holder, list):
        holder.extend([holder[path[-1]]] * choice.choice((1, 1100)))
    else:
        holder[path[-1]] = MARK
    text = json.dumps(value, ensure_ascii=False)
    return text.replace(json.dumps(MARK, ensure_ascii=False), choice.choice(VALUES)).encode()


def with_bytes(data: bytes, choice: random.Random) -> bytes:
    """A file in which some bytes are others, missing, or too many."""
    start = choice.randrange(len(data) + 1)
    end = min(len(data), start + choice.choice((0, 1, 8, 200)))
    new = choice.choice((b"", b"\0", b"\n", b'"', b"\xff\xfe", b"9" * 30, b"\0" * 5000))
    return data[:start] + new + data[end:]


def mutate(folder: Path, choice: random.Random) -> None:
    """Change one file in one of very many ways."""
    file = folder / choice.choice(FILES)
    if not file.is_file():
        return
    data = file.read_bytes()
    what = choice.randrange(10)
    if what < 6:
        lines = data.splitlines(keepends=True)
        number = choice.randrange(len(lines))
        lines[number] = with_value(lines[number], choice) + b"\n"
        data = b"".join(lines)
    elif what < 9:
        data = with_bytes(data, choice)
    else:
        replace(file, choice.choice((*KINDS,)))
        return
    file.write_bytes(data)


def replace(file: Path, kind: str) -> None:
    """Put something that is no regular file in a file's place."""
    file.unlink()
    match kind:
        case "pipe":
            os.mkfifo(file)
        case "zeros":
            file.symlink_to("/dev/zero")
        case "folder":
            file.mkdir()
        case "loop":
            file.symlink_to(file)
        case "socket":
            with socket.socket(socket.AF_UNIX) as made:
                made.bind(str(file))
        case "nowhere":
            file.symlink_to("nowhere")


KINDS = ("pipe", "zeros", "folder", "loop", "socket", "nowhere", "gone")


def check(seed: int) -> None:
    choice = random.Random(seed)
    with a_folder() as folder:
        for _ in range(choice.choice((1, 1, 1, 3))):
            try:
                mutate(folder, choice)
            except (OSError, ValueError, IndexError, RecursionError):
                break  # a second change of what is no file, or no JSON, any more
        began = time.process_time()
        read_in_every_way(folder)
        assert time.process_time() - began < 60


calm = settings(deadline=None, suppress_health_check=[*HealthCheck])


@settings(calm, max_examples=20)
@given(st.integers(0, 2**64))
def test_a_changed_folder(seed: int) -> None:
    check(seed)


@pytest.mark.slow
@settings(calm, max_examples=4000)
@given(st.integers(0, 2**64))
def test_thousands_of_changed_folders(seed: int) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # kilobytes, of this process so far
    check(seed)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss <= max(before, 3 * 2**20)
