"""What reading a model costs, beside a bare pass of it: every way in one run, taking turns.

    python -m tests.benchmark                    all models that this machine can run
    python -m tests.benchmark --only bundled     one of them: seconds instead of minutes
    python -m tests.benchmark --only 2b --dtype bfloat16 --ways bare,stream
    python -m tests.benchmark --repeats 15

Architectures with random weights in their real sizes, beside the bundled model. The ways take turns
(A B A B ...), so what else the machine does falls on all alike; ratios are of medians, and the
spread is printed. Bare = `model(**inputs, use_cache=False)` in inference mode, with
`logits_to_keep=1` where the model takes it. Peak memory is above what is held with the model
loaded: of a process on a CPU, of allocated memory on a GPU.

- stream: one position, with proof, divergence, a tracked token and the kept stream
- stream, everywhere: the same, and all positions are kept, as in the explorer
- naive: `output_hidden_states=True`, then norm and head on every row and position (once)
- grid: every row at every position, pass included
- first question: as "stream, everywhere", and what a second one can go on from is kept
- second question: about the same picture with NEW other tokens, gone on from the first
- attention: the weights of one position in every layer and head, each layer proved
- answer: 20 tokens, greedily, by `generate` alone, and with every row at each of them, proved; the
  second is given in times of the first, too
- nnsight, if it is installed: one trace with the model's own norm and head after every layer,
  float32, top 5, logsumexp and entropy, results in main memory
"""

from __future__ import annotations

import argparse
import copy
import gc
import inspect
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from engine import Lens
from engine.anatomy.columns import HeadColumns
from engine.anatomy.explicit import ExplicitTail
from engine.lens.grid import GridFill, GridRow, probabilities_of
from engine.lens.row_reader import Wanted
from engine.records import Made
from engine.system.steps import finished
from tests.benchmark_models import bundled, llava_7b, qwen2_vl_2b, smollm2_135m

TOP = 5
TRACKED = 5
NEW_TOKENS = 20
GENERATED, ALONG = "answer, by generate", "answer, every row"
NEW = 12
"""How many tokens of the second question are others: those of a short one."""
LONG = 1.0
"""Seconds of a bare pass from which grids are measured once."""
Way = Callable[[], object]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmark", description=__doc__)
    parser.add_argument("--only", choices=("bundled", "135m", "2b", "7b", "maps"))
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--dtype", choices=("auto", "bfloat16", "float32"), default="auto")
    parser.add_argument("--ways", help="beginnings of the names of ways, separated by commas")
    options = parser.parse_args()
    ways = tuple(options.ways.split(",")) if options.ways else ("",)
    print(machine())
    if torch.cuda.is_available():
        on_a_gpu(options.only, options.repeats, ways)
    else:
        on_a_cpu(options.only, options.repeats, ways, options.dtype)


def on_a_gpu(only: str | None, repeats: int, ways: Sequence[str]) -> None:
    device = torch.device("cuda")
    if only in (None, "7b"):
        compare("LLaVA-1.5-7B's shape, bfloat16", *llava_7b(device), 3 * repeats, ways)
        gc.collect()
        torch.cuda.empty_cache()
    if only in (None, "2b"):
        title = "Qwen2-VL-2B's shape, bfloat16"
        compare(title, *qwen2_vl_2b(torch.bfloat16, device), 3 * repeats, ways)
    if only == "bundled":
        compare("the bundled model", *bundled(device), 3 * repeats, ways)


def on_a_cpu(only: str | None, repeats: int, ways: Sequence[str], dtype: str) -> None:
    device = torch.device("cpu")
    if only in (None, "bundled"):
        compare("the bundled model, float32", *bundled(device), 4 * repeats, ways)
    if only in (None, "maps"):
        word_maps()
    if only in (None, "135m"):
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        title = "SmolLM2-135M's shape, float32, one thread"
        compare(title, *smollm2_135m(), repeats, ways)
        torch.set_num_threads(threads)
    if only in (None, "2b"):
        wanted = ["float32"] if dtype == "auto" else [dtype]
        if dtype == "auto" and computes_bfloat16():
            wanted.append("bfloat16")
        for name in wanted:
            title = f"Qwen2-VL-2B's shape, {name}"
            compare(title, *qwen2_vl_2b(getattr(torch, name), device), repeats, ways)
            gc.collect()


def machine() -> str:
    """The machine and torch, in a line."""
    threads = f"{torch.get_num_threads()} threads"
    if torch.cuda.is_available():
        name = torch.cuda.get_device_name()
    else:
        cpu = Path("/proc/cpuinfo")
        lines = cpu.read_text().splitlines() if cpu.exists() else []
        names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
        bfloat16 = "native" if computes_bfloat16() else "emulated"
        name = f"{(names or [platform.processor()])[0]}, {threads}, bfloat16 {bfloat16}, no GPU"
    return f"{name}, torch {torch.__version__}"


def computes_bfloat16() -> bool:
    """Whether the processor computes bfloat16 natively; emulated it is slower than float32."""
    cpu = Path("/proc/cpuinfo")
    flags = cpu.read_text() if cpu.exists() else ""
    return "avx512_bf16" in flags or "amx_bf16" in flags


def compare(
    title: str, model: Any, inputs: Mapping[str, Any], repeats: int, wanted: Sequence[str]
) -> None:
    """Measure the ways whose names begin as wanted, in turn, and print what they took."""
    device = next(model.parameters()).device
    lens = Lens(model)
    model.generation_config.eos_token_id = None  # so that answers are as long as they may be
    learning = measure(device, lambda: lens.learn(inputs))[0]
    inputs = {
        key: value.to(device) if isinstance(value, Tensor) else value
        for key, value in inputs.items()
    }
    emissions: list[float] = []
    takes_kept = "logits_to_keep" in inspect.signature(model.forward).parameters
    settings: dict[str, Any] = {"use_cache": False, **({"logits_to_keep": 1} if takes_kept else {})}

    def bare() -> None:
        with torch.inference_mode():
            model(**inputs, **settings)

    def streamed(everywhere: bool) -> Way:
        def way() -> None:
            emissions.clear()
            began = time.perf_counter()
            started = lens.start(inputs, wanted=[Wanted((TRACKED,))], everywhere=everywhere)
            emissions.extend(time.perf_counter() - began for _ in started)
            assert started.results[0].proof.passed
            started.keep()
            if everywhere:
                assert not isinstance(started.keep_everywhere(), str)

        return way

    def grid(top: int) -> Way:
        return lambda: lens.grid(inputs, top=top).probability.sum()

    new = min(NEW, after_the_picture(inputs["input_ids"][0]))
    begins = inputs["input_ids"].shape[1] - new

    def asked(first: int | None) -> Made:
        """Ask the prompt with other tokens at its end; as it is, and cold, with None."""
        ended = dict(inputs)
        if first is None:
            lens.reuse.drop()
        else:
            ids = ended["input_ids"].clone()
            ids[0, begins:] = torch.arange(first, first + new)
            ended["input_ids"] = ids
        started = lens.start(ended, wanted=[Wanted((TRACKED,))], everywhere=True, reuse_from=begins)
        for _ in started:
            pass
        assert started.results[0].proof.passed
        started.keep()
        return started.results[0].made

    def gone_on() -> None:
        made = asked(300)
        assert made.prefix == begins, made

    if any("second question".startswith(beginning) for beginning in wanted):
        asked(None)
        asked(200)  # proves that it can be gone on from
        print(f"  {lens.reuse.nbytes / 2**20:.1f} MiB are kept for a second question")

    all_ways: dict[str, Way] = {
        "bare": bare,
        "stream": streamed(everywhere=False),
        "stream, everywhere": streamed(everywhere=True),
        "first question": lambda: asked(None),
        "second question": gone_on,
        "naive": naive(lens, inputs),
        "grid, top 1": grid(1),
        f"grid, top {TOP}": grid(TOP),
        "attention": lambda: lens.attention(inputs),
        GENERATED: lambda: model.generate(
            **inputs, max_new_tokens=NEW_TOKENS, do_sample=False, num_beams=1
        ),
        ALONG: lambda: list(lens.answer(inputs, NEW_TOKENS)),
    }
    if find_spec("nnsight") is not None:
        # A copy: its hooks stay on the modules of a model, whose head is then read whole.
        wrapped = copy.deepcopy(model)
        all_ways["nnsight, last position"] = by_nnsight(wrapped, inputs, slice(-1, None))
        all_ways["nnsight, all positions"] = by_nnsight(wrapped, inputs, slice(None))
    ways = {
        name: way
        for name, way in all_ways.items()
        if name == "bare" or any(name.startswith(beginning) for beginning in wanted)
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    peaks: dict[str, list[float]] = {name: [] for name in ways}
    held = bare_seconds = 0.0
    for turn in range(repeats + 1):
        for name, way in ways.items():
            once = name == "naive" or ("grid" in name and bare_seconds > LONG)
            if once and turn != 1:
                continue
            try:
                taken, peak, held = measure(device, way)
            except Exception as error:  # another library's interface may have changed
                print(f"  {name}: {type(error).__name__}: {error}")
                seconds[name] = peaks[name] = [float("nan")]
                continue
            bare_seconds = taken if name == "bare" else bare_seconds
            if turn:
                seconds[name].append(taken)
                peaks[name].append(peak)
    print(
        f"\n{title}, {inputs['input_ids'].shape[1]} tokens, {device}; learned in {learning:.2f} s"
    )
    base, least = statistics.median(seconds["bare"]), statistics.median(peaks["bare"])
    for name in ways:
        middle, peak = statistics.median(seconds[name]), statistics.median(peaks[name])
        low, high = min(seconds[name]) / base, max(seconds[name]) / base
        print(
            f"  {name:23} {middle:8.4f} s  {middle / base:6.2f} x bare ({low:.2f} to {high:.2f})"
            f"  peak {peak - least:+8.1f} MiB, whole {(held + peak) / (held + least):.3f} x"
        )
    if ALONG in ways:
        pairs = zip(seconds[ALONG], seconds[GENERATED], strict=True)
        print(f"  with the lens: {statistics.median(a / b for a, b in pairs):.2f} x `generate`")
    if emissions:
        spread = ", ".join(f"{1000 * moment:.0f}" for moment in emissions)
        print(f"  {len(emissions)} emissions of rows, after (ms): {spread}")


def after_the_picture(ids: Tensor) -> int:
    """How many tokens follow the last one of the most frequent kind."""
    return len(ids) - 1 - int((ids == ids.mode().values).nonzero().max())


def naive(lens: Lens, inputs: Mapping[str, Any]) -> Way:
    """What everyone writes first."""

    def way() -> None:
        tail = lens.model_parts.tail
        assert isinstance(tail, ExplicitTail)
        with torch.no_grad():
            output = lens.model(**inputs, use_cache=False, output_hidden_states=True)
            for state in output.hidden_states:
                normed = state
                for step in tail.steps:
                    normed = step(normed)
                tail.head(normed).float().softmax(-1).topk(3)

    return way


def measure(device: torch.device, way: Callable[[], object]) -> tuple[float, float, float]:
    """Seconds, peak MiB above what was held before, and what was held before."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        held = torch.cuda.memory_allocated() / 2**20
    else:
        Path("/proc/self/clear_refs").write_text("5")
        held = resident("VmRSS")
    began = time.perf_counter()
    way()
    if device.type == "cuda":
        torch.cuda.synchronize()
    taken = time.perf_counter() - began
    peak = torch.cuda.max_memory_allocated() / 2**20 if device.type == "cuda" else resident("VmHWM")
    return taken, peak - held, held


def resident(field: str) -> float:
    """A field of /proc/self/status in MiB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) / 1024
    raise LookupError(field)


def word_maps(rows: int = 33, positions: int = 620) -> None:
    """What the map of a word costs at LLaVA-1.5-7B's size, once a grid has been filled.

    The model is as wide and knows as many words, but its layers are thin, and random numbers stand
    for its grid.
    """
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        hidden_size=4096,
        intermediate_size=64,
        num_hidden_layers=rows - 1,
        num_attention_heads=1,
        num_key_value_heads=1,
        head_dim=64,
        vocab_size=32064,
    )
    model = LlamaForCausalLM(config).eval()
    lens = Lens(model)
    ids = torch.randint(0, 32000, (1, 16))
    streams = lens.streams({"input_ids": ids, "attention_mask": torch.ones_like(ids)})
    own = torch.randn(positions, 32064)
    fill = GridFill(replace(streams, positions=tuple(range(positions)), own=own))
    none = torch.zeros(positions)
    for row in range(rows):
        fill.rows[row] = GridRow(none[:, None], none[:, None], none, none, none, None)
        if row < rows - 1:
            hidden = torch.randn(positions, 4096)
            fill._keep(row, HeadColumns(hidden, model.lm_head, lens.model_parts.tail.logit_map))  # type: ignore[attr-defined]
    for count in (1, 8):
        seconds = []
        for _ in range(5):
            began = time.perf_counter()
            finished(probabilities_of(fill, range(rows), [range(100, 100 + count)]))
            seconds.append(time.perf_counter() - began)
        print(
            f"  a map of {count} token{'s' * (count > 1)} at LLaVA-1.5-7B's size, float32, "
            f"{torch.get_num_threads()} threads: {statistics.median(seconds):.3f} s"
        )


def by_nnsight(model: Any, inputs: Mapping[str, Any], positions: slice) -> Way:
    """The same numbers by one nnsight trace."""
    nnsight: Any = import_module("nnsight")

    wrapped = nnsight.NNsight(model)
    text = model.model.language_model if hasattr(model.model, "language_model") else model.model
    inner = (
        wrapped.model.language_model if hasattr(model.model, "language_model") else wrapped.model
    )
    norm, head = text.norm, model.lm_head
    count = len(text.layers)

    def way() -> None:
        found: list[Any] = []
        with wrapped.trace(**inputs, use_cache=False):
            kept: Any = list()  # noqa: C408 (its trace reads this source)
            kept = kept.save()
            for index in range(count):
                output = inner.layers[index].output
                hidden = output[0] if isinstance(output, tuple) else output
                logits = head(norm(hidden[:, positions])).float()
                log_p = logits.log_softmax(-1)
                top = logits.topk(TOP)
                kept.append(
                    (
                        top.values.cpu(),
                        top.indices.cpu(),
                        logits.logsumexp(-1).cpu(),
                        -(log_p.exp() * log_p).sum(-1).cpu(),
                    )
                )
        found.extend(kept)
        assert len(found) == count

    return way


if __name__ == "__main__":
    main()
