"""What a grid costs beside a bare pass, and beside nnsight computing the same numbers.

    python -m tests.grid_benchmark               SmolLM2-135M's shape, one thread; on a GPU also
                                                 LLaVA-1.5-7B's and Qwen2-VL-2B's
    python -m tests.grid_benchmark --repeats 3

Architectures with random weights. The ways take turns (A B A B ...); ratios are of medians. Bare =
`model(**inputs, use_cache=False)` without gradients. nnsight, if it is installed: one trace, the
model's own norm and head after every layer at all positions, float32, top 5, logsumexp and entropy,
results in main memory. `python -m tests.benchmark` runs this too.
"""

from __future__ import annotations

import argparse
import copy
import gc
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

from engine import Lens
from engine.anatomy.columns import HeadColumns
from engine.lens.grid import GridFill, GridRow, probabilities_of
from engine.system.steps import finished
from tests.benchmark import measure, qwen2_vl_2b

POSITIONS = 512
TOP = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--slow", action="store_true", help="also Lens.logits, once")
    options = parser.parse_args()
    compare_all(options.repeats, slow=options.slow)


def compare_all(repeats: int, *, slow: bool = False) -> None:
    """Measure every architecture that this machine can."""
    if not torch.cuda.is_available():
        word_maps()
        torch.set_num_threads(1)
        model, inputs = smollm2_135m()
        compare("SmolLM2-135M's shape, float32, one thread", model, inputs, repeats, slow)
        return
    device = torch.device("cuda")
    print(torch.cuda.get_device_name(), torch.__version__)
    for title, make in (
        ("LLaVA-1.5-7B's shape, bfloat16", lambda: llava_7b(device)),
        ("Qwen2-VL-2B's shape, bfloat16", lambda: qwen2_vl_2b(torch.bfloat16, device)),
    ):
        model, inputs = make()
        compare(title, model, inputs, 5 * repeats, slow)
        del model, inputs
        gc.collect()
        torch.cuda.empty_cache()


def smollm2_135m() -> tuple[Any, dict[str, Tensor]]:
    """The architecture of HuggingFaceTB/SmolLM2-135M with random weights, and a prompt for it."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        hidden_size=576,
        intermediate_size=1536,
        num_hidden_layers=30,
        num_attention_heads=9,
        num_key_value_heads=3,
        vocab_size=49152,
        tie_word_embeddings=True,
    )
    torch.manual_seed(0)
    model = LlamaForCausalLM(config).eval()
    ids = torch.randint(100, 49000, (1, POSITIONS))
    return model, {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


def llava_7b(device: torch.device) -> tuple[Any, dict[str, Tensor]]:
    """The architecture of llava-hf/llava-1.5-7b-hf with random weights, and inputs for it."""
    from transformers import LlavaConfig, LlavaForConditionalGeneration

    config = LlavaConfig(
        text_config={"model_type": "llama", "vocab_size": 32064},
        vision_config={
            "model_type": "clip_vision_model",
            "hidden_size": 1024,
            "intermediate_size": 4096,
            "num_hidden_layers": 24,
            "num_attention_heads": 16,
            "image_size": 336,
            "patch_size": 14,
            "projection_dim": 768,
        },
        image_token_id=32000,
    )
    torch.manual_seed(0)
    with torch.device(device):
        model = LlavaForConditionalGeneration._from_config(config, dtype=torch.bfloat16)
    ids = [1, 3148, 1001, 29901, *[32000] * 576, *range(200, 215)]
    pixels = torch.randn(1, 3, 336, 336, device=device, dtype=torch.bfloat16)
    tensor = torch.tensor([ids], device=device)
    return model.eval(), {
        "input_ids": tensor,
        "attention_mask": torch.ones_like(tensor),
        "pixel_values": pixels,
    }


def compare(title: str, model: Any, inputs: dict[str, Tensor], repeats: int, slow: bool) -> None:
    """Measure all ways in turn, and print medians, ratios, spreads and peaks of memory."""
    device = next(model.parameters()).device
    lens = Lens(model)
    lens.learn(inputs)
    grids: list[Any] = []

    def bare() -> None:
        with torch.inference_mode():
            model(**inputs, use_cache=False)

    def streamed() -> None:
        started = lens.start(inputs)
        for _ in started:
            pass

    def grid(top: int) -> Callable[[], None]:
        def way() -> None:
            grids[:] = [lens.grid(inputs, top=top)]
            grids[0].probability.sum()
            grids.clear()

        return way

    def whole_logits() -> None:
        lens.logits(inputs, range(inputs["input_ids"].shape[1]))

    ways: dict[str, Callable[[], None]] = {
        "bare": bare,
        "stream, last position": streamed,
        "grid, top 1": grid(1),
        f"grid, top {TOP}": grid(TOP),
    }
    if find_spec("nnsight") is not None:
        # A copy: its hooks stay on the modules of a model, whose head is then read whole.
        ways["nnsight, all positions"] = by_nnsight(copy.deepcopy(model), inputs)
    if slow:
        ways["Lens.logits, all positions"] = whole_logits
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    peaks: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(repeats + 1):
        for name, way in ways.items():
            if name.startswith("Lens.logits") and turn != 1:
                continue
            try:
                taken, peak, _ = measure(device, way)
            except Exception as error:  # another library's interface may have changed
                print(f"  {name}: {type(error).__name__}: {error}")
                seconds[name] = peaks[name] = [float("nan")]
                continue
            if turn:
                seconds[name].append(taken)
                peaks[name].append(peak)
    length = inputs["input_ids"].shape[1]
    print(f"\n{title}, {length} positions, {device}")
    base, held = statistics.median(seconds["bare"]), statistics.median(peaks["bare"])
    for name in ways:
        middle, peak = statistics.median(seconds[name]), statistics.median(peaks[name])
        low, high = min(seconds[name]), max(seconds[name])
        print(
            f"  {name:27} {middle:8.4f} s ({low:.4f} to {high:.4f})  {middle / base:6.2f} x bare"
            f"  peak {(peak - held) / 1024:+.2f} GiB"
        )
    whole = lens.grid(inputs)
    for count in (1, 8):
        began = time.perf_counter()
        whole.word(range(100, 100 + count))
        print(f"  a map of {count} token{'s' * (count > 1)}: {time.perf_counter() - began:.4f} s")
    print(f"  proof: {whole.proof.error:.3g} (tolerance {whole.proof.tolerance:.3g})")


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
            fill._keep(row, HeadColumns(hidden, model.lm_head, lens.parts.tail.logit_map))  # type: ignore[attr-defined]
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


def by_nnsight(model: Any, inputs: dict[str, Tensor]) -> Callable[[], None]:
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
                logits = head(norm(hidden)).float()
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
