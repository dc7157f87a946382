"""What has been proved of the reuse of earlier passes, for inputs of the same names.

Nothing is known of any family: a kind of inputs is proved by passes of the model, anew for longer
sequences, and again now and then. See `engine.lens.reuse` for single questions and
`engine.lens.batch_reuse` for batches.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, NamedTuple

import torch
from torch import Tensor

from engine.anatomy.logit_map import errors_and_limits
from engine.lens.batch_proofs import MOST_ROUNDING
from engine.passes.prefix_cache import IDS, PASSED, Passed

PROVED_AGAIN: Final = 32
"""A proof costs a whole pass, so one in so many adds three per cent of what is saved to each."""
MORE: Final = 2
"""How much longer than what has been proved a sequence may be, or what is new of it."""
FEW: Final = 16
"""So few new tokens need no further proof."""
WINDOWS: Final = (
    "sliding_window",
    "attention_chunk_size",
    "index_topk",
    "original_max_position_embeddings",
)
"""transformers' names for numbers of tokens above which a layer sees some of them only, or places
all of them otherwise."""

Way = Literal["prefix", "vision"]
"""What is reused: the keys and values of the common beginning, or the vision encoder's output."""

ENCODED: Final = "an encoder reads the whole prompt at once"
REPLAYED: Final = "its rows are read by running the model again"
PADDED: Final = "a part of the sequence is masked"
NO_IDS: Final = "its inputs are no token ids"
UNKNOWN: Final = "its inputs hold what cannot be compared"
NO_CACHE: Final = "the model returns no keys and values that can be kept"
FEATURES_FIRST: Final = "the model puts other positions before those of its tokens"
LOOKS_AHEAD: Final = "the beginning of its sequence depends on what follows"


@dataclass
class Kind:
    """What has been found about inputs of the same names."""

    refused: dict[Way, str] = field(default_factory=dict)
    """Why something is not reused."""
    proved: set[Way] = field(default_factory=set)
    uses: int = 0
    """How often something has been reused since the last proof."""
    passed: Passed = PASSED[0]
    """What the model is given when it goes on."""
    has_running_state: bool = False
    """Whether its cache cannot be cut."""
    longest: int = 0
    """The longest sequence, in tokens, and ..."""
    most_new: int = 0
    """... the most new tokens that the reuse of keys and values has been proved with, and ..."""
    fewest_new: int = 0
    """... the fewest."""
    windows: frozenset[int] = frozenset()
    """Numbers of tokens above which a layer sees some of them only, or places them otherwise."""

    def covers(self, way: Way, length: int, new: int) -> bool:
        """Whether it has been proved that something can be reused in a sequence of this length with
        so many new tokens: longer ones may fill a window that shorter ones do not. Those that
        first fill a window that is known are never taken to be covered."""
        if way not in self.proved:
            return False
        fits = length <= MORE * self.longest and new <= max(FEW, MORE * self.most_new)
        passes = any(self.longest <= window < length for window in self.windows)
        return (fits and not passes) or way == "vision"

    def proved_with(self, length: int, new: int) -> None:
        """Note that the reuse of keys and values has been proved."""
        self.longest = max(self.longest, length)
        self.most_new = max(self.most_new, new)
        self.fewest_new = min(self.fewest_new or new, new)


class Gap(NamedTuple):
    """How far rows are from those of a plain pass."""

    error: float
    """The difference of the row that differs most, measured by what is allowed, and ..."""
    limit: float
    """... what is allowed of that row."""
    largest: float
    """The largest difference of any row, which may be another one."""

    @property
    def is_allowed(self) -> bool:
        """Whether every row is near enough."""
        return self.error <= self.limit

    def joined(self, other: Gap) -> Gap:
        """That of both sets of rows together."""
        worse = max(self, other, key=lambda each: each.error / each.limit)
        return worse._replace(largest=max(self.largest, other.largest))


NO_GAP: Final = Gap(0.0, 1.0, 0.0)


def worst_gap(dtype: torch.dtype, reused: Tensor, plain: Tensor) -> Gap:
    """How far rows are from those of a plain pass, both float32 [n, vocabulary]. Half precision
    may round a row as far away as in a batch."""
    errors, limits = errors_and_limits(dtype, reused, plain).cpu()
    if dtype in (torch.bfloat16, torch.float16):
        limits = limits * MOST_ROUNDING
    worst = int((errors / limits).argmax())
    return Gap(float(errors[worst]), float(limits[worst]), float(errors.max()))


def windows_in(config: Any) -> Iterator[int]:
    """The numbers of tokens in a configuration of transformers above which layers do otherwise."""
    if isinstance(config, Mapping):
        for name, value in config.items():
            if name in WINDOWS and isinstance(value, int):
                yield value
            yield from windows_in(value)
    elif isinstance(config, (list, tuple)):
        for value in config:
            yield from windows_in(value)
    elif callable(getattr(config, "to_dict", None)):
        yield from windows_in(config.to_dict())


def told(gap: Gap) -> str:
    return f"rows differ by {gap.error:.2g} from those of a plain pass ({gap.limit:.2g} allowed)"


def is_encoder_decoder(model: Any) -> bool:
    return bool(getattr(getattr(model, "config", None), "is_encoder_decoder", False))


def sequences_along(inputs: Mapping[str, Any], ids: Tensor) -> dict[str, Tensor]:
    """The inputs that run along the ids: the ids, masks and types of tokens."""
    # Other ids (of a decoder, of a module that reads the question too) have masks of their own.
    own = tuple(name.removesuffix(IDS) for name in inputs if name.endswith(IDS) and name != IDS)
    return {
        name: value
        for name, value in inputs.items()
        if isinstance(value, Tensor)
        and not value.is_floating_point()
        and value.ndim >= 2
        and value.shape[:2] == ids.shape
        and not (own and name.startswith(own))
    }
