"""The numbers of a batched pass against the slow way, on random logits and on real classes."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from engine import Lens
from engine.anatomy.explicit import ExplicitTail
from engine.errors import CannotRead
from engine.lens.batched import RowNumbers
from engine.lens.ranking import best_of
from engine.passes.vision_reuse import VisionCache
from engine.sweeps.sizing import LONG, MOST, BatchSize
from tests.families import FAMILIES, Tiny


@given(st.lists(st.integers(0, 9), max_size=4, unique=True))
def test_the_best_spelling_is_the_first_of_the_likeliest(ids: list[int]) -> None:
    logits = torch.tensor([[0.0, 3.0, 1.0, 3.0, -1.0, 2.0, 2.0, 0.5, 3.0, -2.0]])
    filled = torch.tensor([[*sorted(ids), *[-1] * (4 - len(ids))]])
    found = int(best_of(logits, filled)[0])
    if ids:
        assert found == max(sorted(ids), key=lambda token: float(logits[0, token]))
    else:
        assert found == 0


def few_or_all(few: list[str]) -> list[Any]:
    """Families, all but `few` of them slow."""
    return [
        pytest.param(name, marks=() if name in few else pytest.mark.slow)
        for name in sorted(FAMILIES)
        if name != "pi0"  # no vocabulary
    ]


@pytest.mark.parametrize(
    "name", few_or_all(["llava", "qwen2_vl", "gemma3", "blip-2", "llama", "t5"])
)
def test_what_a_batch_gives_is_what_the_lens_gives(name: str) -> None:
    tiny = FAMILIES[name]()
    lens = Lens(tiny.model)
    lens.learn(tiny.inputs)
    if lens.batches.refusal([tiny.inputs, tiny.inputs]) is not None:
        pytest.skip("one item at a time")
    for alone in (False, True):
        if not alone or lens.supports_logits_to_keep(tiny.inputs):
            compare_with_lens(lens, tiny)


LOGITS_AMONG_ALL = {
    "git", "blip",  # the picture's positions are put ahead inside the model
    "florence2", "t5gemma2", "pp_formulanet",  # nothing masks what the decoder is given
    "gemma3n", "gemma3n_text",  # read by running the model again
}  # fmt: skip
"""Families whose forward takes `logits_to_keep`, and which are read among all logits."""


@pytest.mark.parametrize("name", few_or_all(["llava", "qwen2_vl", "gemma3"]))
def test_models_give_the_logits_that_are_read_alone(name: str) -> None:
    tiny = FAMILIES[name]()
    lens = Lens(tiny.model)
    takes = "logits_to_keep" in inspect.signature(tiny.model.forward).parameters
    assert lens.supports_logits_to_keep(tiny.inputs) == (takes and name not in LOGITS_AMONG_ALL)


def test_a_model_that_gives_other_logits_is_read_among_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tiny = FAMILIES["llava"]()
    lens = Lens(tiny.model)
    lens.learn(tiny.inputs)
    own = tiny.model.forward

    def forward(*args: Any, logits_to_keep: Any = 0, **kwargs: Any) -> Any:
        output = own(*args, logits_to_keep=logits_to_keep, **kwargs)
        if isinstance(logits_to_keep, torch.Tensor):
            output.logits = output.logits + 1.0
        return output

    monkeypatch.setattr(tiny.model, "forward", forward)
    assert not lens.supports_logits_to_keep(tiny.inputs)
    compare_with_lens(lens, tiny)


def compare_with_lens(lens: Lens, tiny: Tiny) -> None:
    """Two of the same item in a batch, against the slow way."""
    batch = lens.collated([tiny.inputs, tiny.inputs])
    final = int(lens.logits(tiny.inputs)[-1, 0, 0].argmax())
    # Of another token than the final one, so that their ranks differ.
    truths: list[tuple[int, ...]] = [(3, 5) if final not in (3, 5) else (7, 9), ()]
    try:
        assert isinstance(lens.model_parts.tail, ExplicitTail)
        lens.model_parts.tail.refuse_norm_off()
    except CannotRead:
        norms = [True]
    else:
        norms = [True, False]
    both = lens.read_batch(batch, truths, 5, unnormed=False in norms).items()
    normed, *bare = (lens.logits(tiny.inputs, norm=norm)[:, 0, 0] for norm in norms)
    layers = tiny.layers
    assert both.rms.shape == (2, layers + 1)
    assert bool((both.rms > 0).all())
    assert (both.unnormed is not None) == bool(bare)
    for place, (ids, proof) in enumerate(zip(truths, both.proofs, strict=True)):
        assert proof.passed
        assert proof.method == lens.model_parts.tail.method
        own_rows = RowNumbers(*(column[place] for column in both.rows))
        read = [(own_rows, normed)]
        if both.unnormed is not None:
            unnormed = RowNumbers(*(column[place] for column in both.unnormed))
            read.append((unnormed, bare[0][:-1]))
        for rows, logits in read:
            p = logits.softmax(-1)
            assert torch.allclose(rows.top_logits, logits.topk(5).values, atol=1e-4)
            assert torch.allclose(rows.top_probabilities, p.topk(5).values, atol=1e-5)
            own = logits.gather(1, rows.top_ids.long())
            assert torch.allclose(rows.top_logits, own, atol=1e-4)
            assert torch.allclose(rows.entropy, torch.special.entr(p).sum(-1), atol=1e-4)
            last = normed[-1].log_softmax(-1)
            kl = (p * (p.log() - last)).nan_to_num().sum(-1)
            assert torch.allclose(rows.kl_to_last, kl, atol=1e-4)
            final = int(normed[-1].argmax())
            assert torch.allclose(rows.final_probability, p[:, final], atol=1e-5)
            # As many are ahead of it, but for those that are as likely.
            ahead = (p > p[:, final : final + 1] + 1e-6).sum(-1)
            beside = (p > p[:, final : final + 1] - 1e-6).sum(-1)
            assert ((ahead < rows.final_rank) & (rows.final_rank <= beside)).all()
            if ids:  # the rank of the likeliest spelling
                best = p[:, list(ids)].amax(-1, keepdim=True)
                ahead = (p > best + 1e-6).sum(-1)
                beside = (p > best - 1e-6).sum(-1)
                assert ((ahead < rows.truth_rank) & (rows.truth_rank <= beside)).all()
                assert (rows.truth_rank != rows.final_rank).any()  # so it is of another token
            wanted = p[:, list(ids)].sum(-1) if ids else torch.zeros(len(p))
            assert torch.allclose(rows.truth_probability, wanted, atol=1e-5)
        assert own_rows.final_rank[-1] == 1 and own_rows.kl_to_last[-1] < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(FAMILIES))
def test_a_shared_vision_pass_changes_nothing_in_any_family(name: str) -> None:
    if name == "pi0":
        pytest.skip("no vocabulary")
    tiny = FAMILIES[name]()
    lens = Lens(tiny.model)
    key = "input_ids" if "input_ids" in tiny.inputs else "decoder_input_ids"
    if key not in tiny.inputs:
        pytest.skip("no prompt that could be another")
    other = dict(tiny.inputs)
    ids = tiny.inputs[key].clone()
    ids[:, -2:] = torch.tensor([11, 12])
    other[key] = ids
    lens.learn(tiny.inputs)
    shared = VisionCache(lens.model_parts.before)
    with shared.remembering():
        lens.logits(tiny.inputs)
    with shared.remembering():
        found = lens.logits(other)
    assert torch.equal(found, lens.logits(other))


def test_what_was_changed_in_place_is_no_memory() -> None:
    class Part(torch.nn.Module):
        calls = 0

        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            self.calls += 1
            return pixels * 2

    part = Part()
    shared = VisionCache([part])
    pixels = torch.ones(2, 3)
    with shared.remembering():
        first = part(pixels)
    with shared.remembering():
        again = part(pixels.clone())
    assert part.calls == 1 and shared.hits == 1 and torch.equal(first, again)
    again += 1  # whoever asked has changed what it was given
    with shared.remembering():
        assert torch.equal(part(pixels), torch.full((2, 3), 2.0))
    assert part.calls == 2 and shared.hits == 0
    with shared.remembering():
        part(pixels + 1)
    assert part.calls == 3
    shared.forget()
    with shared.remembering():
        part(pixels + 1)
    assert part.calls == 4


def test_a_batch_grows_shrinks_and_grows_again() -> None:
    size = BatchSize()
    seen = [size.now]
    for _ in range(6):
        size.went_well(size.now, 0.1)
        seen.append(size.now)
    assert seen[0] < seen[1] and seen[-1] == MOST
    size.ran_out(64)
    assert size.now == 32
    size.ran_out(32)
    assert size.now == 16
    for _ in range(4):
        size.went_well(16, 0.1)
    assert size.now == 16  # not at once
    for _ in range(40):
        size.went_well(size.now, 0.1)
    assert size.now > 16
    for _ in range(9):
        size.ran_out(size.now)
    assert size.now == 1
    fixed = BatchSize(6)
    fixed.went_well(6, 0.1)
    assert fixed.now == 6
    fixed.ran_out(6)
    assert fixed.now == 3
    assert BatchSize(None, most=2).now == 2


def test_passes_that_take_long_grow_no_further() -> None:
    size = BatchSize(start=4)
    size.went_well(4, LONG - 1)
    assert size.now == 8
    size.went_well(8, LONG + 1)
    assert size.now == 8
