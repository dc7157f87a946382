"""Which token every pixel value feeds, in tiny models of many families."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import torch

from engine import Lens
from engine.anatomy.patches import NOTHING, SEVERAL, PatchRelation
from engine.errors import Cancelled
from engine.lens.picture_patches import token_relation
from tests.conftest import hooks_of
from tests.families import FAMILIES, Tiny

SHARED = {
    "got_ocr2", "pp_chart2table", "unlimited_ocr", "step3p7",  # convolutions overlap
    "gemma3n",  # a tower of convolutions only
    "aria", "kosmos-2", "kosmos-2.5",  # learned queries read all patches
}  # fmt: skip
WHOLE = {"blip-2", "instructblip", "instructblipvideo", "idefics2", "deepseek_ocr2"}
"""What reads the patches is itself made of layers: without them nothing arrives."""
CODES = {"chameleon", "emu3"}
ABSENT = {
    # encoders and decoders
    "bart", "blip-2-t5", "florence2", "pix2struct", "pp_formulanet", "t5", "t5gemma2", "udop",
    "vision-encoder-decoder", "vision-encoder-decoder-bert", "diffusion_gemma",
    # cross-attention
    "blip", "evolla", "idefics", "mllama",
    # text alone
    "gemma2", "gemma3n_text", "llama", "mistral4", "qwen3", "qwen3_moe",
}  # fmt: skip
REFUSED = {"pi0"}


def relation_of(tiny: Tiny) -> PatchRelation:
    return token_relation(Lens(tiny.model), tiny.inputs)


def assert_feed(numbers: torch.Tensor | None, expected: torch.Tensor) -> None:
    """All values feed the expected tokens, but for the few whose gradient is nearly 0."""
    assert numbers is not None
    decided = numbers != SEVERAL
    assert decided.float().mean() > 0.99
    assert torch.equal(numbers[decided].long(), expected.expand_as(numbers)[decided])


def cells(first: int, rows: int, columns: int, side: int) -> torch.Tensor:
    grid = first + torch.arange(rows * columns).view(rows, columns)
    return grid.repeat_interleave(side, 0).repeat_interleave(side, 1)


def test_a_row_of_patches_after_another() -> None:
    found = relation_of(FAMILIES["llava"]())
    assert (found.kind, found.name, found.length) == ("single", "pixel_values", 14)
    assert found.followers == tuple(range(1, 10))
    assert_feed(found.numbers, cells(1, 3, 3, 4))
    assert found.share == pytest.approx(1.0)
    assert (found.mistaken, found.tried) == (0, 14)


def test_tiles_whose_patches_are_merged_two_by_two() -> None:
    found = relation_of(FAMILIES["internvl"]())
    expected = torch.stack([cells(1 + 4 * tile, 2, 2, 8) for tile in range(3)])
    assert_feed(found.numbers, expected[:, None])


def test_unpadded_tiles_with_tokens_between_their_rows() -> None:
    """A picture of 16 x 24 pixels in four tiles of 12: three rows of patches are padding."""
    found = relation_of(FAMILIES["llava_next"]())
    newlines = {10 + 7 * row + 6 for row in range(4)}
    assert newlines.isdisjoint(found.followers)
    padding = torch.full((4, 24), NOTHING)
    rows = [cells(10 + 7 * row, 1, 6, 4) for row in range(4)]
    canvas = torch.cat([padding, *rows, padding])  # 24 x 24
    tiles = [canvas[y : y + 12, x : x + 12] for y in (0, 12) for x in (0, 12)]
    assert_feed(found.numbers, torch.stack([cells(1, 3, 3, 4), *tiles])[:, None])


@pytest.mark.parametrize("name", ["qwen2_vl", "qwen2_5_vl"])
def test_patches_that_are_a_list_in_blocks_of_four(name: str) -> None:
    """4 x 6 patches; windows of Qwen 2.5 are put back into this order."""
    found = relation_of(FAMILIES[name]())
    assert_feed(found.numbers, (found.followers[0] + torch.arange(24) // 4)[:, None])


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("got_ocr2", "shared"),
        ("blip-2", "whole"),
        ("chameleon", "codes"),
        ("mllama", "absent"),
        ("idefics", "absent"),
        ("florence2", "absent"),
        ("llama", "absent"),
    ],
)
def test_what_is_not_exact_says_how(name: str, kind: str) -> None:
    found = relation_of(FAMILIES[name]())
    assert found.kind == kind
    assert bool(found.followers) == (kind != "absent")
    assert (found.numbers is not None) == (kind == "shared")


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("name", ["llava", "llava_onevision", "qwen2_vl"])
def test_in_16_bits(name: str, dtype: torch.dtype) -> None:
    tiny = FAMILIES[name]()
    sharp = relation_of(tiny)
    tiny.model.to(dtype)
    inputs = {
        key: value.to(dtype) if value.is_floating_point() else value
        for key, value in tiny.inputs.items()
    }
    found = token_relation(Lens(tiny.model), inputs)
    assert (found.kind, found.followers, found.mistaken) == ("single", sharp.followers, 0)
    assert found.numbers is not None and sharp.numbers is not None
    known = found.numbers >= 0
    assert known[sharp.numbers >= 0].float().mean() > 0.8
    assert (found.numbers[known] == sharp.numbers[known]).float().mean() > 0.995


def _state(model: Any) -> list[Any]:
    modules = [(module.training, "forward" in module.__dict__) for module in model.modules()]
    weights = [(each.requires_grad, each._version, each.grad) for each in model.parameters()]
    return [modules, weights, hooks_of(model)]


@pytest.mark.parametrize("name", ["llava", "got_ocr2", "blip-2"])
def test_the_model_is_left_as_it_was(name: str) -> None:
    tiny = FAMILIES[name]()
    lens = Lens(tiny.model)
    lens.learn(tiny.inputs)
    tiny.model.train()
    next(tiny.model.parameters()).requires_grad_(False)
    pixels = tiny.inputs["pixel_values"].clone()
    before = _state(tiny.model)
    token_relation(lens, tiny.inputs)
    assert _state(tiny.model) == before
    assert torch.equal(tiny.inputs["pixel_values"], pixels)
    assert not tiny.inputs["pixel_values"].requires_grad


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_whatever_the_callers_gradient_mode(mode: Any) -> None:
    tiny = FAMILIES["llava"]()
    with mode():
        assert relation_of(tiny).kind == "single"
        assert not torch.is_grad_enabled()


@pytest.mark.parametrize("name", ["llava", "got_ocr2", "mllama"])
def test_it_can_be_cancelled_at_every_step(name: str) -> None:
    tiny = FAMILIES[name]()
    lens = Lens(tiny.model)
    lens.learn(tiny.inputs)
    before = _state(tiny.model)
    calls = 0

    def stop_after(most: int) -> Any:
        def stop() -> bool:
            nonlocal calls
            calls += 1
            return calls > most

        return stop

    token_relation(lens, tiny.inputs, stop_after(10**6))
    asked = calls
    assert asked > 5
    for most in sorted({0, 1, asked // 3, asked // 2, asked - 1}):
        calls = 0
        with pytest.raises(Cancelled):
            token_relation(lens, tiny.inputs, stop_after(most))
        assert calls == most + 1
        assert _state(tiny.model) == before


def test_two_threads_ask_about_one_model() -> None:
    tiny = FAMILIES["llava"]()
    lens = Lens(tiny.model)
    found: list[PatchRelation] = []
    rows: list[torch.Tensor] = []
    expected = lens.logits(tiny.inputs)
    threads = [
        threading.Thread(target=lambda: found.append(token_relation(lens, tiny.inputs)))
        for _ in range(2)
    ]
    threads.append(threading.Thread(target=lambda: rows.append(lens.logits(tiny.inputs))))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert [each.kind for each in found] == ["single", "single"]
    assert torch.equal(rows[0], expected)
    assert hooks_of(tiny.model) == 0


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(FAMILIES.keys() - REFUSED))
def test_every_family(name: str) -> None:
    """69 of the 78 families whose pixels have a gradient are exact, all others by name."""
    found = relation_of(FAMILIES[name]())
    others = {"shared": SHARED, "whole": WHOLE, "codes": CODES, "absent": ABSENT}
    kind = next((kind for kind, names in others.items() if name in names), "single")
    assert found.kind == kind
    if kind == "single":
        assert found.share > 0.999
        assert found.mistaken == 0


def test_how_many_families_are_exact() -> None:
    assert len(FAMILIES.keys() - SHARED - WHOLE - CODES - ABSENT - REFUSED) == 69
