"""What the folder of a sweep holds, and what of it is not asked again."""

from __future__ import annotations

from pathlib import Path

from msgspec import structs

from engine.records import ModelCard
from engine.sweeps.records import Failure, ItemPicture, Sweep, SweepData, SweepItem, SweepQuestion
from engine.sweeps.sources.tasks import Task
from engine.sweeps.store import (
    SAME_AS,
    Store,
    count_failures,
    count_items,
    item_id,
    read_failures,
    read_items,
    read_sweep,
    task_key,
)
from tests.sweeps.test_findings import item

SWEEP = Sweep(
    created="2026-11-25T00:00:00.000Z",
    model=ModelCard("m", "r", "M", "float32", "cpu"),
    layers=4,
    question=SweepQuestion(True, None, ""),
    data=SweepData("CLEVR", "d", "0", 1, 1),
    prompts=("?",),
)


def answered(number: int, path: str, truth: str | None = "cube", group: str = "shape") -> SweepItem:
    picture = ItemPicture(path, f"{number:064x}")
    return structs.replace(item(number, [0] * 5, truth, group), picture=picture)


def key(path: str, truth: str | None = "cube", group: str = "shape") -> bytes:
    return task_key(path, Task(f"{group}?", group, truth))


def failed(path: str, error: str, truth: str | None = "cube", group: str = "shape") -> Failure:
    return Failure("", path, f"{group}?", error, group=group, truth=truth)


def test_a_questions_key_tells_its_picture_prompt_group_and_truth() -> None:
    tasks = [
        ("a", Task("p", "g", "t")), ("b", Task("p", "g", "t")), ("a", Task("q", "g", "t")),
        ("a", Task("p", "h", "t")), ("a", Task("p", "g", "u")), ("a", Task("p", "g", None)),
        ("a", Task("p", "t", "g")), ("a", Task("g", "p", "t")), ("a\udcff", Task("p", "g", "t")),
    ]  # fmt: skip
    assert len({task_key(path, task) for path, task in tasks}) == len(tasks)
    assert len({item_id(SWEEP, path, task) for path, task in tasks}) == len(tasks)


def test_an_item_keeps_its_id_in_later_versions() -> None:
    """Or a sweep that is resumed would ask, and store, every question again."""
    task = Task("Shape:", "shape", "cube")
    assert item_id(SWEEP, "ab" * 32, task) == "558439f8adccc43f"
    question = SWEEP.question
    others = [
        structs.replace(SWEEP, model=structs.replace(SWEEP.model, **{name: "other"}))
        for name in ("name", "revision", "class_name", "dtype")
    ] + [
        structs.replace(SWEEP, question=changed)
        for changed in (
            structs.replace(question, chat=False),
            structs.replace(question, system="other"),
            structs.replace(question, prefix="other"),
        )
    ]
    assert len({item_id(sweep, "ab" * 32, task) for sweep in (SWEEP, *others)}) == 8


def test_what_was_answered_or_failed_is_not_asked_again(tmp_path: Path) -> None:
    stores = [Store(tmp_path, shard, 2) for shard in (0, 1)]
    for store in stores:
        store.belongs_to(SWEEP)
    assert stores[0].done() == set()
    assert stores[0].add(answered(1, "a.png"))
    assert not stores[0].add(answered(1, "copy of a.png"))  # the same question, by its id
    assert stores[1].add(answered(2, "b.png", None, "colour"))
    stores[1].fail(failed("c.png", "cannot be opened", "red", "colour"))
    stores[0].fail(failed("copy of a.png", f"{SAME_AS}{1:016x}"))
    for store in stores:
        store.close()

    store = Store(tmp_path, 0, 2)
    assert store.belongs_to(structs.replace(SWEEP, created="later")) == SWEEP
    assert store.done() == {
        key("a.png"), key("b.png", None, "colour"), key("c.png", "red", "colour"),
        key("copy of a.png"),
    }  # fmt: skip
    assert store.pictures == {"a.png": f"{1:064x}", "b.png": f"{2:064x}"}
    assert not store.add(answered(2, "b.png", None, "colour"))  # another shard has it
    store.close()
    assert [each.item for each in read_items(tmp_path)] == [f"{1:016x}", f"{2:016x}"]
    assert count_items(tmp_path) == (2, 0) and count_failures(tmp_path) == (1, 1)


def test_an_item_that_two_shards_hold_is_read_once(tmp_path: Path) -> None:
    for shard in (0, 1):
        store = Store(tmp_path, shard, 2)
        store.belongs_to(SWEEP)
        assert store.add(answered(7, "a.png")) and store.add(answered(8 + shard, "b.png"))
        store.close()
    assert [int(each.item, 16) for each in read_items(tmp_path)] == [7, 8, 9]
    assert count_items(tmp_path) == (4, 0)


def test_only_the_failures_that_are_asked_again_are_forgotten(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.belongs_to(SWEEP)
    store.forget_failures({key("a")})  # there are none yet
    same = failed("d", f"{SAME_AS}{1:016x}")
    failures = [failed("a", "x"), failed("b", "y"), failed("a", "z", "red"), same]
    for each in failures:
        store.fail(each)
    store.forget_failures({key("a"), key("d")})
    assert read_failures(tmp_path) == failures[1:]
    assert count_failures(tmp_path) == (2, 1)
    assert store.done() == {key("b"), key("a", "red"), key("d")}
    store.close()


def test_a_torn_line_is_dropped_and_whole_ones_stay(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.belongs_to(SWEEP)
    store.add(answered(1, "a.png"))
    store.fail(failed("b", "y"))
    store.close()
    whole = {file: file.read_bytes() for file in tmp_path.glob("*.jsonl")}
    assert len(whole) == 2
    for torn in (b"{", b'{"item": "' + b"x" * 200_000):
        for file, content in whole.items():
            file.write_bytes(content + torn)
        assert len(list(read_items(tmp_path))) == count_items(tmp_path)[0] == 1
        store = Store(tmp_path)
        store.belongs_to(SWEEP)
        assert store.done() == {key("a.png"), key("b")}
        assert {file: file.read_bytes() for file in whole} == whole
        store.close()


def test_a_first_line_that_is_torn_leaves_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.belongs_to(SWEEP)
    store.add(answered(1, "a.png"))
    store.close()
    (file,) = tmp_path.glob("items-*.jsonl")
    file.write_bytes(file.read_bytes()[:-1])
    store = Store(tmp_path)
    assert store.done() == set() and file.stat().st_size == 0
    assert store.add(answered(1, "a.png"))
    store.close()


def test_notes_are_added_to_what_is_known(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.belongs_to(SWEEP)
    store.note({"a": "1", "b": "2"})
    store.note({"b": "3", "c": "4"})
    assert read_sweep(tmp_path) == structs.replace(SWEEP, notes={"a": "1", "b": "3", "c": "4"})
    before = (tmp_path / "sweep.json").stat().st_ino
    store.note({"b": "3"})  # nothing new
    assert (tmp_path / "sweep.json").stat().st_ino == before
    store.close()


def test_a_sweep_that_has_not_begun_leaves_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path / "out")
    store.close()
    store.close()
    assert list(tmp_path.iterdir()) == []
