"""Several items in one pass: what can be batched, how it is collated, and that no row changes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from engine import Lens
from engine.errors import Cancelled
from engine.passes.collating import batch_key, bytes_of_item, collate, length_of, most_at_once
from tests.families import FAMILIES
from tests.families.parts import Tiny

QUICK = ("llama", "llava", "qwen2_vl", "gemma3", "blip-2", "idefics3", "mllama", "paligemma")
ALONE = {
    # Padded, rows change (attention to both sides, a pooled vision part, a state) or nothing fits.
    "diffusion_gemma", "glm5_next", "molmo2",
    "minicpm_ocr", "minicpmv4_6", "minicpmv4_7",
    # No mask says what is padding, or the picture's own tokens are laid along the text's.
    "idefics", "mllama", "pp_formulanet", "vision-encoder-decoder", "vision-encoder-decoder-bert",
    # Read by running the model again.
    "gemma3n", "gemma3n_text",
}  # fmt: skip
"""Names of families whose batches are refused: they are asked one item at a time."""
NO_TEXT = {"pix2struct", "kosmos-2.5", "udop", "pi0"}
"""Their sequences cannot be made longer here, or they have no vocabulary."""


def item(length: int, patches: int = 4) -> dict[str, Any]:
    return {
        "input_ids": torch.arange(5, 5 + length).unsqueeze(0),
        "attention_mask": torch.ones(1, length, dtype=torch.int64),
        "mm_token_type_ids": torch.zeros(1, length, dtype=torch.int64),
        "pixel_values": torch.randn(patches, 6),
        "image_grid_thw": torch.tensor([[1, 2, patches // 2]]),
        "use_cache": False,
    }


@given(st.lists(st.integers(4, 9), min_size=1, max_size=5), st.integers(0, 3))
def test_every_item_is_laid_out_from_the_left(lengths: list[int], pad_id: int) -> None:
    items = [item(length, patches=2 * length) for length in lengths]
    together = collate(items, pad_id)
    longest = max(lengths)
    assert together["input_ids"].shape == (len(items), longest)
    assert together["pixel_values"].shape == (2 * sum(lengths), 6)
    assert together["image_grid_thw"].shape == (len(items), 3)
    assert together["use_cache"] is False
    for row, one in zip(range(len(items)), items, strict=True):
        own = length_of(one)
        assert torch.equal(together["input_ids"][row, :own], one["input_ids"][0])
        assert (together["input_ids"][row, own:] == pad_id).all()
        assert together["attention_mask"][row].tolist() == [1] * own + [0] * (longest - own)


def test_what_cannot_go_together() -> None:
    one = item(5)
    assert batch_key(one) == batch_key(item(7))
    assert batch_key(one, padded=False) != batch_key(item(7), padded=False)
    assert batch_key(one, padded=False) == batch_key(item(5), padded=False)
    others: list[dict[str, Any]] = [
        {**one, "pixel_values": torch.randn(4, 7)},
        {**one, "pixel_values": torch.randn(4, 6).half()},
        {**one, "use_cache": True},
        {**one, "sizes": [[3, 4]]},
        {name: value for name, value in one.items() if name != "pixel_values"},
    ]
    for other in others:
        assert batch_key(one) != batch_key(other)
        with pytest.raises(ValueError, match="cannot be collated"):
            collate([one, other])
    # Without a mask nothing would say what is padding.
    bare = [{"input_ids": torch.ones(1, length, dtype=torch.int64)} for length in (3, 4)]
    assert batch_key(bare[0]) != batch_key(bare[1])


def test_memory_bounds_a_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    tiny = FAMILIES["llava"]()
    one = bytes_of_item(tiny.model, tiny.inputs)
    monkeypatch.setattr("engine.passes.collating.free_memory", lambda device: 7 * one)
    assert most_at_once(tiny.model, tiny.inputs, torch.device("cpu")) == 3
    monkeypatch.setattr("engine.passes.collating.free_memory", lambda device: one)
    assert most_at_once(tiny.model, tiny.inputs, torch.device("cpu")) == 1


def longer(inputs: dict[str, Any]) -> dict[str, Any]:
    """The same inputs with two more text tokens at the end, and another picture."""
    ids = inputs["input_ids"] if "input_ids" in inputs else inputs["decoder_input_ids"]
    made = dict(inputs)
    for name, value in inputs.items():
        if not isinstance(value, Tensor):
            continue
        if value.is_floating_point():
            made[name] = value.flip(-1) * 0.5
        elif value.shape == ids.shape:
            made[name] = torch.cat([value, value[:, -1:], value[:, -1:]], 1)
    return made


def check(name: str) -> None:
    tiny: Tiny = FAMILIES[name]()
    lens = Lens(tiny.model)
    items = [tiny.inputs, longer(tiny.inputs)]
    refused = lens.batches.refusal(items)
    assert (refused is not None) == (name in ALONE), refused
    if refused is not None:
        return
    together = lens.logits(lens.collated([*items, *items[::-1]]))[:, :, 0]
    for index, one in enumerate([*items, *items[::-1]]):
        alone = lens.logits(one)[:, 0, 0]
        assert torch.allclose(together[:, index], alone, atol=1e-4), name


@pytest.mark.parametrize("name", QUICK)
def test_rows_in_a_batch_are_those_alone(name: str) -> None:
    check(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(set(FAMILIES) - set(QUICK) - NO_TEXT))
def test_rows_in_a_batch_are_those_alone_in_every_family(name: str) -> None:
    check(name)


def test_the_proof_of_a_batch_is_made_once_and_can_be_stopped() -> None:
    tiny = FAMILIES["llava"]()
    lens = Lens(tiny.model)
    items = [tiny.inputs, tiny.inputs]
    lens.learn(tiny.inputs)
    with pytest.raises(Cancelled):
        lens.batches.refusal(items, stop=lambda: True)
    passes: list[int] = []
    tiny.model.register_forward_pre_hook(lambda *call: passes.append(1))
    assert lens.batches.refusal(items) is None
    assert lens.batches.refusal(items) is None
    assert len(passes) == 3
    passes.clear()
    long = longer(tiny.inputs)
    for pair in ([tiny.inputs, long], [long, tiny.inputs], [tiny.inputs, longer(long)]):
        assert lens.batches.refusal(pair) is None
    assert len(passes) == 6  # once for two tokens of padding, once for four


def rounds_otherwise(output: Tensor) -> Tensor:
    """Changes rows as half precision does in a pass of another shape."""
    return output * 1.1 if len(output) > 1 else output


def rounds_too_much(output: Tensor) -> Tensor:
    return output * -3.0 if len(output) > 1 else output


def sees_the_item_behind_it(output: Tensor) -> Tensor:
    rounded = rounds_otherwise(output)
    return torch.cat([rounded[:-1] + 0.02 * output[1:, 3:4], rounded[-1:]])


def sees_the_item_ahead_of_it(output: Tensor) -> Tensor:
    rounded = rounds_otherwise(output)
    return torch.cat([rounded[:1], rounded[1:] + 0.02 * output[:-1, -1:]])


def sees_padding(output: Tensor) -> Tensor:
    return rounds_otherwise(output) + 0.02 * output.mean(1, keepdim=True)


def shifts_the_padded(output: Tensor) -> Tensor:
    """Changes nothing in a pair of one length, and a little in others: that is not rounding."""
    longest = output.shape[1] == length_of(longer(FAMILIES["llava"]().inputs))
    return output * (1.3 if longest and len(output) > 1 else 1.0)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize(
    "change",
    [
        rounds_otherwise,
        rounds_too_much,
        sees_the_item_behind_it,
        sees_the_item_ahead_of_it,
        sees_padding,
        shifts_the_padded,
    ],
)
def test_half_precision_may_round_a_batch_otherwise_and_nothing_else(
    change: Callable[[Tensor], Tensor], dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny = FAMILIES["llava"]()
    lens = Lens(tiny.model.to(dtype))
    inputs = {
        name: value.to(dtype) if value.is_floating_point() else value
        for name, value in tiny.inputs.items()
    }
    lens.learn(inputs)
    # What the changes do is small, as rounding is; so small is the tolerance then.
    monkeypatch.setattr("engine.lens.batch_proofs.tolerance", lambda dtype, logits: 2.0**-10)
    most = 2**6 if change is rounds_too_much else 2**20
    monkeypatch.setattr("engine.lens.batch_proofs.MOST_ROUNDING", most)
    lens.layers[0].register_forward_hook(lambda module, args, output: change(output))
    items = [inputs, longer(inputs)]
    refused = lens.batches.refusal(items)
    assert refused is not None and "rows differ by" in refused
    may_round = change is rounds_otherwise and dtype == torch.bfloat16
    assert (lens.batches.refusal(items, may_round=True) is None) == may_round
    assert bool(lens.batches.rounding) == may_round
    # More padding is another proof.
    assert (lens.batches.refusal([inputs, longer(items[1])], may_round=True) is None) == may_round
