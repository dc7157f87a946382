"""Items per second of a sweep against the bare batched forward.

``python -m tests.sweep_benchmark [--model FOLDER] [--pictures 64] [--side 112]`` asks four prompts
about every picture, ways taking turns; ``--study llava-1.5-7b-hf`` or ``--study
Qwen2-VL-2B-Instruct`` makes that model first, in its real size with random weights:

- bare: the model alone, the same batches, the vision pass shared in the same way, no inputs to
  make and nothing to read or write;
- bare, logits kept: the same, computing only the logits that a sweep reads, as a sweep does;
- bare, nothing shared: what sharing gains is the ratio to the first;
- sweep: everything, from files to lines in the folder;
- sweep, vision shared: the same where no batch goes on from its pictures' beginnings.

Beside the items per second stands the processor time of an item, of all threads: it says the same
on a machine that does other work.

The batches are as large as a sweep makes them here, or as `--batch-size` says. What a sweep does
before its first batch and after its last one (learning the model apart, which is done once) is its
fixed cost, whatever its length: ``--pictures 1000`` asks 4,000 questions.

Memory is the process's peak after so many pictures, and after all of them.
"""

from __future__ import annotations

import argparse
import gc
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, nullcontext
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import torch
from PIL import Image
from torch import Tensor

import samples
from engine import load
from engine.lens.batch_reuse import BatchReuse
from engine.lens.batched import BatchNumbers
from engine.models.loading import LoadedModel
from engine.passes.forward import LOGITS_TO_KEEP
from engine.passes.vision_reuse import VisionCache
from engine.records import Question
from engine.sweeps.preparing import PreparedPicture, Preparing
from engine.sweeps.records import Sweep, SweepData, SweepQuestion
from engine.sweeps.running import Sweeping
from engine.sweeps.sources.opening import open_source
from engine.sweeps.sources.tasks import Source
from engine.sweeps.store import Store
from samples.making.clevr import write_clevr
from tests.study_models import LLAVA_NAME, QWEN_NAME, save_study_model


def batches(
    pictures: Sequence[PreparedPicture], loaded: LoadedModel, size: int
) -> Iterator[list[dict[str, Any]]]:
    """For every `size` pictures, the inputs of their first prompts, their second ones and so on;
    their pixels are the same tensors."""
    for start in range(0, len(pictures), size):
        block = pictures[start : start + size]
        collated = [
            loaded.lens.on_device(
                loaded.lens.collated([picture.tasks[number].inputs for picture in block])
            )
            for number in range(len(block[0].tasks))
        ]
        first = collated[0]
        pixels = {
            name: value
            for name, value in first.items()
            if isinstance(value, Tensor) and value.is_floating_point()
        }
        yield [{**inputs, **pixels} for inputs in collated]


def kept(inputs: dict[str, Any]) -> dict[str, Any]:
    """The same inputs, asking for the logits of their last tokens alone."""
    last = inputs["attention_mask"].sum(1).sub(1).unique()
    return {**inputs, LOGITS_TO_KEEP: last}


def bare(
    loaded: LoadedModel, blocks: Sequence[list[dict[str, Any]]], shared: VisionCache | None
) -> None:
    """The model alone."""
    with torch.no_grad():
        for block in blocks:
            for inputs in block:
                with shared.remembering() if shared is not None else nullcontext():
                    loaded.model(**inputs)
            if shared is not None:
                shared.forget()
    if torch.cuda.is_available():
        torch.cuda.synchronize()


class Swept(NamedTuple):
    """One sweep."""

    batch_size: int
    """Of its last batches."""
    before: float
    """Seconds until its first batch is given to the device."""
    after: float
    """Seconds from the launch of its last batch (on a CPU, from its end) to its own end."""


def sweep(loaded: LoadedModel, source: Source, size: int | None) -> Swept:
    """Everything."""
    question = Question(prompt="")
    record = Sweep(
        created="",
        model=loaded.card,
        layers=len(loaded.lens.layers),
        question=SweepQuestion(chat=True, system=None, prefix=""),
        data=SweepData(source.kind, source.path, source.digest, 0, 0),
        prompts=(),
    )
    began: list[float] = []
    ended: list[float] = []
    read = loaded.lens.read_batch

    def timed(*args: Any, **settings: Any) -> BatchNumbers:
        began.append(time.perf_counter())
        numbers = read(*args, **settings)
        ended.append(time.perf_counter())
        return numbers

    with tempfile.TemporaryDirectory() as folder, patch.object(loaded.lens, "read_batch", timed):
        start = time.perf_counter()
        store = Store(folder)
        done = Sweeping(loaded, source, store, question, store.belongs_to(record), size).run()
        store.close()
        end = time.perf_counter()
    assert done.done == source.item_count, done
    return Swept(done.batch_size, began[0] - start, end - ended[-1])


def write_pictures(folder: Path, count: int, side: int) -> None:
    """Scenes, drawn small, which is quick, and enlarged."""
    write_clevr(folder, count)
    for file in (folder / "images").rglob("*.png"):
        with Image.open(file) as small:
            small.resize((side, side)).save(file)


def study_model(name: str, stack: ExitStack) -> str:
    """A folder for as long as `stack` lasts."""
    folder = stack.enter_context(tempfile.TemporaryDirectory())
    save_study_model(name, Path(folder), "cuda" if torch.cuda.is_available() else "cpu")
    gc.collect()
    return folder


def peak() -> float:
    """MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m tests.sweep_benchmark", description=__doc__)
    parser.add_argument("--model", default=str(samples.MODEL))
    parser.add_argument("--study", choices=(LLAVA_NAME, QWEN_NAME))
    parser.add_argument("--pictures", type=int, default=64)
    parser.add_argument("--side", type=int, default=112, help="of the pictures, in pixels")
    parser.add_argument("--batch-size", type=int)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sweeps", action="store_true", help="measure the two sweeps alone")
    options = parser.parse_args()
    with ExitStack() as stack:
        loaded = load(options.model if options.study is None else study_model(options.study, stack))
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        write_pictures(folder, options.pictures, options.side)
        source = open_source(folder)
        pictures = list(Preparing(loaded, Question(prompt="")).pictures(source.pictures))
        size = sweep(loaded, source, options.batch_size).batch_size
        blocks = list(batches(pictures, loaded, size))
        blocks_kept = [[kept(inputs) for inputs in block] for block in blocks]
        before = loaded.lens.learn(blocks[0][0]).before
        swept: list[Swept] = []

        def with_vision_alone() -> None:
            with patch.object(BatchReuse, "refusal", lambda *asked: "not tried"):
                sweep(loaded, source, options.batch_size)

        ways: dict[str, Callable[[], object]] = {
            "bare": lambda: bare(loaded, blocks, VisionCache(before)),
            "bare, logits kept": lambda: bare(loaded, blocks_kept, VisionCache(before)),
            "bare, nothing shared": lambda: bare(loaded, blocks, None),
            "sweep": lambda: swept.append(sweep(loaded, source, options.batch_size)),
            "sweep, vision shared": with_vision_alone,
        }
        if options.sweeps:
            ways = {way: run for way, run in ways.items() if way.startswith("sweep")}
        for way in ways.values():
            way()
        seconds: dict[str, list[float]] = {way: [] for way in ways}
        worked: dict[str, list[float]] = {way: [] for way in ways}
        memory = [peak()]
        for _ in range(options.rounds):
            for kind, run in ways.items():
                began, before_it = time.perf_counter(), time.process_time()
                run()
                seconds[kind].append(time.perf_counter() - began)
                worked[kind].append(time.process_time() - before_it)
            memory.append(peak())
    items = source.item_count
    print(f"{items} items, {size} in a batch, {loaded.lens.device}, {loaded.card.dtype}")
    for kind, taken in seconds.items():
        each = statistics.median(worked[kind]) / items
        print(f"{kind:22}{items / statistics.median(taken):8.1f} items/s{each * 1000:8.1f} ms")
    for one, other in (
        ("bare", "sweep"),
        ("bare, logits kept", "sweep"),
        ("bare, nothing shared", "bare"),
        ("bare", "sweep, vision shared"),
        ("sweep, vision shared", "sweep"),
    ):
        if one not in ways or other not in ways:
            continue
        ratios = [a / b for a, b in zip(seconds[one], seconds[other], strict=True)]
        print(f"{f'{other} / {one}':34}{statistics.median(ratios):6.2f}")
    first, last = (
        statistics.median(each) for each in zip(*(one[1:] for one in swept), strict=True)
    )
    print(f"before the first batch{first:9.2f} s")
    print(f"after the last        {last:9.2f} s")
    print(
        f"peak memory           {memory[0]:8.0f} MiB, {memory[-1]:.0f} after {options.rounds} more"
    )


if __name__ == "__main__":
    main()
