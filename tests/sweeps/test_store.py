"""The folder of a sweep: its locks, what is left behind, names and models spelled otherwise."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET, structs

from engine.errors import BadInput
from engine.models.fingerprints import files_digest
from engine.records import MOST_LAYERS, Counterfactual
from engine.sweeps.names import exact_name, quoted, unquoted
from engine.sweeps.records import MOST_AGAINST, MOST_TEXT, Failure, Sweep
from engine.sweeps.reopening import open_item
from engine.sweeps.sources.tasks import NO_GROUP, PictureTasks, Source, Task
from engine.sweeps.store import (
    LONGEST_LINE,
    OFFLOADED_UNKNOWN,
    SWEEP,
    Store,
    lines_of,
    read_failures,
    read_sweep,
    refuse_long_texts,
    task_key,
)
from engine.system.files import storable
from tests.sweeps.test_damaged_folders import FAILED, ITEMS, WHOLE, fill
from tests.sweeps.test_findings import results

SWEPT: Sweep = results(*WHOLE).sweep


def begin(folder: Path, sweep: Sweep = SWEPT) -> Sweep:
    """Begin a sweep, or take it up again, and end it at once."""
    store = Store(folder)
    try:
        return store.belongs_to(sweep)
    finally:
        store.close()


def test_more_counterfactuals_than_a_sweep_can_have(tmp_path: Path) -> None:
    steps = [Counterfactual("noise", {"step": step}, seed=0) for step in range(MOST_AGAINST + 1)]
    begin(tmp_path, structs.replace(SWEPT, against=tuple(steps[:60])))
    with pytest.raises(BadInput, match="results of 101 counterfactuals; the limit is 100"):
        begin(tmp_path, structs.replace(SWEPT, against=tuple(steps[50:])))
    assert read_sweep(tmp_path).against == tuple(steps[:60])
    begin(tmp_path, structs.replace(SWEPT, against=tuple(steps[50:-1])))
    assert read_sweep(tmp_path).against == tuple(steps[:-1])


# Locks


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL])
def test_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def refuse(handle: int, operation: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    store = Store(tmp_path / "out")
    assert not store.is_locked
    store.belongs_to(SWEPT)
    assert store.add(WHOLE[0])
    store.fail(FAILED)
    assert store.done()
    store.forget_failures(store.done())
    store.close()
    assert read_failures(tmp_path / "out") == []
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == [
        "failures.jsonl", ITEMS, SWEEP,
    ]  # fmt: skip


def test_a_lock_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(handle: int, operation: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(BadInput, match=r"cannot be written to \(Input/output error"):
        Store(tmp_path / "a" / "out")
    assert [*tmp_path.iterdir()] == []


def test_a_sweep_that_has_not_begun_leaves_the_users_own_folder(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    Store(tmp_path / "mine").close()
    Store(tmp_path / "made" / "below").close()
    assert [file.name for file in tmp_path.iterdir()] == ["mine"]
    assert [*(tmp_path / "mine").iterdir()] == []


def test_a_lock_is_taken_on_the_file_that_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who had it may remove the file between our opening and our locking it."""
    own, file = fcntl.flock, tmp_path / ITEMS
    removed: list[int] = []

    def late(handle: int, operation: int) -> None:
        if not removed and operation & fcntl.LOCK_EX:
            removed.append(handle)
            file.unlink()
        own(handle, operation)

    monkeypatch.setattr(fcntl, "flock", late)
    store = Store(tmp_path)
    store.belongs_to(SWEPT)
    store.add(WHOLE[0])
    store.close()
    assert removed and len(file.read_bytes().splitlines()) == 1


# What is left behind


def test_what_a_killed_first_write_has_left_is_taken_away(tmp_path: Path) -> None:
    out = tmp_path / "out"
    child = os.fork()
    if not child:
        os.fsync = lambda handle: os.kill(os.getpid(), signal.SIGKILL)  # type: ignore[assignment]
        Store(out).belongs_to(SWEPT)
    _, status = os.waitpid(child, 0)
    assert os.WTERMSIG(status) == signal.SIGKILL
    left = {file.suffix for file in out.iterdir()}
    assert {".lock", ".tmp"} <= left
    (out / ".other.tmp").touch()
    begin(out)
    assert sorted(file.name for file in out.iterdir()) == [".other.tmp", SWEEP]
    assert read_sweep(out) == SWEPT


@pytest.mark.parametrize("name", [ITEMS, SWEEP, "failures.jsonl", ".sweep.json.lock"])
def test_pipes_and_devices_are_named(tmp_path: Path, name: str) -> None:
    folder = fill(tmp_path / "out")
    (folder / name).unlink(missing_ok=True)
    os.mkfifo(folder / name)

    def taken_up() -> None:
        store = Store(folder)
        try:
            store.belongs_to(SWEPT)
            store.done()
        finally:
            store.close()

    with pytest.raises(BadInput, match=f"{name}: not a regular file"):
        taken_up()


def test_a_line_that_never_ends_is_not_torn(tmp_path: Path) -> None:
    folder = fill(tmp_path / "out")
    os.truncate(folder / ITEMS, 2**40)
    with pytest.raises(BadInput, match="line 5: longer than"):
        list(lines_of(folder / ITEMS))
    store = Store(folder)
    with pytest.raises(BadInput, match="not a sweep's"):
        store.done()
    store.close()
    assert (folder / ITEMS).stat().st_size == 2**40 > LONGEST_LINE


# What is written can be read


def test_what_could_not_be_read_is_not_written(tmp_path: Path) -> None:
    deep = structs.replace(SWEPT, layers=MOST_LAYERS + 1)
    with pytest.raises(BadInput, match="could not be read"):
        begin(tmp_path / "out", deep)
    assert not (tmp_path / "out").exists()
    task = Task("p" * (MOST_TEXT + 1))
    source = Source("csv", "q.csv", [PictureTasks("a.png", None, (task,))], "", 1, 1)
    with pytest.raises(BadInput, match="1,048,577 characters"):
        refuse_long_texts(source)


# One model, however it is spelled


def named(name: str, weights: str = "w", offloaded: str = "", revision: str | None = None) -> Sweep:
    card = structs.replace(SWEPT.model, name=name, revision=revision)
    return structs.replace(SWEPT, model=card, weights=weights, offloaded=offloaded)


@pytest.mark.parametrize("name", ["m1", "m1/", "./m1", "/elsewhere/m1", "org/m1"])
def test_the_same_weights_are_the_same_model(tmp_path: Path, name: str) -> None:
    first = begin(tmp_path, named("m1"))
    assert begin(tmp_path, named(name, revision="abc")) == first
    with pytest.raises(BadInput, match="another set of weights" if name == "m1" else "another mod"):
        begin(tmp_path, named(name, weights="v"))


@pytest.mark.parametrize(
    ("known", "now", "refused"),
    [
        (named("m", offloaded="f"), named("n", offloaded="f"), ""),
        (named("m", offloaded="f"), named("n", offloaded="g"), "another model"),
        (named("m", offloaded="f"), named("m", offloaded="g"), "another set of weight files"),
        # Nothing is known of these but their names and shapes.
        (named("m", offloaded=OFFLOADED_UNKNOWN), named("m", offloaded=OFFLOADED_UNKNOWN), ""),
        (named("m", offloaded=OFFLOADED_UNKNOWN), named("n", offloaded=OFFLOADED_UNKNOWN), "model"),
        # A sweep of an older version, which did not look at the files.
        (named("m"), named("m", offloaded="f"), ""),
        (named("m"), named("n", offloaded="f"), "another model"),
        (named("m", weights=""), named("n", weights=""), "another model"),
    ],
)
def test_offloaded_weights(tmp_path: Path, known: Sweep, now: Sweep, refused: str) -> None:
    begin(tmp_path, known)
    if not refused:
        begin(tmp_path, now)
        return
    with pytest.raises(BadInput, match=refused):
        begin(tmp_path, now)


def safetensors(values: Iterator[float] | list[float], **other: object) -> bytes:
    import torch
    from safetensors.torch import save

    return save({"a.weight": torch.tensor([*values]), "b": torch.zeros(3)}, **other)  # type: ignore[arg-type]


def test_files_are_told_apart_by_their_numbers(tmp_path: Path) -> None:
    digests = set()
    for number, content in enumerate(
        (
            safetensors([1.0, 2.0, 3.0]),
            safetensors([1.0, 2.0, 4.0]),  # as two fine-tuned ones: header and size are the same
            safetensors([1.0, 2.0, 3.0, 4.0]),
            safetensors([1.0, 2.0, 3.0], metadata={"format": "pt"}),
            b"not a header",
            b"\xff" * 40,
            b"",
        )
    ):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "model.safetensors").write_bytes(content)
        os.mkfifo(folder / "pipe.safetensors")
        digests.add(files_digest(folder))
        moved = folder.rename(tmp_path / f"moved{number}")
        assert files_digest(moved) in digests
    assert len(digests) == 7
    assert files_digest(tmp_path) == ""


# Data that has moved


@pytest.mark.parametrize(
    ("kind", "path", "folder", "name", "shown"),
    [
        ("folder", "/gone/data", "", "sub/a.png", "/gone/data/sub/a.png"),
        ("CLEVR", "/gone/data", "", "images/a.png", "/gone/data/images/a.png"),
        ("csv", "/gone/q.csv", "", "a.png", "/gone/a.png"),
        ("csv", "/gone/q.csv", "", "/abs/a.png", "/abs/a.png"),
        ("csv", "/gone/q.csv", "", "~/a.png", str(Path.home() / "a.png")),
        ("folder", "/gone/data", "", "~/a.png", "/gone/data/~/a.png"),
        ("tsv", "/gone/q.tsv", "/gone", "a.png", "/gone/a.png"),
        ("arrow", "/gone/q.parquet", "/gone", "q.parquet#1", "/gone/q.parquet#1"),
    ],
)
def test_the_picture_of_an_item_is_in_the_datas_folder(
    tmp_path: Path, kind: str, path: str, folder: str, name: str, shown: str
) -> None:
    out = fill(tmp_path / "out")
    data = structs.replace(SWEPT.data, kind=kind, path=path, folder=folder)
    (out / SWEEP).write_bytes(msgspec.json.encode(structs.replace(SWEPT, data=data)))
    assert WHOLE[0].picture is not None
    item = structs.replace(WHOLE[0], picture=structs.replace(WHOLE[0].picture, path=name))
    (out / ITEMS).write_bytes(msgspec.json.encode(item) + b"\n")
    picture = open_item(out, item.item).question.picture
    assert picture is not None and picture.path == shown


def test_the_place_of_the_data_is_that_of_the_last_sweep(tmp_path: Path) -> None:
    def at(place: str) -> Sweep:
        return structs.replace(SWEPT, data=structs.replace(SWEPT.data, path=place, folder=place))

    begin(tmp_path, at("/before"))
    assert begin(tmp_path, at("/after")).data.folder == "/after"
    assert read_sweep(tmp_path) == at("/after")


# Names that are not UTF-8


@given(st.lists(st.binary(min_size=1, max_size=6), min_size=1, max_size=3))
def test_names_keep_their_bytes(parts: list[bytes]) -> None:
    cleaned = [part.replace(b"/", b"_").replace(b"\0", b"_") for part in parts]
    cleaned = [b"x" if part in (b".", b"..") else part for part in cleaned]
    name = os.fsdecode(b"/".join(cleaned))
    picture = PictureTasks(storable(name), Path("/data") / name, ())
    assert exact_name(picture) == name
    stored = msgspec.json.encode(Failure("", storable(name), "", "", quoted=quoted(name)))
    read = msgspec.json.decode(stored, type=Failure)
    assert unquoted(read.picture, read.quoted) == name
    assert (read.quoted is UNSET) == (storable(name) == name)


def test_keys_of_utf8_names_are_those_of_older_versions() -> None:
    key = task_key("images/猫.png", Task("Color?", NO_GROUP, "red"))
    assert key.hex() == "29c9c7faa7477db903342cfade0e5fe0"
    alike = {task_key(os.fsdecode(name), Task("?")) for name in (b"\xff.png", b"\xfe.png")}
    assert len(alike | {task_key("\ufffd.png", Task("?"))}) == 3
