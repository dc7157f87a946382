"""Numbers of a row against their formulas."""

from __future__ import annotations

import math

import pytest
import torch

from engine.lens.as_records import answer_readings, layer_readings
from engine.lens.ranking import Blocks
from engine.lens.readout import Block, joined, read, root_mean_square
from engine.records import LayerReading


def best_first(logits: torch.Tensor) -> list[int]:
    """The ids of one row, ordered by Python; ties go to the lower id."""
    values = logits.tolist()
    return sorted(range(len(values)), key=lambda token: (-values[token], token))


def readings(
    streams: torch.Tensor, logits: torch.Tensor, count: int, note: str | None = None
) -> list[LayerReading]:
    numbers = read(logits, count, streams).numbers()
    return layer_readings(range(len(logits)), numbers, str, [note] * len(logits))


def kl(logits: torch.Tensor, reference: torch.Tensor) -> float:
    return float(read(logits, reference=reference.log_softmax(-1)).numbers().kl)


def test_kl_is_the_closed_form() -> None:
    p, q = torch.tensor([0.5, 0.25, 0.25]), torch.tensor([0.25, 0.25, 0.5])
    expected = float((p * (p / q).log()).sum())
    found = kl(p.log().unsqueeze(0), q.log().unsqueeze(0))
    assert found == pytest.approx(expected, abs=1e-6)
    assert kl(q.log().unsqueeze(0), q.log().unsqueeze(0)) == 0.0


def test_a_token_that_is_ruled_out_does_not_spoil_the_numbers() -> None:
    logits = torch.tensor([[1.0, -math.inf, 0.0]])
    (row,) = readings(torch.ones(1, 4), logits, 3)
    assert row.top[2].id == 1 and row.top[2].logit is None and row.top[2].probability == 0.0
    share = math.e / (math.e + 1)
    assert row.entropy == pytest.approx(
        -share * math.log(share) - (1 - share) * math.log(1 - share), abs=1e-6
    )
    assert kl(logits, logits[:1]) == 0.0


def test_uniform_logits_have_the_entropy_of_the_vocabulary() -> None:
    (row,) = readings(torch.full((1, 2, 8), 3.0), torch.zeros(1, 1000), 2, "why")
    assert row.entropy == pytest.approx(math.log(1000), abs=1e-4)
    assert [token.id for token in row.top] == [0, 1]
    assert row.rms == 3.0
    assert row.approximate == "why"


def test_half_precision_is_summed_in_float32() -> None:
    stream = torch.full((1, 4096), 300.0, dtype=torch.float16)
    (row,) = readings(stream, torch.zeros(1, 4), 1)
    assert row.rms == pytest.approx(300.0)


def test_a_row_that_is_not_a_number_shows_nothing() -> None:
    logits = torch.tensor([[math.nan, 1.0]])
    (row,) = readings(torch.full((1, 2), math.inf), logits, 2)
    assert row.top == () and row.entropy is None and row.rms is None
    assert answer_readings(read(logits, tokens=[1]).numbers()) == [None]


def test_a_block_holds_every_number_bit_for_bit() -> None:
    """Each number against its definition, in one block and in joined blocks."""
    torch.manual_seed(0)
    logits, streams = torch.randn(6, 300) * 4, torch.randn(6, 2, 8)
    logits[:, 7] = logits[:, 90]
    logits[4] = math.nan
    reference = (torch.randn(2, 300) * 4).log_softmax(-1)
    spellings = torch.tensor([[3, 7, 90], [5, -1, -1]]).repeat(3, 1)
    block = read(logits, 5, streams, [90, 7], reference, js=True, spelled=[spellings])
    assert block.values.dtype == torch.int32
    found = block.numbers()
    good = [0, 1, 2, 3, 5]
    log_p = logits.log_softmax(-1)
    assert torch.allclose(found.lse[good], logits.logsumexp(-1)[good], atol=1e-5)
    assert torch.allclose(found.entropy[good], torch.special.entr(log_p.exp()).sum(-1)[good])
    assert torch.equal(found.rms, root_mean_square(streams))
    assert found.ids.tolist()[0] == best_first(logits[0])[:5]
    ids = found.ids.long()
    assert torch.equal(found.logits[good], logits.gather(1, ids)[good])
    assert torch.equal(found.probabilities[good], log_p.exp().gather(1, ids)[good])
    assert torch.equal(found.followed_logits[good][:, 0], logits[good, 90])
    wanted = [best_first(logits[cell]).index(90) + 1 for cell in good]
    assert found.followed_ranks[good][:, 0].tolist() == wanted
    assert torch.equal(found.followed_ranks[good][:, 1], found.followed_ranks[good][:, 0] - 1)
    p = log_p.exp()
    assert torch.allclose(found.followed_probabilities[0, 2], p[0, [3, 7, 90]].sum())
    assert found.followed_probabilities[1, 2] == p[1, 5]
    assert found.followed_logits[1, 2] == logits[1, 5]
    assert found.followed_ranks[0, 2] == min(best_first(logits[0]).index(t) for t in (3, 7, 90)) + 1
    gaps = (p * (log_p - reference.repeat(3, 1))).sum(-1)
    assert torch.allclose(found.kl[good], gaps[good], atol=1e-5)
    assert bool((found.js[good] > 0).all())
    for each in (found.lse, found.entropy, found.kl, found.js, found.followed_probabilities[:, 0]):
        assert bool(each[4].isnan())

    parts = [
        read(logits[start : start + 2], 5, streams[start : start + 2],
             [90, 7], reference, js=True, spelled=[spellings[start : start + 2]])
        for start in (0, 2, 4)
    ]  # fmt: skip
    again = joined(parts)
    assert torch.equal(again.values[good], block.values[good])
    assert (again.top, again.followed) == (block.top, block.followed) == (5, 3)
    copied = Block(block.values.clone(), block.top, block.followed).numbers()
    assert all(
        torch.equal(one[good], other[good]) for one, other in zip(found, copied, strict=True)
    )


def test_a_followed_token_has_its_logit_share_and_rank() -> None:
    logits = torch.tensor([[0.0, 2.0, -1.0], [3.0, 2.0, 1.0]])
    p = logits.softmax(-1)
    for token in range(3):
        spelled = torch.tensor([[token, -1]] * 2)
        found = read(logits, tokens=[token], spelled=[spelled]).numbers()
        for way in (0, 1):
            assert torch.equal(found.followed_logits[:, way], logits[:, token])
            assert torch.allclose(found.followed_probabilities[:, way], p[:, token])
            ranks = (logits > logits[:, token : token + 1]).sum(-1) + 1
            assert found.followed_ranks[:, way].tolist() == ranks.tolist()
    both = read(logits, spelled=[torch.tensor([[0, 2], [0, 2]])]).numbers()
    assert torch.allclose(both.followed_probabilities[:, 0], p[:, 0] + p[:, 2])
    assert both.followed_ranks[:, 0].tolist() == [2, 1]


def test_cells_are_compared_with_the_reference_of_their_item() -> None:
    """Cell i with row i mod r; the divergence of Jensen and Shannon only if it is asked for."""
    torch.manual_seed(0)
    logits, reference = torch.randn(6, 9), torch.randn(2, 9).log_softmax(-1)
    found = read(logits, reference=reference).numbers()
    assert bool(found.js.isnan().all())
    for cell in range(6):
        assert float(found.kl[cell]) == kl(logits[cell : cell + 1], reference[cell % 2][None])


@pytest.mark.parametrize("count", [1, 2, 3])
def test_blocks_are_joined_in_order(count: int) -> None:
    logits = torch.randn(count, 9)
    blocks = [read(row[None], 2) for row in logits]
    assert joined(blocks).numbers().logits.tolist() == logits.topk(2).values.tolist()


def test_only_the_last_of_the_top_is_tied_beyond_what_is_looked_for_at_once() -> None:
    """Whichever of many equal logits are found first, the lowest ids of them count."""
    for seed in range(5):
        order = torch.randperm(400, generator=torch.Generator().manual_seed(seed))
        logits = torch.zeros(400)
        logits[order[:4]] = torch.tensor([9.0, 8.0, 7.0, 6.0])
        found = Blocks.of(logits[None], 5).best(5)[0].tolist()
        assert found == [*order[:4].tolist(), min(set(range(400)) - {*order[:4].tolist()})]


def test_what_is_not_asked_for_is_not_there() -> None:
    found = read(torch.zeros(2, 9), tokens=[3]).numbers()
    assert found.ids.shape == found.logits.shape == (2, 0)
    assert found.followed_ranks.tolist() == [[4], [4]]
    for each in (found.lse, found.entropy, found.rms, found.kl, found.js):
        assert bool(each.isnan().all())
    assert read(torch.zeros(2, 9), 20).numbers().ids.tolist() == [list(range(9))] * 2
    assert read(torch.tensor([[0.0, -math.inf]]), 1).numbers().entropy.tolist() == [0.0]


def test_ties_in_a_row_that_is_partly_not_a_number() -> None:
    logits = torch.zeros(2, 60)
    logits[0, 3] = math.nan
    (first, second) = readings(torch.ones(2, 4), logits, 5)
    assert first.top == () and [token.id for token in second.top] == [0, 1, 2, 3, 4]
