"""A sweep's items: those of asking one by one, each once, whatever happens meanwhile."""

from __future__ import annotations

import copy
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from msgspec import structs
from PIL import Image

import samples
from engine.asking.asking import Asking
from engine.errors import BadInput, Remedy
from engine.lens.batched import BatchNumbers
from engine.lens.lens import Lens
from engine.models.loading import LoadedModel
from engine.passes.vision_reuse import VisionCache
from engine.pictures.opening import open_preview
from engine.records import Picture, Question
from engine.sweeps.records import SweepItem
from engine.sweeps.reopening import as_run, find_item, open_item
from engine.sweeps.sources.opening import open_source
from engine.sweeps.sources.tasks import PictureTasks, Prompt
from engine.sweeps.store import CannotWrite, Store, read_failures, read_items, read_sweep
from samples.making.clevr import write_clevr
from tests.sweeps.conftest import SCENES, Sweeper, described
from tui.cli import main

Opened = Callable[[str], LoadedModel]
ROOT = Path(__file__).resolve().parents[2]
CHILD = {
    **os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "XDG_CONFIG_HOME": "/nowhere",
    "XDG_STATE_HOME": "/nowhere",
}  # fmt: skip


def alike(
    one: Mapping[str, SweepItem], other: Mapping[str, SweepItem], exact: bool = False
) -> None:
    """The same items with the same numbers, but for times and last bits."""
    assert one.keys() == other.keys()
    for item, first in one.items():
        second = other[item]
        if exact:
            assert structs.replace(first, seconds={}) == structs.replace(second, seconds={})
            continue
        assert (first.prompt, first.group, first.truth, first.spellings) == (
            second.prompt, second.group, second.truth, second.spellings,
        )  # fmt: skip
        assert (first.rows_unnormed is None) == (second.rows_unnormed is None)
        for rows, twins in ((first.rows, second.rows), (first.rows_unnormed, second.rows_unnormed)):
            for row, twin in zip(rows or (), twins or (), strict=True):
                _alike(row, twin)


def _alike(row: Any, twin: Any) -> None:
    assert row.layer == twin.layer
    for token, other in zip(row.top, twin.top, strict=True):
        assert token.probability == pytest.approx(other.probability, abs=1e-5)
        if token.id != other.id:  # they change places only where nothing lies between them
            assert abs(token.probability - other.probability) < 1e-5
    for name in ("truth", "final"):
        standing, same = getattr(row, name), getattr(twin, name)
        assert (standing is None) == (same is None)
        if standing is not None:
            assert standing.probability == pytest.approx(same.probability, abs=1e-5)


@pytest.fixture
def few(tmp_path: Path) -> Path:
    """Three scenes of the test's own."""
    write_clevr(tmp_path / "data", 3)
    return tmp_path / "data"


def test_items_are_those_of_asking_one_by_one(
    bundled: LoadedModel, scenes: Path, sweep: Sweeper
) -> None:
    swept = sweep(bundled, scenes, batch_size=4)
    assert (swept.progress.done, swept.progress.failed) == (4 * SCENES, 0)
    assert len(swept.items) == 4 * SCENES
    assert swept.progress.notes["beginnings"].startswith("prompts of a picture go on from the keys")
    for item in list(swept.items.values())[::7]:
        assert item.picture is not None
        picture = Picture(path=str(scenes / item.picture.path))
        for norm, rows in ((True, item.rows), (False, item.rows_unnormed)):
            question = Question(prompt=item.prompt, picture=picture, norm=norm)
            run = Asking(bundled, question, track=item.spellings).run()
            assert run.question.picture is not None
            assert run.question.picture.sha256 == item.picture.sha256
            tracked = {each.id: each for each in run.tracked}
            assert rows is not None
            for row, reading in zip(rows, run.rows, strict=False):
                for token, known in zip(row.top, reading.top, strict=False):
                    assert token.probability == pytest.approx(known.probability, abs=1e-5)
                    assert token.text == known.text or token.id != known.id
                assert row.entropy == pytest.approx(reading.entropy, abs=1e-4)
                assert row.rms == pytest.approx(reading.rms, rel=1e-4)
                # Of the lens without norm, too, the last row is the model's own.
                assert row.kl_to_last == pytest.approx(reading.kl_to_last, abs=1e-3)
                assert row.final is not None and reading.answer is not None
                assert row.final.probability == pytest.approx(reading.answer.probability, abs=1e-5)
                shares = [tracked[token].probability[row.layer] for token in item.spellings]
                assert row.truth is not None
                assert row.truth.probability == pytest.approx(
                    sum(share for share in shares if share is not None), abs=1e-5
                )
                # Of the spelling that ranks best; of tokens as likely, two may change places.
                ranks = [tracked[token].rank[row.layer] for token in item.spellings]
                best = min(rank for rank in ranks if rank is not None)
                assert row.truth.rank == pytest.approx(best, abs=1, rel=0.01)
        assert item.rows[-1].truth is not None
        assert (len(item.rows), len(item.rows_unnormed or ())) == (11, 10)


@pytest.mark.parametrize("size", [2, 5, 16, None])
def test_no_batch_changes_a_row(
    bundled: LoadedModel, few: Path, sweep: Sweeper, size: int | None
) -> None:
    alone = sweep(bundled, few, "alone", batch_size=1)
    alike(alone.items, sweep(bundled, few, "together", batch_size=size).items)
    assert alone.progress.done == 12


def test_one_at_a_time_is_byte_for_byte_the_same(
    bundled: LoadedModel, few: Path, sweep: Sweeper
) -> None:
    first = sweep(bundled, few, "first", batch_size=1, limit=2)
    assert first.progress.done == 8
    sweep(bundled, few, "first", batch_size=1)
    sweep(bundled, few, "second", batch_size=1)
    sorted_lines = []
    for name in ("first", "second"):
        (file,) = (few.parent / name).glob("items-*.jsonl")
        lines = [json.loads(line) for line in file.read_bytes().splitlines()]
        kept = [{**line, "seconds": None} for line in lines]
        sorted_lines.append(sorted(json.dumps(line) for line in kept))
    assert sorted_lines[0] == sorted_lines[1]


@pytest.mark.parametrize("name", ["llava", "qwen2_vl"])
def test_prompts_of_unequal_lengths(
    opened: Opened, tmp_path: Path, sweep: Sweeper, name: str
) -> None:
    for index, size in enumerate([(40, 24), (24, 40), (40, 24), (60, 60)]):
        Image.effect_noise(size, 90).convert("RGB").save(tmp_path / f"{index}.png")
    prompts = [Prompt("A?", "a"), Prompt("What is it, then?", "b"), Prompt("Where?", "c")]
    source = open_source(tmp_path, prompts)
    loaded = opened(name)
    alone = sweep(loaded, source, "alone", batch_size=1)
    together = sweep(loaded, source, "together", batch_size=6)
    assert alone.progress.done == 12
    alike(alone.items, together.items)
    assert all(item.truth is None and not item.spellings for item in alone.items.values())
    assert all(row.truth is None for item in alone.items.values() for row in item.rows)


def test_a_vision_pass_for_every_picture(
    bundled: LoadedModel,
    few: Path,
    sweep: Sweeper,
    monkeypatch: pytest.MonkeyPatch,
    no_beginnings: None,
) -> None:
    sweep(bundled, few, "proved", batch_size=3, limit=1)
    seen: list[int] = []
    tower = bundled.model.model.vision_tower.encoder
    handle = tower.register_forward_pre_hook(
        lambda module, args, kwargs: seen.append(len(kwargs["inputs_embeds"])), with_kwargs=True
    )
    try:
        shared = sweep(bundled, few, "shared", batch_size=3)
        passes = len(seen)
        seen.clear()
        own = sweep(bundled, few, "own", batch_size=3, sharing=False)
    finally:
        handle.remove()
    assert seen == [3] * 4
    # One for all the prompts, and one for the proof that nothing changes.
    assert passes == 2
    alike(shared.items, own.items, exact=False)


def test_sharing_that_changes_a_row_is_off(
    bundled: LoadedModel,
    few: Path,
    sweep: Sweeper,
    monkeypatch: pytest.MonkeyPatch,
    no_beginnings: None,
) -> None:
    own = VisionCache._answering

    def wrong(self: VisionCache, module: Any, fresh: Any) -> Callable[..., Any]:
        answer = own(self, module, fresh)

        def spoilt(*args: Any, **kwargs: Any) -> Any:
            hits = self.hits
            output = answer(*args, **kwargs)
            if self.hits > hits and isinstance(output, torch.Tensor):
                return output * 1.01
            return output

        return spoilt

    monkeypatch.setattr(VisionCache, "_answering", wrong)
    swept = sweep(bundled, few, "wrong", batch_size=3)
    assert swept.progress.notes["sharing"].startswith("off: rows differ")
    monkeypatch.undo()
    alike(swept.items, sweep(bundled, few, "right", batch_size=3).items)


def test_where_nothing_is_asked_twice_sharing_is_off(
    bundled: LoadedModel,
    few: Path,
    sweep: Sweeper,
    monkeypatch: pytest.MonkeyPatch,
    no_beginnings: None,
) -> None:
    monkeypatch.setattr(VisionCache, "_answering", lambda self, module, fresh: module.forward)
    swept = sweep(bundled, few, batch_size=3)
    assert swept.progress.notes["sharing"].startswith("off: nothing before the first layer")
    assert swept.progress.done == 12


# What goes wrong


def test_memory_that_runs_out_halves_the_batch(
    bundled: LoadedModel, few: Path, sweep: Sweeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = Lens.read_batch
    sizes: list[int] = []

    def read_batch(self: Lens, inputs: Any, truths: Any, *rest: Any) -> BatchNumbers:
        sizes.append(len(truths))
        if len(truths) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return own(self, inputs, truths, *rest)

    monkeypatch.setattr(Lens, "read_batch", read_batch)
    swept = sweep(bundled, few, "small", batch_size=12)
    assert (swept.progress.done, swept.progress.failed) == (12, 0)
    assert swept.progress.batch_size <= 2
    assert max(sizes) > 2 and sizes.count(max(sizes)) == 1
    monkeypatch.undo()
    alike(swept.items, sweep(bundled, few, "large", batch_size=12).items)


def test_one_item_that_breaks_the_pass_is_one_failure(
    bundled: LoadedModel, few: Path, sweep: Sweeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = Lens.read_batch
    worst = next(iter(sweep(bundled, few, "before", limit=1).items.values())).spellings
    assert worst

    def read_batch(self: Lens, inputs: Any, truths: Any, *rest: Any) -> BatchNumbers:
        if worst in {tuple(ids) for ids in truths}:
            raise RuntimeError("a kernel has failed")
        return own(self, inputs, truths, *rest)

    monkeypatch.setattr(Lens, "read_batch", read_batch)
    swept = sweep(bundled, few, batch_size=3)
    failures = read_failures(swept.folder)
    assert swept.progress.failed == len(failures) >= 1
    assert swept.progress.done + swept.progress.failed == 12
    assert all("a kernel has failed" in failure.error for failure in failures)
    monkeypatch.undo()
    # They are done with, until they are asked for again.
    assert sweep(bundled, few).progress.total == 0
    again = sweep(bundled, few, retry=True)
    assert again.progress.done == len(failures) and len(again.items) == 12
    assert read_failures(swept.folder) == []


def test_bad_pictures_are_failures(bundled: LoadedModel, tmp_path: Path, sweep: Sweeper) -> None:
    data = tmp_path / "data"
    data.mkdir()
    Image.new("RGB", (30, 30), "red").save(data / "good.png")
    (data / "same.png").write_bytes((data / "good.png").read_bytes())
    (data / "torn.png").write_bytes((data / "good.png").read_bytes()[:60])
    (data / "text.png").write_text("not a picture")
    Image.new("1", (20_000, 20_000)).save(data / "bomb.png")
    (data / "folder.png").mkdir()
    rows = [
        {"picture": name, "prompt": "Color of the main object:", "answer": "red"}
        for name in ("good.png", "same.png", "torn.png", "text.png", "bomb.png", "folder.png",
                     "missing.png", "猫.png")
    ]  # fmt: skip
    table = data / "q.jsonl"
    table.write_text("\n".join(map(json.dumps, rows)))
    swept = sweep(bundled, table)
    assert (swept.progress.done, swept.progress.failed, swept.progress.duplicates) == (1, 6, 1)
    errors = {failure.picture: failure.error for failure in read_failures(swept.folder)}
    assert "the same as" in errors["same.png"]
    assert "400000000" in errors["bomb.png"].replace(",", "") or "limit" in errors["bomb.png"]
    assert "no such picture" in errors["missing.png"] and "no such" in errors["猫.png"]
    assert all("\n" not in error for error in errors.values())
    assert sweep(bundled, table).progress.total == 0


def test_a_picture_too_thin_for_the_processor_is_one_failure(
    bundled: LoadedModel, tmp_path: Path, sweep: Sweeper
) -> None:
    from transformers.image_utils import SizeDict

    processor = copy.deepcopy(bundled.processor)
    processor.image_processor.crop_size = processor.image_processor.size
    processor.image_processor.size = SizeDict(shortest_edge=336)
    processor.image_processor.do_center_crop = True
    data = tmp_path / "data"
    data.mkdir()
    Image.new("RGB", (1, 5000)).save(data / "thin.png")
    Image.new("RGB", (30, 30), "red").save(data / "usual.png")
    source = open_source(data, [Prompt("Color of the main object:")])
    swept = sweep(replace(bundled, processor=processor), source)
    assert (swept.progress.done, swept.progress.failed) == (1, 1)
    (failure,) = read_failures(swept.folder)
    assert failure.picture == "thin.png"
    assert "1 x 5000 pixels would become 1,680,000 x 336" in failure.error


def test_how_pictures_had_to_be_shown_is_noted(
    bundled: LoadedModel, tmp_path: Path, sweep: Sweeper
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    for number in range(2):
        grey = Image.linear_gradient("L").resize((30, 30 + number)).convert("F")
        grey.save(data / f"{number}.tif")
    Image.new("RGB", (30, 30), "red").save(data / "usual.png")
    swept = sweep(bundled, open_source(data, [Prompt("Color of the main object:")]))
    note = swept.progress.notes["pictures"]
    assert note.startswith("2 were changed to be shown, the first: 0.tif: float pixels from")
    notes = {item.picture.path: item.picture.note for item in swept.items.values() if item.picture}
    assert notes.pop("usual.png") is None
    assert all("shown black to white" in str(found) for found in notes.values())


def test_a_picture_that_has_come_back_is_asked_again(
    bundled: LoadedModel, tmp_path: Path, sweep: Sweeper
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    good, late = data / "good.png", data / "late.png"
    Image.new("RGB", (30, 30), "red").save(good)
    lines = [f"{name},Color of the main object:" for name in ("good.png", "late.png", "never.png")]
    (data / "q.csv").write_text("\n".join(["picture,prompt", *lines]))
    first = sweep(bundled, data / "q.csv")
    assert (first.progress.done, first.progress.failed) == (1, 2)
    Image.new("RGB", (30, 30), "blue").save(late)
    assert sweep(bundled, data / "q.csv").progress.total == 0
    again = sweep(bundled, data / "q.csv", retry=True)
    assert (again.progress.done, again.progress.failed) == (1, 1)
    assert [each.picture for each in read_failures(again.folder)] == ["never.png"]


def test_retrying_one_shard_leaves_the_failures_of_others(
    bundled: LoadedModel, tmp_path: Path, sweep: Sweeper
) -> None:
    lines = [f"{index}.png,What?" for index in range(4)]
    (tmp_path / "q.csv").write_text("\n".join(["picture,prompt", *lines]))
    for index in range(2):
        sweep(bundled, tmp_path / "q.csv", shard=(index, 2))
    assert len(read_failures(tmp_path / "out")) == 4
    Image.new("RGB", (30, 30)).save(tmp_path / "0.png")
    sweep(bundled, tmp_path / "q.csv", shard=(0, 2), retry=True)
    left = sorted(each.picture for each in read_failures(tmp_path / "out"))
    assert left == ["1.png", "2.png", "3.png"]


def test_pictures_of_two_shapes_each_share_their_vision_pass(
    opened: Opened, tmp_path: Path, sweep: Sweeper, no_beginnings: None
) -> None:
    """Question after question about some pictures, then the next: what is in memory is of use."""
    for index, size in enumerate([(40, 24), (24, 24), (40, 24), (24, 24)]):
        Image.effect_noise(size, 90).convert("RGB").save(tmp_path / f"{index}.png")
    loaded = opened("qwen2_vl")
    source = open_source(tmp_path, [Prompt(f"Question {n}?", str(n)) for n in range(4)])
    seen: list[int] = []
    tower = loaded.model.model.visual.blocks[0]
    handle = tower.register_forward_pre_hook(lambda module, args: seen.append(1))
    try:
        swept = sweep(loaded, source, batch_size=4)
    finally:
        handle.remove()
    assert swept.progress.done == 16
    assert swept.progress.notes["sharing"] == "prompts of a picture share its vision pass"
    # Of 16 questions; the proofs of batches and of sharing take some passes of their own.
    assert len(seen) <= 10


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_inputs_from_other_processes_are_the_same(
    bundled: LoadedModel, few: Path, sweep: Sweeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = sweep(bundled, few, "own", batch_size=2)
    monkeypatch.setattr("engine.sweeps.running.worker_count", lambda device: 2)
    theirs = sweep(bundled, few, "theirs", batch_size=2)
    assert theirs.progress.done == 12
    alike(own.items, theirs.items)


def test_what_was_made_ready_before_the_data_breaks_is_asked(
    bundled: LoadedModel, few: Path, sweep: Sweeper, tmp_path: Path
) -> None:
    source = open_source(few)

    class Breaking:
        def __iter__(self) -> Iterator[PictureTasks]:
            yield from list(source.pictures)[:2]
            raise BadInput("row 2 cannot be read")

    broken = replace(source, pictures=Breaking(), quickly=source.pictures)
    with pytest.raises(BadInput, match="row 2 cannot"):
        sweep(bundled, broken, batch_size=8)
    assert len(list(read_items(tmp_path / "out"))) == 8


def test_seconds_are_those_of_the_items_own_batch(
    bundled: LoadedModel, few: Path, sweep: Sweeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = Lens.read_batch
    clock = 0.0
    lasts = iter([0.3, 0.0, 0.3, *[0.0] * 100])

    def read_batch(self: Lens, *rest: Any) -> BatchNumbers:
        nonlocal clock
        clock += next(lasts)
        return own(self, *rest)

    monkeypatch.setattr(Lens, "read_batch", read_batch)
    # A busy machine adds nothing to it.
    monkeypatch.setattr("engine.sweeps.batches.time", SimpleNamespace(perf_counter=lambda: clock))
    swept = sweep(bundled, few, batch_size=1, limit=1, sharing=False)
    seconds = [item.seconds["pass"] for item in swept.items.values()]
    assert seconds == pytest.approx([0.3, 0.0, 0.3, 0.0])


def test_an_assertion_inside_the_model_is_a_failure(
    bundled: LoadedModel, few: Path, sweep: Sweeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read_batch(*args: Any) -> BatchNumbers:
        raise AssertionError("image tokens do not match")

    monkeypatch.setattr(Lens, "read_batch", read_batch)
    swept = sweep(bundled, few, limit=1)
    assert (swept.progress.done, swept.progress.failed) == (0, 4)


def test_a_folder_of_another_sweep_is_refused(
    bundled: LoadedModel, few: Path, sweep: Sweeper, tmp_path: Path
) -> None:
    swept = sweep(bundled, few)
    known = read_sweep(swept.folder)
    card = known.model
    for what, other in (
        ("model", structs.replace(known, model=structs.replace(card, name="other"))),
        ("dtype", structs.replace(known, model=structs.replace(card, dtype="bfloat16"))),
        ("prompts", structs.replace(known, prompts=("!",))),
        ("weights", structs.replace(known, weights="another")),
        ("raw", structs.replace(known, question=structs.replace(known.question, chat=False))),
        ("prefix", structs.replace(known, question=structs.replace(known.question, prefix="A"))),
        ("list of pictures", structs.replace(known, data=structs.replace(known.data, digest="0"))),
        ("layers", structs.replace(known, layers=3)),
    ):
        store = Store(swept.folder)
        with pytest.raises(BadInput, match=f"another .*{what}.*another folder") as refused:
            store.belongs_to(other)
        assert refused.value.remedies == (Remedy.OTHER_FOLDER,)
        store.close()
    Image.new("RGB", (112, 112)).save(few / "images" / "val" / "CLEVR_val_000000.png")
    with pytest.raises(BadInput, match=r"another picture images/val/.*another folder") as refused:
        sweep(bundled, few)
    assert refused.value.remedies == (Remedy.OTHER_FOLDER,)
    write_clevr(few, 4)
    with pytest.raises(BadInput, match="another list of pictures"):
        sweep(bundled, few)


def test_two_writers_of_one_shard_are_refused(tmp_path: Path) -> None:
    store = Store(tmp_path / "out")
    for _ in range(2):  # the second leaves all as it is, though nothing is in the file yet
        with pytest.raises(BadInput, match="another sweep"):
            Store(tmp_path / "out")
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["items-00000-of-00001.jsonl"]
    Store(tmp_path / "out", 1, 2).close()
    store.close()
    Store(tmp_path / "out").close()


@pytest.mark.parametrize("torn", [b'{"item": "0', b"\0" * 5000, b'{"item":"' + b"x" * 200_000])
def test_a_torn_last_line_is_dropped(
    bundled: LoadedModel, few: Path, sweep: Sweeper, torn: bytes
) -> None:
    whole = sweep(bundled, few, "whole", batch_size=1)
    part = sweep(bundled, few, "part", batch_size=1, limit=1)
    (file,) = part.folder.glob("items-*.jsonl")
    with file.open("ab") as stream:
        stream.write(torn)
    assert len(list(read_items(part.folder))) == 4
    again = sweep(bundled, few, "part", batch_size=1)
    assert again.progress.done == 8
    alike(again.items, whole.items, exact=True)


def test_a_damaged_line_is_named(bundled: LoadedModel, few: Path, sweep: Sweeper) -> None:
    swept = sweep(bundled, few, limit=1)
    (file,) = swept.folder.glob("items-*.jsonl")
    file.write_bytes(b'{"item": 3}\n' + file.read_bytes())
    with pytest.raises(BadInput, match="line 1: not an item"):
        sweep(bundled, few)
    with pytest.raises(BadInput, match="line 1: not an item"):
        list(read_items(swept.folder))


def test_shards_make_one_set(bundled: LoadedModel, few: Path, sweep: Sweeper) -> None:
    whole = sweep(bundled, few, "whole")
    for index in range(2):
        sweep(bundled, few, "parts", shard=(index, 2))
    parts = sweep(bundled, few, "parts")  # another number of shards finds nothing left to do
    assert parts.progress.total == 0
    alike(whole.items, parts.items)


def test_a_full_disk_leaves_whole_lines(
    bundled: LoadedModel, few: Path, sweep: Sweeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a disk does it: some bytes are written, then no more."""
    own = os.write
    left = 40_000

    def write(handle: int, data: bytes) -> int:
        nonlocal left
        some = bytes(data)[: max(left, 0)]
        left -= len(data)
        if not some:
            raise OSError(28, "No space left on device")
        return own(handle, some)

    monkeypatch.setattr(os, "write", write)
    with pytest.raises(CannotWrite, match=r"No space left.*the same command resumes"):
        sweep(bundled, few, batch_size=1)
    monkeypatch.undo()
    kept = list(read_items(few.parent / "out"))
    assert 1 <= len(kept) <= 3
    again = sweep(bundled, few, batch_size=1)
    assert len(again.items) == 12
    assert again.progress.done == 12 - len(kept)


# The real program


@pytest.fixture
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the program finds when it is called in this process: no settings, nothing kept."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


def arguments(*sweep: str | Path) -> list[str]:
    return ["sweep", *map(str, sweep)]


def program(arguments: list[str]) -> list[str]:
    return [sys.executable, "-m", "tui", *arguments]


def ended(whole: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        whole, cwd=folder, env=CHILD, capture_output=True, text=True, timeout=300, check=False
    )


@pytest.mark.parametrize(("times", "scenes"), [(1, 8), pytest.param(3, 12, marks=pytest.mark.slow)])
def test_killed_and_taken_up_again(
    bundled: LoadedModel, tmp_path: Path, sweep: Sweeper, own_folders: None, times: int, scenes: int
) -> None:
    data, out = tmp_path / "data", tmp_path / "killed"
    write_clevr(data, scenes)
    whole = arguments("--data", data, "--out", out, "--batch-size", "1")
    kills = 0
    for _ in range(times):
        process = subprocess.Popen(
            program(whole), cwd=tmp_path, env=CHILD, stderr=subprocess.DEVNULL
        )
        before = sum(1 for _ in read_items(out))
        deadline = time.monotonic() + 120
        while process.poll() is None and time.monotonic() < deadline:
            if sum(1 for _ in read_items(out)) > before + 3:
                process.send_signal(signal.SIGKILL)
                kills += 1
                break
            time.sleep(0.02)
        process.wait(60)
    assert kills
    killed = len(list(read_items(out)))
    assert 3 < killed < 4 * scenes
    assert main(whole) == 0
    items = list(read_items(out))
    (file,) = out.glob("items-*.jsonl")
    assert len(items) == 4 * scenes == len(file.read_bytes().splitlines())
    alike({item.item: item for item in items}, sweep(bundled, data, batch_size=1).items)


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (signal.SIGTERM, 143),
        pytest.param(signal.SIGHUP, 129, marks=pytest.mark.slow),
        pytest.param(signal.SIGINT, 130, marks=pytest.mark.slow),
    ],
)
def test_ended_from_outside(tmp_path: Path, number: signal.Signals, code: int) -> None:
    write_clevr(tmp_path / "data", 40)
    out = tmp_path / "out"
    whole = arguments("--data", tmp_path / "data", "--out", out, "--batch-size", "1")
    process = subprocess.Popen(
        program(whole), cwd=tmp_path, env=CHILD, stderr=subprocess.PIPE, text=True,
        # Shells have what they start in the background ignore it, and so these tests, perhaps.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while sum(1 for _ in read_items(out)) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    assert process.returncode == code, said
    assert "Traceback" not in said
    (file,) = out.glob("items-*.jsonl")
    assert file.read_bytes().endswith(b"\n")


def test_a_small_disk(
    tmp_path: Path, own_folders: None, capsys: pytest.CaptureFixture[str]
) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=150k", "tmpfs", str(disk)],
        capture_output=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip("no file system can be mounted here")
    try:
        write_clevr(tmp_path / "data", 12)
        whole = arguments("--data", tmp_path / "data", "--out", disk / "out", "--batch-size", "4")
        assert main(whole) == 1
        *_, line = capsys.readouterr().err.splitlines()
        assert "No space left on device" in line and "the same command resumes" in line
        kept = {item.item: item for item in read_items(disk / "out")}
        assert 2 <= len(kept) < 48
        subprocess.run(["mount", "-o", "remount,size=9m", str(disk)], check=True)
        assert main(whole) == 0
        assert len(list(read_items(disk / "out"))) == 48
    finally:
        subprocess.run(["umount", str(disk)], check=False)


@pytest.mark.slow
def test_two_processes(bundled: LoadedModel, few: Path, sweep: Sweeper, tmp_path: Path) -> None:
    launch = [
        sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2",
        "--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no",
        "-m", "tui", "sweep", "--data", str(few), "--out", str(tmp_path / "two"),
    ]  # fmt: skip
    done = ended(launch, ROOT)
    assert done.returncode == 0, done.stderr
    files = sorted(file.name for file in (tmp_path / "two").glob("items-*.jsonl"))
    assert files == ["items-00000-of-00002.jsonl", "items-00001-of-00002.jsonl"]
    assert all((tmp_path / "two" / file).stat().st_size for file in files)
    items = {item.item: item for item in read_items(tmp_path / "two")}
    alike(items, sweep(bundled, few).items)


# Single items


def test_an_item_opens_as_a_run(bundled: LoadedModel, few: Path, sweep: Sweeper) -> None:
    from engine.records import Session
    from engine.sessions import read_session, to_json

    swept = sweep(bundled, few)
    item = next(iter(swept.items.values()))
    run, bare = (open_item(swept.folder, item.item, norm) for norm in (True, False))
    assert run.id == item.item != bare.id
    assert run.rows[-1] == bare.rows[-1] and run.rows[3] != bare.rows[3]
    assert [row.top for row in run.rows] == [row.top for row in item.rows]
    assert run.question.picture is not None
    assert Path(run.question.picture.path).is_file()
    assert run.tracked[0].why == "answer"
    leaders = {row.top[0].id for row in run.rows}
    assert {tracked.id for tracked in run.tracked} == leaders
    path = few / "session.json"
    path.write_text(to_json(Session(created="x", saved="x", runs=(run, bare))))
    assert read_session(path).runs[0].rows[0].top[0].text == run.rows[0].top[0].text
    with pytest.raises(BadInput, match="no item"):
        find_item(swept.folder, "0" * 16)
    without = structs.replace(item, rows_unnormed=None)
    with pytest.raises(BadInput, match="no rows without"):
        as_run(read_sweep(swept.folder), without, norm=False)


def test_an_embedded_picture_opens_with_its_item(
    bundled: LoadedModel, few: Path, sweep: Sweeper, tmp_path: Path
) -> None:
    import pyarrow
    from pyarrow import parquet

    data = [file.read_bytes() for file in sorted(few.rglob("*.png"))]
    file = tmp_path / "data.parquet"
    prompts = ["Color?"] * len(data)
    parquet.write_table(pyarrow.table({"image": data, "prompt": prompts}), file)
    swept = sweep(bundled, file)
    for item in swept.items:
        shown = open_item(swept.folder, item).question.picture
        assert shown is not None and shown.preview is not None
        assert Path(shown.path).name == swept.items[item].picture.path  # type: ignore[union-attr]
        assert open_preview(shown.preview).size == (shown.width, shown.height)
    # Of other data there is no picture to show.
    parquet.write_table(pyarrow.table({"image": data[::-1][:-1], "prompt": prompts[1:]}), file)
    first = next(iter(swept.items))
    shown = open_item(swept.folder, first).question.picture
    assert shown is not None and shown.preview is None
    file.unlink()
    assert open_item(swept.folder, first).question.picture == shown


def test_ten_thousand_tiny_items_are_listed_and_counted(
    tmp_path: Path, bundled: LoadedModel
) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    rows = [f"a.png,Question {index}:,{index},g{index % 9}" for index in range(10_000)]
    (tmp_path / "q.csv").write_text("\n".join(["picture,prompt,answer,group", *rows]))
    source = open_source(tmp_path / "q.csv")
    assert (source.picture_count, source.item_count) == (1, 10_000)
    assert described(bundled, source).data.items == 10_000


def test_many_prompts_of_one_picture_go_together(
    bundled: LoadedModel, tmp_path: Path, sweep: Sweeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [f"{samples.DEFAULT_PICTURE},Color of object {index}:" for index in range(20)]
    (tmp_path / "q.csv").write_text("\n".join(["picture,prompt", *rows]))
    sizes: list[int] = []
    own = Lens.read_batch

    def read_batch(self: Lens, inputs: Any, truths: Any, *rest: Any) -> BatchNumbers:
        sizes.append(len(truths))
        return own(self, inputs, truths, *rest)

    monkeypatch.setattr(Lens, "read_batch", read_batch)
    swept = sweep(bundled, tmp_path / "q.csv", batch_size=8)
    assert swept.progress.done == 20
    assert max(sizes) > 1
