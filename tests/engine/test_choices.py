"""What a pass chooses by comparing numbers, held in later passes."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from engine.passes.choices import Choices


class Choosing(nn.Module):
    """Two experts of four for each row, the best of its numbers, and its numbers in their order."""

    def forward(self, numbers: Tensor) -> list[Tensor]:
        weights, experts = torch.topk(numbers, 2, dim=-1, sorted=False)
        best = numbers.argmax(-1)
        ordered, order = numbers.transpose(0, 1).sort(0, descending=True)
        stable = numbers.argsort(stable=True, dim=-1)
        counted = torch.tensor([3, 1, 2]).argsort()  # whole numbers are no choice
        return [weights, experts, best, ordered, order, stable, counted]


def chosen(choices: Choices, numbers: Tensor) -> list[Tensor]:
    with torch.no_grad(), choices.attached(lambda: True):
        found: list[Tensor] = Choosing()(numbers)
    return found


FIRST = torch.tensor([[0.1, 0.4, 0.2, 0.3], [0.5, 0.1, 0.2, 0.0]])
OTHER = torch.tensor([[0.4, 0.1, 0.3, 0.2], [0.0, 0.2, 0.1, 0.5]])


def test_later_passes_choose_as_the_first_and_take_their_own_numbers() -> None:
    choices = Choices()
    plain = Choosing()(FIRST)
    first = chosen(choices, FIRST)
    assert choices.are_known and (choices.passes, choices.flipped) == (0, 0)
    assert all(map(torch.equal, first, plain))
    weights, experts, best, ordered, order, stable, counted = chosen(choices, OTHER)
    for held, own in zip((experts, best, order, stable, counted), (1, 2, 4, 5, 6), strict=True):
        assert torch.equal(held, first[own])
    assert torch.equal(weights, OTHER.gather(-1, first[1]))
    assert torch.equal(ordered, OTHER.transpose(0, 1).gather(0, first[4]))
    assert (choices.passes, choices.flipped) == (1, 1)
    assert all(map(torch.equal, chosen(choices, FIRST), plain))
    assert (choices.passes, choices.flipped) == (2, 1)
    assert all(map(torch.equal, Choosing()(OTHER)[1:3], [OTHER.topk(2)[1], OTHER.argmax(-1)]))


def test_the_same_experts_in_another_order_are_no_other_choice() -> None:
    class Two(nn.Module):
        def forward(self, numbers: Tensor) -> Tensor:
            return numbers.topk(2).values

    choices = Choices()
    for numbers in (torch.tensor([0.9, 0.8, 0.1]), torch.tensor([0.8, 0.9, 0.1])):
        with choices.attached(lambda: True):
            found = Two()(numbers)
    assert found.tolist() == pytest.approx([0.8, 0.9])
    assert choices.flipped == 0


def test_a_pass_that_fails_makes_no_choices() -> None:
    choices = Choices()
    with pytest.raises(RuntimeError, match="no"), choices.attached(lambda: True):
        FIRST.argmax(-1)
        raise RuntimeError("no")
    assert not choices.are_known
    assert torch.equal(FIRST.argmax(-1), torch.tensor([1, 0]))  # nothing is held any more


def test_a_pass_that_chooses_elsewhere_is_held_no_further() -> None:
    choices = Choices()
    chosen(choices, FIRST)
    with choices.attached(lambda: True):
        OTHER[:1].argmax(-1)  # the first pass began with a choice of another shape
        assert torch.equal(OTHER.argmax(-1), torch.tensor([0, 3]))
    assert choices.flipped == 0
