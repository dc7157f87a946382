"""Sweeps whose batches go on from what the questions about a picture have in common."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from msgspec import UNSET, structs
from PIL import Image

from engine.lens import batch_reuse
from engine.lens.batch_reuse import BatchReuse
from engine.lens.batched import BatchNumbers
from engine.lens.lens import Lens
from engine.models.loading import LoadedModel
from engine.passes.prefix_cache import Beginning
from engine.records import Made
from engine.sweeps import going_on
from engine.sweeps.beginnings import Beginnings
from engine.sweeps.findings import find
from engine.sweeps.going_on import BatchesGoOn, GoesOn
from engine.sweeps.grouping import Grouping
from engine.sweeps.items import Item
from engine.sweeps.pixels import DevicePixels
from engine.sweeps.preparing import PreparedPicture, PreparedTask
from engine.sweeps.records import SweepItem
from engine.sweeps.report import sections
from engine.sweeps.results import read_results
from engine.sweeps.sources.opening import open_source
from engine.sweeps.sources.tasks import Prompt, Task
from samples.making.clevr import write_clevr
from tests.engine.test_batch_reuse import spoilt
from tests.engine.test_reuse import asked_about
from tests.families import FAMILIES
from tests.sweeps.conftest import Sweeper
from tests.sweeps.test_running import Opened, alike

WENT_ON = "prompts of a picture go on from the keys and values"


@pytest.fixture
def few(tmp_path: Path) -> Path:
    """Two scenes of the test's own."""
    write_clevr(tmp_path / "data", 2)
    return tmp_path / "data"


def made(item: SweepItem) -> Made:
    return Made() if item.made is UNSET else item.made


@pytest.mark.parametrize("size", [2, *(pytest.param(n, marks=pytest.mark.slow) for n in (1, 12))])
def test_items_are_those_of_whole_passes(
    bundled: LoadedModel, few: Path, sweep: Sweeper, size: int
) -> None:
    whole = sweep(bundled, few, "whole", batch_size=size, sharing=False)
    went_on = sweep(bundled, few, "went on", batch_size=size)
    alike(went_on.items, whole.items)
    assert {made(item) for item in whole.items.values()} == {Made()}
    (how,) = {made(item) for item in went_on.items.values()}
    assert (how.vision, how.reason) == ("reused", None)
    assert how.prefix > 64  # the tokens of the picture, at least
    assert went_on.progress.notes["beginnings"].startswith(WENT_ON)
    results = read_results(went_on.folder)
    assert (results.how_made.went_on, results.how_made.lines) == (8, 8)
    said = f"8 of 8 lines went on from the keys and values of {how.prefix} tokens"
    assert said in " ".join(sections(find(results, samples=10))[0].notes)


@pytest.mark.slow
def test_a_sweep_that_is_taken_up_in_the_middle_of_a_picture(
    bundled: LoadedModel, few: Path, sweep: Sweeper
) -> None:
    """What is left of its questions has a longer beginning in common, or none."""
    whole = sweep(bundled, few, "whole", batch_size=3)
    cut = sweep(bundled, few, "cut", batch_size=3)
    (file,) = cut.folder.glob("items-*.jsonl")
    lines = file.read_bytes().splitlines(True)
    file.write_bytes(b"".join(lines[:5]) + lines[5][:60])
    again = sweep(bundled, few, "cut", batch_size=3)
    assert again.progress.done == 3
    alike(again.items, whole.items)
    assert list(again.items)[:5] == list(cut.items)[:5]


def test_a_beginning_that_changes_a_row_is_not_gone_on_from(
    bundled: LoadedModel, few: Path, sweep: Sweeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = sweep(bundled, few, "right", batch_size=1, sharing=False)
    monkeypatch.setattr(Beginning, "of_items", spoilt)
    own, divided = Beginnings.divided, []

    def dividing(self: Beginnings, pictures: Any, *rest: Any) -> Any:
        divided.append(len(pictures))
        return own(self, pictures, *rest)

    monkeypatch.setattr(Beginnings, "divided", dividing)
    swept = sweep(bundled, few, "wrong", batch_size=1)
    alike(swept.items, right.items)
    assert divided == [1]  # of the second picture it is known before that nothing goes on
    assert swept.progress.notes["beginnings"].startswith("off: rows differ by")
    assert all(str(made(item).reason).startswith("rows differ") for item in swept.items.values())
    assert {made(item).prefix for item in swept.items.values()} == {0}
    # The vision pass is shared all the same.
    assert {made(item).vision for item in swept.items.values()} == {"computed", "reused"}
    assert swept.progress.notes["sharing"] == "prompts of a picture share its vision pass"
    words = read_results(swept.folder).how_made.words()
    assert "8 did not go on: rows differ by" in words


@pytest.mark.slow
def test_one_that_becomes_wrong_later_is_found(
    bundled: LoadedModel, few: Path, sweep: Sweeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch_reuse, "PROVED_AGAIN", 2)
    own, calls = Beginning.of_items, 0

    def later(self: Beginning, items: Sequence[int]) -> Any:
        nonlocal calls
        calls += 1
        return own(self, items) if calls < 4 else spoilt(self, items, own)

    monkeypatch.setattr(Beginning, "of_items", later)
    swept = sweep(bundled, few, batch_size=1)
    note = swept.progress.notes["beginnings"]
    assert note.startswith(WENT_ON) and "; some do not: rows differ by" in note
    assert any(made(item).reason for item in swept.items.values())


@pytest.mark.slow
def test_memory_that_runs_out_drops_what_was_kept(
    bundled: LoadedModel, few: Path, sweep: Sweeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = Lens.read_batch
    failed: list[int] = []

    def read_batch(self: Lens, inputs: Any, truths: Any, *rest: Any) -> BatchNumbers:
        if rest[-1] is not None and len(truths) > 2:
            failed.append(len(truths))
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return own(self, inputs, truths, *rest)

    right = sweep(bundled, few, "right", batch_size=3, sharing=False)
    monkeypatch.setattr(Lens, "read_batch", read_batch)
    swept = sweep(bundled, few, "small", batch_size=4)
    assert (swept.progress.done, swept.progress.failed) == (8, 0)
    assert failed and swept.progress.batch_size <= 2
    alike(swept.items, right.items)


@pytest.mark.slow
def test_beginnings_take_no_more_memory_than_there_is(
    bundled: LoadedModel, few: Path, sweep: Sweeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What they take is measured on the first one."""
    own = BatchReuse.begin
    sizes: list[tuple[int, int]] = []

    def begin(self: BatchReuse, inputs: Any, count: int) -> Beginning | str:
        found = own(self, inputs, count)
        assert isinstance(found, Beginning)
        items = len(inputs["input_ids"])
        sizes.append((items, found.nbytes // items))
        return found

    monkeypatch.setattr(BatchReuse, "begin", begin)
    sweep(bundled, few, "much", batch_size=3, limit=1)
    each = sizes[0][1]
    sizes.clear()
    # Room for one beginning and its copy, of the four parts of the memory.
    monkeypatch.setattr(going_on, "free_memory", lambda device: int(4 * 2 * 1.5 * each))
    write_clevr(few.parent / "more", 4)
    swept = sweep(bundled, few.parent / "more", "little", batch_size=2)
    assert [items for items, _ in sizes] == [1] * 4
    assert swept.progress.done == 16
    monkeypatch.setattr(going_on, "free_memory", lambda device: 0)
    sizes.clear()
    none = sweep(bundled, few.parent / "more", "none", batch_size=2)
    assert [items for items, _ in sizes] == [1]
    alike(none.items, swept.items)


@pytest.mark.slow
def test_pictures_of_all_sizes(opened: Opened, tmp_path: Path, sweep: Sweeper) -> None:
    """Prompts of all lengths, and as many tokens as a picture has patches."""
    for index, size in enumerate([(40, 24), (24, 40), (40, 24), (60, 60), (24, 24)]):
        Image.effect_noise(size, 90).convert("RGB").save(tmp_path / f"{index}.png")
    prompts = [Prompt("A?", "a"), Prompt("What is it, then?", "b"), Prompt("Where?", "c")]
    source = open_source(tmp_path, prompts)
    for name in ("llava", "qwen2_vl"):
        loaded = opened(name)
        alone = sweep(loaded, source, f"{name} alone", batch_size=1, sharing=False)
        for count in (1, 3, 6):
            together = sweep(loaded, source, f"{name} {count}", batch_size=count)
            alike(alone.items, together.items)
            assert all(made(item).prefix for item in together.items.values())


@pytest.mark.slow
def test_half_precision_one_at_a_time_is_left_whole(
    bundled: LoadedModel, few: Path, sweep: Sweeper
) -> None:
    half = dataclasses.replace(bundled, card=structs.replace(bundled.card, dtype="bfloat16"))
    swept = sweep(half, few, batch_size=1, limit=1)
    assert {made(item).prefix for item in swept.items.values()} == {0}


# What a batch goes on from


class Going:
    """A tiny model whose batches go on from beginnings of `count` tokens; the texts of two pictures
    of the same pixels differ after the picture."""

    def __init__(self) -> None:
        tiny = FAMILIES["llava"]()
        end = tiny.inputs["input_ids"].shape[1] - 2
        self.count = end + 1
        self.lens = Lens(tiny.model)
        self.notes: dict[str, str] = {}
        self.pixels = DevicePixels(self.lens)
        self.go_on = BatchesGoOn(self.lens, self.pixels, self.notes)
        self.pictures = [
            PreparedPicture(
                path,
                "the same",
                tuple(
                    PreparedTask(Task("?"), asked_about(tiny.inputs, [first, *tail], end))
                    for tail in ([8, 5], [10, 11], [12, 9])
                ),
                (),
            )
            for path, first in (("a.png", 7), ("b.png", 13))
        ]

    def items(self, *places: tuple[int, int]) -> list[Item]:
        """Questions by their picture's and their own place."""
        return [Item(self.pictures[one], self.pictures[one].tasks[two]) for one, two in places]

    def check(self, items: Sequence[Item]) -> GoesOn:
        """A batch goes on, and its rows are those of each item alone."""
        found = self.go_on.of(items, self.count)
        assert isinstance(found, GoesOn)
        read = self.lens.read_batch(
            found.inputs, [()] * len(items), 5, False, going_on=found.going_on
        ).items()
        for item, logits in zip(items, read.rows.top_logits, strict=True):
            alone = self.lens.logits(item.inputs)[:, 0, 0]
            torch.testing.assert_close(logits, alone.topk(5).values, atol=1e-4, rtol=1e-4)
        return found


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of items of each pass over beginnings."""
    own, found = BatchReuse.begin, []

    def begin(self: BatchReuse, inputs: Any, count: int) -> Beginning | str:
        found.append(len(inputs["input_ids"]))
        return own(self, inputs, count)

    monkeypatch.setattr(BatchReuse, "begin", begin)
    return found


def test_one_picture_under_two_names_has_two_beginnings(begun: list[int]) -> None:
    """Their questions differ within what each has in common."""
    going = Going()
    going.check(going.items((0, 0), (0, 1)))  # proves batches of this kind
    going.check(going.items((1, 0), (1, 1)))
    going.check(going.items((0, 0), (0, 1), (1, 0), (1, 1)))
    assert begun == [1, 1, 2]


def test_a_refusal_is_found_again(begun: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """No more beginnings are read, none is kept, and nothing is divided for them."""
    going = Going()
    batches = [going.items((place, 0), (place, 1)) for place in (0, 1)]
    assert going.go_on.refusal(batches[0]) is None
    monkeypatch.setattr(Beginning, "of_items", spoilt)
    refused = going.go_on.of(batches[0], going.count)
    assert isinstance(refused, str) and refused.startswith("rows differ by")
    assert going.go_on._kept is None
    assert begun == [1]
    for batch in batches:
        assert going.go_on.of(batch, going.count) == refused
        assert going.go_on.refusal(batch) == refused
    assert begun == [1]
    assert going.notes["beginnings"] == f"off: {refused}"


def test_the_note_says_that_some_do_not_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    going = Going()
    going.check(going.items((0, 0)))
    told = going.notes["beginnings"]
    assert told.startswith(WENT_ON) and "in the batches that were proved" in told
    monkeypatch.setattr(Beginning, "of_items", spoilt)
    refused = going.go_on.of(going.items((0, 0), (0, 1)), going.count)
    assert going.notes["beginnings"] == f"{told}; some do not: {refused}"


def test_what_a_beginning_takes_is_measured_on_one(
    begun: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    going = Going()
    (item,) = going.items((0, 0))
    most = going.go_on.most(item, going.count)
    kept = going.go_on._kept
    assert kept is not None and most is not None and most > 1
    monkeypatch.setattr(
        going_on, "free_memory", lambda device: int(4 * 2 * 3.5 * kept.beginning.nbytes)
    )
    assert going.go_on.most(item, going.count) == 3
    going.check([item])  # goes on from what was measured
    assert begun == [1]

    def full(*asked: Any) -> Beginning:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(BatchReuse, "begin", full)
    assert Going().go_on.most(item, going.count) == 0


def fails_once_it_goes_on(monkeypatch: pytest.MonkeyPatch, error: Exception) -> list[int]:
    """Passes raise this that go on from a beginning, but for those of proofs. Returns the number of
    items of each."""
    own, failed = Lens.read_batch, []

    def read_batch(self: Lens, inputs: Any, truths: Any, *rest: Any) -> BatchNumbers:
        if len(rest) > 4:
            failed.append(len(truths))
            raise error
        return own(self, inputs, truths, *rest)

    monkeypatch.setattr(Lens, "read_batch", read_batch)
    return failed


def test_a_pass_that_fails_where_it_goes_on_is_read_as_a_whole(
    bundled: LoadedModel, few: Path, sweep: Sweeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once: no batch like it goes on after that."""
    failed = fails_once_it_goes_on(monkeypatch, RuntimeError("a kernel has failed"))
    swept = sweep(bundled, few, batch_size=4, limit=1)
    assert (swept.progress.done, swept.progress.failed) == (4, 0)
    assert failed == [4]
    reason = "RuntimeError: a kernel has failed"
    assert {made(item).reason for item in swept.items.values()} == {reason}
    assert swept.progress.notes["beginnings"].endswith(f"; some do not: {reason}")


def test_an_item_alone_is_read_as_a_whole_where_memory_runs_out(
    bundled: LoadedModel, few: Path, sweep: Sweeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed = fails_once_it_goes_on(monkeypatch, torch.OutOfMemoryError("CUDA out of memory."))
    swept = sweep(bundled, few, batch_size=1, limit=1)
    assert (swept.progress.done, swept.progress.failed) == (4, 0)
    assert failed == [1] * 4
    assert {made(item).prefix for item in swept.items.values()} == {0}


def test_items_that_do_not_go_together_come_picture_by_picture(
    bundled: LoadedModel,
    few: Path,
    sweep: Sweeper,
    begun: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """So that all questions about a picture go on from one beginning."""
    monkeypatch.setattr(Grouping, "takes_together", lambda self, items: False)
    swept = sweep(bundled, few, batch_size=4)
    assert swept.progress.done == 8
    assert all(made(item).prefix for item in swept.items.values())
    assert begun == [1, 1]


# Which pictures' beginnings are read together


def pictured(*questions: Sequence[int], against: str = "") -> PreparedPicture:
    tasks = tuple(
        PreparedTask(
            Task("?", against=against),
            {
                "input_ids": torch.tensor([[*ids]]),
                "attention_mask": torch.ones(1, len(ids), dtype=torch.int64),
            },
        )
        for ids in questions
    )
    return PreparedPicture("a.png", "", tasks, ())


IMAGE = 99
SHORT = pictured([1, IMAGE, 2, 3, 4], [1, IMAGE, 2, 5, 6])
"""2 tokens to the end of the picture; 3 are common."""
BEGUN = (1, IMAGE, IMAGE, IMAGE, IMAGE, 2)
LONG = pictured([*BEGUN, 3, 3, 4], [*BEGUN, 5, 4])
"""5, and 6."""


def divided(
    *pictures: PreparedPicture, size: int = 4, most: int | None = None, counts: bool = False
) -> list[tuple[int, int]]:
    found = Beginnings(IMAGE, counts).divided(pictures, size, lambda picture, count: most)
    return [(len(each.pictures), each.begun) for each in found]


def test_pictures_go_together_whose_beginnings_can_have_one_length() -> None:
    assert divided(SHORT, SHORT) == [(2, 3)]
    assert divided(SHORT, LONG, SHORT) == [(2, 3), (1, 6)]
    same = pictured([1, IMAGE, 2, 3, 4, 5], [1, IMAGE, 2, 3, 4, 5])
    assert divided(same) == [(1, 4)]  # two tokens are new, at least
    assert divided(same, SHORT) == [(2, 3)]
    assert divided(SHORT, SHORT, SHORT, most=2) == [(2, 3), (1, 3)]
    assert divided(SHORT, most=0) == [(1, 0)]


def test_what_is_not_common_is_not_read_ahead() -> None:
    once = pictured([1, IMAGE, 2, 3, 4])
    assert divided(once, once) == [(2, 0)]
    text_first = pictured([1, 7, IMAGE, 3, 4], [1, 8, IMAGE, 3, 4])
    assert divided(text_first) == [(1, 0)]
    assert divided(text_first, SHORT) == [(1, 0), (1, 3)]
    masked = pictured([1, IMAGE, 2, 3, 4], [1, IMAGE, 2, 3, 4])
    masked.tasks[0].inputs["attention_mask"][0, 0] = 0
    assert divided(masked) == [(1, 0)]
    other_pixels = pictured([1, IMAGE, 2, 3, 4], [1, IMAGE, 2, 5, 4])
    for place, task in enumerate(other_pixels.tasks):
        task.inputs["pixel_values"] = torch.full((1, 3), float(place))
    assert divided(other_pixels) == [(1, 0)]


def test_what_is_known_of_questions_is_small() -> None:
    """Of thousands of pictures, their questions are not kept."""
    found = Beginnings(IMAGE, False)
    for picture in (SHORT, LONG, SHORT):
        assert len(list(found.divided([picture], 4, lambda picture, count: None))) == 1
    assert len(found._known) == 2
    assert {len(digest) for key in found._known for digest in key} == {16}


def test_where_passes_cost_more_than_tokens_few_are_added() -> None:
    sizes = [
        pictured([1, *[IMAGE] * n, 2, 3, 4], [1, *[IMAGE] * n, 2, 5, 6]) for n in range(1, 9, 2)
    ]
    assert len(divided(*sizes)) == 4
    assert divided(*sizes, counts=True) == [(4, 0)]
    assert divided(*sizes[:1] * 4, counts=True) == [(4, 3)]
