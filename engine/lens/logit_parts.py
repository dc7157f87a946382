"""A logit as a sum over what wrote the residual stream: the embedding, every attention, every MLP.

The final norm is frozen: with the statistics that it has at the position it is linear, so what it
makes of the stream is the sum of what it makes of the parts (direct logit attribution).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple

import torch
from torch import Tensor, nn

from engine.anatomy.columns import is_one_matrix
from engine.anatomy.frozen_norm import FrozenNorm
from engine.anatomy.hooks import evaluating
from engine.anatomy.layer_sums import Term
from engine.anatomy.tail import OpenTail
from engine.errors import CannotRead
from engine.lens.lens import model_lock
from engine.lens.ranking import Blocks

EMBEDDING: Final = "embedding"
BIAS: Final = "bias"
_CHUNK: Final = 64
"""Parts that go through the head at once."""


class Words(NamedTuple):
    """The tokens that a part promotes or suppresses most."""

    ids: tuple[int, ...]
    amounts: tuple[float, ...]
    """What it adds to their logits, less what it adds to all of them on average."""


@dataclass(frozen=True)
class LinearHead:
    """The model's head as the linear map that it is, and what is added to that."""

    model: nn.Module
    head: nn.Module
    width: int
    """Of its input."""
    zero: Tensor
    """float32 [1, vocabulary], on the head's device: what the head makes of nothing."""
    bias: Tensor
    """float32 [vocabulary], on the CPU: the same, with what the model adds to its head's output."""

    @classmethod
    def of(cls, model: nn.Module, opened: OpenTail, width: int) -> LinearHead:
        """The head of a tail that was taken apart; `width` is that of its input."""
        logit_map = opened.logit_map
        nothing = torch.zeros(1, logit_map.width)
        found = cls(model, opened.head, width, nothing, nothing[0])._raw(torch.zeros(1, width))
        bias = found[0].cpu()
        return cls(
            model,
            opened.head,
            width,
            found,
            bias if logit_map.shift is None else bias + logit_map.shift.float().cpu(),
        )

    def __call__(self, vectors: Tensor) -> Iterator[Tensor]:
        """The linear map of vectors, float32 [n, width]: of a few at a time, [some, vocabulary] on
        the head's device."""
        for some in vectors.split(_CHUNK):
            yield self._raw(some) - self.zero

    def products(self, vectors: Tensor, tokens: Sequence[int]) -> Tensor:
        """The linear map at some tokens, float64 [tokens, n], on the CPU."""
        ids = list(tokens)
        if is_one_matrix(self.head):
            rows = self.directions(ids)
            found = [some.double() @ rows.T for some in vectors.split(_CHUNK)]
        else:
            # Quantised, offloaded, or with an adapter: known by what it does.
            found = [each[:, ids].cpu().double() for each in self(vectors)]
        return torch.cat(found).T.clone()

    def directions(self, tokens: Sequence[int]) -> Tensor:
        """Its rows for some tokens, float64 [tokens, width], on the CPU: their products with a
        vector are what the vector adds to the logits."""
        if is_one_matrix(self.head):
            assert isinstance(self.head, nn.Linear)
            return self.head.weight.detach()[list(tokens)].cpu().double()
        return self.products(torch.eye(self.width), tokens)

    def words(self, vectors: Tensor, count: int) -> list[tuple[Words, Words]]:
        """The tokens that each vector, float32 [n, width], promotes and suppresses most, each
        beginning with the most."""
        found: list[tuple[Words, Words]] = []
        for added in self(vectors) if len(vectors) else ():
            added = added - added.mean(-1, keepdim=True)
            columns = []
            for sign in (1.0, -1.0):
                ids = Blocks.of(sign * added, count).best(count)
                amounts = added.gather(1, ids)
                columns.append(
                    [
                        Words(tuple(i), tuple(a))
                        for i, a in zip(ids.tolist(), amounts.tolist(), strict=True)
                    ]
                )
            found += zip(*columns, strict=True)
        return found

    def _raw(self, vectors: Tensor) -> Tensor:
        floats = (each for each in self.head.parameters() if each.is_floating_point())
        like = next((each for each in floats if each.device.type != "meta"), vectors)
        with model_lock(self.model), evaluating(self.model):
            made = self.head(vectors.to(like.device, like.dtype).unsqueeze(0))[0]
        raw: Tensor = made[:, : self.zero.shape[1]].float()
        return raw


@dataclass(frozen=True)
class LogitPart:
    """What one part of the model wrote."""

    layer: int | None
    """Layer l takes row l to row l + 1; None for the embedding and the bias. Of what is added
    between layers, the row before which it is added."""
    name: str
    """"embedding", "attention", "MLP", "bias", the name of a module in its layer, or what is no
    sum: "whole layer"."""
    head: int | None = None
    rest: bool = False
    """Whether it is what comes from no head of an attention whose heads are parts."""
    reason: str | None = None
    """Why it is one part and not several."""
    term: Term | None = None
    """The module whose output it is."""
    projection: nn.Module | None = None
    """The module that takes the outputs of all heads, of which this is one."""

    @property
    def label(self) -> str:
        """A name that no other part has."""
        head = ", what no head gives" if self.rest else ""
        head = head if self.head is None else f", head {self.head}"
        return self.name if self.layer is None else f"layer {self.layer}: {self.name}{head}"


@dataclass(frozen=True)
class Sources:
    """What one head of the position's attention has been sent from every key."""

    layer: int
    head: int
    keys: str
    """"tokens" of the sequence, or "states" of an encoder or a vision tower; or "both"."""
    vectors: Tensor
    """float32 [keys, width of the model head's input]"""
    together: Tensor
    """float32 [width]: what the head gives."""


@dataclass(frozen=True)
class LogitParts:
    """The parts of all logits of one position."""

    position: int
    parts: tuple[LogitPart, ...]
    norm: str
    """How the final norm is linear: "rms" or "layer"; "" if the model is one part."""
    error: float
    """|sum - logit| / max(1, |logit|), the largest over the vocabulary; the parts are summed in
    float64, and the logit is the output of the model's own head in this pass."""
    tolerance: float
    sources: Sources | None
    vectors: Tensor = field(repr=False)
    """float32 [parts, width of the head's input]: the frozen norm's map of each part."""
    own: Tensor = field(repr=False)
    """float32 [vocabulary]: the head's own output, before any scale or soft-cap."""
    logits: Tensor = field(repr=False)
    """float32 [vocabulary]: those that the model returned."""
    head: LinearHead | None = field(repr=False)
    """None if the model is one part."""
    frozen: FrozenNorm | None = field(default=None, repr=False)
    """The final norm at the position; None if the model is one part."""
    passed_on: tuple[float, ...] = ()
    """By what later layers multiply what each layer adds to the stream: 1 in nearly all models."""

    @property
    def names(self) -> tuple[str, ...]:
        """What each part is, in the order of the layers; no two are the same."""
        return tuple(part.label for part in self.parts)

    def together(self) -> LogitParts:
        """The same with the heads of each attention added up to one part."""
        parts: dict[LogitPart, Tensor] = {}
        for part, vector in zip(self.parts, self.vectors, strict=True):
            whole = replace(part, head=None, rest=False, projection=None)
            parts[whole] = parts[whole] + vector if whole in parts else vector
        return replace(self, parts=(*parts,), vectors=torch.stack([*parts.values()]))

    @property
    def reasons(self) -> Mapping[str, str]:
        """Name -> why that is one part, of those that are not taken apart further."""
        return {part.label: part.reason for part in self.parts if part.reason is not None}

    def share(self, token: int) -> Tensor:
        """What each part adds to the logit of a token: float32 [parts], on the CPU. The sum is the
        head's output for the token, before any scale and soft-cap. Raises IndexError if there is no
        such token."""
        return self.shares([token])[0].float()

    def shares(self, tokens: Sequence[int]) -> Tensor:
        """The same for several tokens, float64 [tokens, parts]."""
        if any(not 0 <= token < len(self.own) for token in tokens):
            raise IndexError(f"tokens go from 0 to {len(self.own) - 1}")
        if self.head is None:
            return self.own[list(tokens)].double()[:, None]
        found = self.head.products(self.vectors, tokens)
        found[:, -1] += self.head.bias[list(tokens)].double()  # the bias is the last part
        return found

    def sent(self, tokens: Sequence[int]) -> tuple[Tensor, Tensor]:
        """What each key has sent to the logits of some tokens through the head of `sources`,
        float64 [tokens, keys], and what the head adds to them, float64 [tokens]."""
        assert self.sources is not None and self.head is not None
        both = torch.cat([self.sources.vectors, self.sources.together[None]])
        products = self.head.products(both, tokens)
        return products[:, :-1], products[:, -1]

    def words(self, parts: Sequence[int], count: int) -> list[tuple[Words, Words]]:
        """The tokens that each of some parts promotes and suppresses most, by index, each beginning
        with the most. Raises CannotRead if the model is one part."""
        if self.head is None:
            raise CannotRead(self.parts[0].reason or "")
        return self.head.words(self.vectors[list(parts)], count)
