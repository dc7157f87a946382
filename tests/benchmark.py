"""What the lens costs: bare forward, streamed lens, and the naive way, side by side.

    python -m tests.benchmark                  the bundled model, then Qwen2-VL-2B's architecture
    python -m tests.benchmark --only bundled   seconds instead of minutes
    python -m tests.benchmark --only grid      a grid beside a bare pass (tests/grid_benchmark.py)

Qwen2-VL-2B: the real configuration with random weights (2.2 billion parameters) and a 448x448
picture, bfloat16 where the processor computes it natively, else float32. The ways take turns
(A B A B ...), so drift of the machine falls on both alike; ratios are of medians. Peak memory
is the resident set's high-water mark above what is resident with the model loaded (on a GPU: of
allocated memory). Naive = `output_hidden_states=True`, then norm and head on every row and
position.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

import samples
from engine import Lens, load
from engine.anatomy.explicit import ExplicitTail
from engine.prompts.preparing import prepare
from engine.records import Question

PICTURE_SIDE = 448
PATCH, MERGE = 14, 2
IMAGE_ID, START_ID, END_ID = 151655, 151652, 151653


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=("bundled", "2b", "grid"))
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--dtype", choices=("auto", "bfloat16", "float32"), default="auto")
    options = parser.parse_args()
    devices = [torch.device("cpu")]
    if torch.cuda.is_available():
        devices.append(torch.device("cuda"))
    else:
        print("no GPU here: CPU only")
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads")
    for device in devices:
        if options.only not in ("2b", "grid"):
            loaded = load(samples.MODEL, device=str(device))
            inputs = bundled_inputs(loaded.model, loaded.processor)
            compare(f"bundled model, {device}", loaded.model, inputs, 4 * options.repeats)
        if options.only not in ("bundled", "grid"):
            dtype = native_dtype(device) if options.dtype == "auto" else options.dtype
            model, inputs = qwen2_vl_2b(getattr(torch, dtype), device)
            compare(f"Qwen2-VL-2B architecture, {dtype}, {device}", model, inputs, options.repeats)
            del model
            gc.collect()
    if options.only in (None, "grid"):
        from tests.grid_benchmark import compare_all

        compare_all(options.repeats)


def native_dtype(device: torch.device) -> str:
    """bfloat16 where it is computed natively; emulated it is many times slower than float32."""
    if device.type == "cuda":
        return "bfloat16"
    cpu = Path("/proc/cpuinfo")
    flags = cpu.read_text() if cpu.exists() else ""
    return "bfloat16" if "avx512_bf16" in flags or "amx_bf16" in flags else "float32"


def bundled_inputs(model: Any, processor: Any) -> dict[str, Any]:
    from engine.pictures.opening import open_picture

    picture = open_picture(samples.DEFAULT_PICTURE)
    question = Question(prompt="Color of the main object:", picture=picture.record)
    return prepare(model, processor, question, picture.image).inputs


def qwen2_vl_2b(dtype: torch.dtype, device: torch.device) -> tuple[Any, dict[str, Any]]:
    """The architecture of Qwen/Qwen2-VL-2B-Instruct with random weights, and inputs for it."""
    from transformers import Qwen2VLConfig, Qwen2VLForConditionalGeneration

    config = Qwen2VLConfig(
        text_config={
            "vocab_size": 151936,
            "hidden_size": 1536,
            "intermediate_size": 8960,
            "num_hidden_layers": 28,
            "num_attention_heads": 12,
            "num_key_value_heads": 2,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 1e6,
                "mrope_section": [16, 24, 24],
            },
        },
        vision_config={
            "depth": 32,
            "embed_dim": 1280,
            "hidden_size": 1536,
            "num_heads": 16,
            "mlp_ratio": 4,
            "patch_size": PATCH,
            "spatial_merge_size": MERGE,
            "temporal_patch_size": 2,
        },
        image_token_id=IMAGE_ID,
        vision_start_token_id=START_ID,
        vision_end_token_id=END_ID,
        tie_word_embeddings=True,
    )
    with torch.device("meta"):
        model = Qwen2VLForConditionalGeneration._from_config(config, dtype=dtype)
    model = model.to_empty(device=device)
    generator = torch.Generator(device).manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0.0, 0.02, generator=generator)
        for name, module in model.named_modules():
            if "norm" in name and getattr(module, "weight", None) is not None:
                module.weight.fill_(1.0).add_(
                    torch.randn(module.weight.shape, device=device, generator=generator), alpha=0.1
                )
    restore_buffers(model, config, device)
    side = PICTURE_SIDE // PATCH
    images = (side // MERGE) ** 2
    ids = [*range(100, 115), START_ID, *[IMAGE_ID] * images, END_ID, *range(200, 215)]
    types = [int(token == IMAGE_ID) for token in ids]
    inputs = {
        "input_ids": torch.tensor([ids], device=device),
        "attention_mask": torch.ones(1, len(ids), dtype=torch.long, device=device),
        "pixel_values": torch.randn(
            side * side, 3 * 2 * PATCH * PATCH, device=device, generator=generator
        ).to(dtype),
        "image_grid_thw": torch.tensor([[1, side, side]], device=device),
        "mm_token_type_ids": torch.tensor([types], device=device),
    }
    return model.eval(), inputs


def restore_buffers(model: Any, config: Any, device: torch.device) -> None:
    """Rotary frequencies are buffers: on the meta device they were never computed."""
    from transformers import Qwen2VLForConditionalGeneration

    small = type(config)(**config.to_dict())
    small.text_config.num_hidden_layers = 1
    small.text_config.vocab_size = 8
    small.vision_config.depth = 1
    for settings in (small.text_config,):
        settings.pad_token_id = None
    truth = dict(Qwen2VLForConditionalGeneration(small).named_buffers())
    for name, buffer in model.named_buffers():
        buffer.data.copy_(truth[name].to(device))


def compare(title: str, model: Any, inputs: dict[str, Any], repeats: int) -> None:
    device = next(model.parameters()).device
    lens = Lens(model)
    learning = measure(device, lambda: lens.learn(inputs))[0]
    emissions: list[float] = []

    def bare() -> None:
        with torch.no_grad():
            model(**{k: v.to(device) for k, v in inputs.items()}, use_cache=False)

    def streamed() -> None:
        emissions.clear()
        began = time.perf_counter()
        started = lens.start(inputs)
        emissions.extend(time.perf_counter() - began for _ in started)
        assert started.results[0].proof.passed

    def naive() -> None:
        tail = lens.parts.tail
        assert isinstance(tail, ExplicitTail)
        with torch.no_grad():
            moved = {k: v.to(device) for k, v in inputs.items()}
            output = model(**moved, use_cache=False, output_hidden_states=True)
            for state in output.hidden_states:
                normed = state
                for step in tail.steps:
                    normed = step(normed)
                tail.head(normed).float().softmax(-1).topk(3)

    ways: dict[str, Callable[[], None]] = {"bare": bare, "lens": streamed, "naive": naive}
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    memory: dict[str, list[float]] = {name: [] for name in ways}
    total = 0.0
    for turn in range(repeats + 1):
        for name, way in ways.items():
            if name == "naive" and turn != 1:
                continue  # once is enough to see by how much
            taken, peak, total = measure(device, way)
            if turn:
                seconds[name].append(taken)
                memory[name].append(peak)
    print(f"\n{title}")
    print(f"  learning the anatomy {learning:.2f} s (once, when the model is loaded)")
    base, base_memory = statistics.median(seconds["bare"]), statistics.median(memory["bare"])
    for name in ways:
        middle, peak = statistics.median(seconds[name]), statistics.median(memory[name])
        print(
            f"  {name:6} {middle:8.3f} s  {middle / base:5.2f} x bare"
            f"   peak {peak:7.1f} MiB above the model ({peak - base_memory:+.1f}),"
            f" whole {(total + peak) / (total + base_memory):.3f} x bare"
        )
    spread = ", ".join(f"{moment:.2f}" for moment in emissions)
    print(f"  {len(emissions)} emissions of rows, after (s): {spread}")


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


if __name__ == "__main__":
    main()
