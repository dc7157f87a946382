"""What a saliency map is of: the pixel values that the model receives, or one row of its residual
stream; and the number that is explained."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import torch
from torch import Tensor

from engine.anatomy.hooks import computing
from engine.lens.lens import Lens
from engine.lens.repeated import RepeatedPasses
from engine.passes.choices import Choices
from engine.passes.collating import most_at_once
from engine.passes.edits import Attached
from engine.passes.forward import Forward
from engine.passes.row_values import RowValues

Values = tuple[Tensor, ...]
"""One tensor for every input that is looked at; of a row, its one stream."""
MOST_AT_ONCE: Final = 16
"""Passes that are run as one batch."""


@dataclass(frozen=True)
class Target:
    """The log-probability of a token, or the difference of the logits of two, at the first of the
    positions that passes read."""

    ids: tuple[int, ...]

    def __call__(self, logits: Tensor) -> Tensor:
        """Of logits [positions, vocabulary], float64: a probability near 1 would lose its digits in
        float32."""
        at = logits[0].to("cpu", torch.float64)  # a device need not have the type
        if len(self.ids) == 2:
            return at[self.ids[0]] - at[self.ids[1]]
        return at.log_softmax(-1)[self.ids[0]]

    def slack(self, logits: Tensor) -> float:
        """By how much it moves, at most, if each logit moves by 1."""
        if len(self.ids) == 2:
            return 2.0
        others = logits[0].double().softmax(-1)
        others[self.ids[0]] = 0.0
        return 2.0 * float(others.sum())


@dataclass(frozen=True)
class Slope:
    """A pass and its derivatives."""

    value: float
    logits: Tensor
    """float32 [positions, vocabulary]"""
    by: Values
    """The derivative of the target by every value."""
    rows: Mapping[int, Tensor]
    """Row -> float64 [positions]: gradient x input, summed over the width."""
    of_rows: Mapping[int, Tensor] = field(default_factory=dict)
    """Row -> the derivative by it, [positions, *rest], of the rows for which it is kept."""


@dataclass
class Leaf:
    """The values that a map is of, in the run that is explained and in other passes: a leaf of the
    graph, as autograd calls what derivatives are taken by."""

    passes: RepeatedPasses
    target: Target
    start: Values
    """What they are in the run."""
    owners: tuple[Tensor, ...]
    """int64, one for each of `start` and of a shape that expands to its: the position of the token
    to which a value belongs; negative if to none."""
    length: int
    """Tokens in the sequence."""
    names: tuple[str, ...] = ()
    """The inputs that `start` are."""
    row: int | None = None
    """The row that `start` is, [positions, *rest]; None of inputs."""
    stand_in: Values | None = None
    """What takes their place where they are taken away."""

    def value(self, at: Values) -> float:
        """The target if the values are these."""
        return float(self.target(self.logits(at)))

    def logits(self, at: Values, *attached: Attached) -> Tensor:
        """float32 [positions, vocabulary], with more attached to the pass. Raises what
        `RepeatedPasses.run` raises."""
        forward = self.passes.forward(self._inputs(at))
        return self.passes.run([*self._editors(forward, at), *attached], forward)

    def held(self, choices: Choices) -> Callable[[Values], float]:
        """f(values) -> the target if the values are these, and what the model chooses is as it is
        with the values at the start. Runs a pass, if these are the first."""
        if not choices.are_known:
            self.logits(self.start, choices)
        return lambda at: float(self.target(self.logits(at, choices)))

    def slope(self, at: Values, rows: Collection[int] = (), kept: Collection[int] = ()) -> Slope:
        """The target and its derivatives if the values are these; with gradient x input of `rows`,
        which must not come before the row that this is, and the derivatives of those that are
        `kept`.

        Raises what `RepeatedPasses.differentiate` raises.
        """
        # The caller may be in inference mode, whose tensors have no part in a graph.
        with computing(gradients=True):
            return self._slope(at, rows, kept)

    def _slope(self, at: Values, rows: Collection[int], kept: Collection[int]) -> Slope:
        leaves = [each.detach().clone().requires_grad_() for each in at] if self.names else []
        # A copy: a model may write into what it is given.
        forward = self.passes.forward(self._inputs([each.clone() for each in leaves]))
        taken = {*rows} if self.row is None else {*rows, self.row}
        values = {} if self.row is None else {self.row: at[0][None]}
        editor = RowValues(forward, values, taken, gradients=True)
        order = sorted(taken)

        def by() -> list[Tensor]:
            for row in order:
                editor.given(row)
            return [*leaves, *(editor.rows[row] for row in order)]

        logits, found = self.passes.differentiate(forward, [editor], self.target, by)
        products, of_rows = {}, {}
        for row, slope in zip(order, found[len(leaves) :], strict=True):
            # As in `per_token`: products rounded to half precision would not sum to its numbers.
            product = slope.detach().float() * editor.rows[row].detach().float()
            placed = forward.by_position(product)[0].flatten(1)
            products[row] = placed.to("cpu", torch.float64).sum(1)
            if row in kept:
                of_rows[row] = forward.by_position(slope.detach())[0]
        own = found[: len(leaves)]
        if self.row is not None:
            own = (forward.by_position(found[order.index(self.row)])[0],)
        return Slope(float(self.target(logits)), logits, own, products, of_rows)

    def values_of(self, many: Sequence[Values], lens: Lens, together: bool) -> list[float]:
        """The target for each of some values, in one pass if `together`; see `at_once`."""
        if not together or len(many) == 1:
            return [self.value(at) for at in many]
        inputs = lens.collated([self._inputs(at) for at in many])
        forward = self.passes.forward(inputs)
        values = {} if self.row is None else {self.row: torch.stack([at[0] for at in many])}
        logits = self.passes.run([RowValues(forward, values)], forward)
        each = logits.unflatten(0, (len(many), -1))
        return [float(self.target(one)) for one in each]

    def at_once(self, lens: Lens) -> int:
        """How many passes may be run as one: 1 where a batch changes what they say."""
        some = self._inputs(self.start if self.stand_in is None else self.stand_in)
        most = min(MOST_AT_ONCE, most_at_once(lens.model, some, lens.device))
        if most < 2 or lens.device.type == "cpu":
            return 1  # a processor is as busy with one
        pair = [dict(self.passes.inputs), dict(some)]
        return 1 if lens.batches.refusal(pair) is not None else most

    def per_token(self, values: Sequence[Tensor]) -> Tensor:
        """Sums over the values that belong to a token: float64 [length + 1], and at the end the sum
        of those that belong to none."""
        sums = torch.zeros(self.length + 1, dtype=torch.float64)
        for each, owner in zip(values, self.owners, strict=True):
            places = owner.expand(each.shape).flatten()
            places = torch.where(places < 0, self.length, places)
            sums.index_add_(0, places, each.detach().to("cpu", torch.float64).flatten())
        return sums

    def replaced(self, tokens: Collection[int], by: Values, within: Values) -> Values:
        """The values `within`, with those that belong to these tokens replaced."""
        among = torch.tensor([*tokens], dtype=torch.int64)
        return tuple(
            torch.where(torch.isin(owner, among).to(one.device), other, one)
            for owner, other, one in zip(self.owners, by, within, strict=True)
        )

    def _inputs(self, at: Sequence[Tensor]) -> Mapping[str, object]:
        return {**self.passes.inputs, **dict(zip(self.names, at, strict=False))}

    def _editors(self, forward: Forward, at: Values) -> list[Attached]:
        return [] if self.row is None else [RowValues(forward, {self.row: at[0][None]})]


def pixel_leaf(
    passes: RepeatedPasses,
    target: Target,
    owners: Mapping[str, Tensor],
    stand_in: Mapping[str, Tensor] | None,
) -> Leaf:
    """The inputs that `owners` names; what they belong to, see `Leaf.owners`, and what stands in
    for them. `passes` must have run, and must not remember what comes before the first layer."""
    start = tuple(passes.inputs[name] for name in owners)
    others = None
    if stand_in is not None:
        others = tuple(stand_in[name].to(passes.inputs[name]) for name in owners)
    places = tuple(each.cpu().long() for each in owners.values())
    return Leaf(passes, target, start, places, passes.length, (*owners,), None, others)


def row_leaf(passes: RepeatedPasses, target: Target, row: int, cells: Sequence[int]) -> Leaf:
    """A row at all positions; what stands in for a position is the mean of the `cells`, or of all
    positions where there are none. Runs a pass."""
    forward = passes.forward()
    editor = RowValues(forward, {}, [row])
    passes.run([editor], forward)
    stream = editor.given(row)[0].detach()
    axes = (1,) * (stream.ndim - 1)
    owner = torch.arange(len(stream)).reshape(-1, *axes)
    mean = (stream[[*cells]] if cells else stream).float().mean(0, keepdim=True)
    stand_in = mean.to(stream.dtype).expand_as(stream)
    return Leaf(passes, target, (stream,), (owner,), len(stream), (), row, (stand_in,))
