"""A device that computes nothing: what is left is what the host does, and any wait is an error.

torch's "meta" device keeps shapes and dtypes. A model on it runs all its Python and dispatches all
its kernels, but whatever would wait for a device's numbers (`item`, `tolist`, `bool`, `nonzero`, a
copy to main memory) raises. That a pass waits for nothing on an accelerator is tested with it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from engine import Lens
from engine.anatomy.explicit import ExplicitTail
from engine.lens import group_readout, row_reader
from engine.system.side_streams import Captured

META = torch.device("meta")
VIEWS = (
    "view", "slice", "select", "unsqueeze", "squeeze", "expand", "detach", "alias", "transpose",
    "permute", "split", "unbind", "as_strided", "empty", "t.", "flatten", "movedim", "lift_fresh",
    "to.dtype_layout", "to.device",
)  # fmt: skip
"""Beginnings of the names of operations that launch no kernel where there is nothing to copy."""
WAITS = (
    "_local_scalar_dense", "nonzero", "nonzero_numpy", "equal", "is_nonzero", "masked_select",
    "_unique", "_unique2", "unique_dim", "unique_consecutive", "item",
)  # fmt: skip
"""Operations whose result, or its size, has to be known before the next one can be launched."""


class Arrived:
    """Stands for `engine.system.transfers.Fetched`: zeros come to main memory."""

    def __init__(self, values: Sequence[Tensor]) -> None:
        self._kinds = [(value.shape, value.dtype) for value in values]

    def wait(self) -> list[Tensor]:
        """Zeros of the same shapes and dtypes."""
        return [torch.zeros(shape, dtype=dtype) for shape, dtype in self._kinds]


class Launches(TorchDispatchMode):
    """Records the operations of the calling thread, in their order."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []
        """With their overloads, such as "add.Tensor"."""

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        self.names.append(str(function).removeprefix("aten."))
        return function(*args, **(kwargs or {}))

    @property
    def kernels(self) -> list[str]:
        """Those that launch a kernel."""
        return [name for name in self.names if not name.startswith(VIEWS)]

    @property
    def waits(self) -> list[str]:
        """Those in which a device would be waited for."""
        return [name for name in self.names if name.split(".")[0] in WAITS]


@dataclass
class FakeSideStream:
    """Counts what is given to it; on a CPU a replay computes the function again."""

    has_graphs: bool = True
    launches: list[Launches] = field(default_factory=list)
    """The operations of every time that work was launched here."""
    threads: list[int] = field(default_factory=list)
    """The threads that launched it."""
    captures: int = 0
    replays: int = 0
    disturbed: bool = False
    """Whether graphs compute something else than what was captured."""

    def mark(self, device: torch.device) -> str:
        """See `engine.system.side_streams.SideStream`."""
        return "a moment"

    @contextmanager
    def after(self, *marks: Any) -> Iterator[None]:
        """See `engine.system.side_streams.SideStream`."""
        self.threads.append(threading.get_ident())
        recording = Launches()
        self.launches.append(recording)
        with recording:
            yield

    def capture(self, function: Callable[[], Any]) -> Captured[Any]:
        """See `engine.system.side_streams.SideStream`."""
        self.captures += 1
        outputs = function()

        def replay() -> None:
            self.replays += 1
            if outputs.logits.is_meta:
                return  # a replay is one launch
            found = function()
            for output, value in (
                (outputs.logits, found.logits),
                (outputs.block.values, found.block.values),
            ):
                output.copy_(value + 1 if self.disturbed else value)

        return Captured(replay, outputs)


@contextmanager
def without_device(lens: Lens, side: FakeSideStream) -> Iterator[None]:
    """Move the model of `lens`, which has learned it, to no device for good, and give the readouts
    of its passes to `side` within the context."""
    lens.model.to(META)
    for kind, parts in lens._learned.items():
        assert isinstance(parts.tail, ExplicitTail)
        logit_map = parts.tail.logit_map
        shift, masked = (
            None if value is None else value.to(META)
            for value in (logit_map.shift, logit_map.masked)
        )
        moved = replace(logit_map, shift=shift, masked=masked)
        tail = replace(parts.tail, device=META, logit_map=moved, few=0)
        lens._learned[kind] = replace(parts, tail=tail)
    lens._side = side
    with ExitStack() as patches:
        patches.enter_context(patch.object(row_reader, "Fetched", Arrived))
        # Heads on this device are otherwise taken for offloaded ones.
        patches.enter_context(patch.object(group_readout, "is_one_matrix", lambda head: True))
        patches.enter_context(
            patch.object(group_readout, "_same_bits", lambda one, other: one.shape == other.shape)
        )
        yield
