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
from engine.sweeps.preparing import PreparedPicture, PreparedTask
from engine.sweeps.records import SweepItem
from engine.sweeps.report import sections
from engine.sweeps.results import read_results
from engine.sweeps.sources.opening import open_source
from engine.sweeps.sources.tasks import Prompt, Task
from samples.making.clevr import write_clevr
from tests.engine.test_batch_reuse import spoilt
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
    right = sweep(bundled, few, "right", batch_size=2, sharing=False)
    monkeypatch.setattr(Beginning, "of_items", spoilt)
    swept = sweep(bundled, few, "wrong", batch_size=2)
    alike(swept.items, right.items)
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
    assert swept.progress.notes["beginnings"].startswith(WENT_ON)
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
    """Of the first ones nobody knows what they take."""
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
    assert [items for items, _ in sizes] == [2, 1, 1]
    assert swept.progress.done == 16
    monkeypatch.setattr(going_on, "free_memory", lambda device: 0)
    sizes.clear()
    none = sweep(bundled, few.parent / "more", "none", batch_size=2)
    assert [items for items, _ in sizes] == [2]
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
    found = Beginnings(IMAGE, counts).divided(pictures, size, most)
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


def test_where_passes_cost_more_than_tokens_few_are_added() -> None:
    sizes = [
        pictured([1, *[IMAGE] * n, 2, 3, 4], [1, *[IMAGE] * n, 2, 5, 6]) for n in range(1, 9, 2)
    ]
    assert len(divided(*sizes)) == 4
    assert divided(*sizes, counts=True) == [(4, 0)]
    assert divided(*sizes[:1] * 4, counts=True) == [(4, 3)]
