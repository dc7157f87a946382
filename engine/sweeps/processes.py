"""Which process this is, where `accelerate launch` started several."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from engine.errors import BadInput, typed_line

RANKS = ("RANK", "PMI_RANK", "OMPI_COMM_WORLD_RANK", "MV2_COMM_WORLD_RANK")
"""Variables that number this process among all; accelerate takes the first that is set."""
NUMBERS = ("WORLD_SIZE", *RANKS, "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_PORT")
PLACE = ("MASTER_ADDR", "MASTER_PORT")
"""Where the processes meet."""
MEETING = ("localhost", "29500")
"""The place where none is named."""
LONGEST_WAIT = 300.0
"""Seconds to wait for the other processes: on several machines they start one after the other."""
SILENT_WAIT = 10.0
"""Seconds after which it is said that they are waited for."""
SPARE = 60.0


@dataclass(frozen=True)
class Process:
    """One of several processes, or the only one."""

    index: int = 0
    count: int = 1
    device: str = "auto"
    """The torch device for this process alone."""


@contextmanager
def this_process(
    on_cpu: bool,
    told: Callable[[str], None] = lambda text: None,
    longest_wait: float = LONGEST_WAIT,
    silent_wait: float = SILENT_WAIT,
) -> Iterator[Process]:
    """This process among those that were launched together; with `on_cpu` none of them uses a GPU.

    The others are waited for, for `longest_wait` seconds at most; `told` is told so after
    `silent_wait`. Torch is imported only where there are several. Raises BadInput where the
    environment says that there are several, and they cannot be found.
    """
    count = _number("WORLD_SIZE")
    _number("LOCAL_WORLD_SIZE")  # read when pictures are prepared
    if count < 2:
        yield Process()
        return
    _refuse_left_behind(count)
    # Otherwise it prints each of its attempts.
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    import torch.distributed

    # Without `cpu=True` it takes itself for the only process where there is no accelerator.
    state = _joined(
        count, on_cpu or not torch.accelerator.is_available(), told, longest_wait, silent_wait
    )
    try:
        yield Process(state.process_index, state.num_processes, str(state.device))
    finally:
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()


def _number(name: str, default: int = 1) -> int:
    """The whole number in a variable. Raises BadInput where it is something else."""
    text = os.environ.get(name, "")
    if not text:
        return default
    try:
        return int(text)
    except ValueError:
        raise BadInput(
            f"{name}={text[:40]} in the environment is not a whole number; "
            f"if it was left behind, run {_without(name)} lenscope sweep ..."
        ) from None


def _refuse_left_behind(count: int) -> None:
    """Raise BadInput where what belongs to WORLD_SIZE is missing or wrong."""
    rank = next((name for name in RANKS if os.environ.get(name)), None)
    missing = [name for name in (RANKS[0], *PLACE) if not os.environ.get(name)]
    # A launcher of MPI has its own ways, and accelerate knows the usual port.
    if rank is None or (rank == RANKS[0] and PLACE[0] in missing):
        raise BadInput(
            f"WORLD_SIZE={count} in the environment says that {count} processes were launched "
            f"together, but {_listed(missing)} {'is' if len(missing) == 1 else 'are'} not set; "
            f"{_remedy()}"
        )
    for name in NUMBERS:
        _number(name)
    if not 0 <= _number(rank) < count:
        raise BadInput(
            f"{rank}={_number(rank)} in the environment is not the number of one of "
            f"WORLD_SIZE={count} processes, counted from 0; {_remedy()}"
        )


def _joined(
    count: int, on_cpu: bool, told: Callable[[str], None], longest: float, silent: float
) -> Any:
    """The state of this process once all have met, as accelerate has it. Raises BadInput where they
    do not."""
    import torch

    joining = _Joining(on_cpu, longest)
    # In a thread of its own: what waits in torch cannot be interrupted.
    thread = threading.Thread(target=joining.run, daemon=True)
    thread.start()
    thread.join(min(silent, longest))
    others = "the other process" if count == 2 else f"the {count - 1:,} other processes"
    place = ":".join(
        os.environ.get(name) or default for name, default in zip(PLACE, MEETING, strict=True)
    )
    if thread.is_alive():
        told(
            f"waiting for {others} of WORLD_SIZE={count} at {place}, {longest:.0f} s at most; "
            f"{_remedy()}"
        )
        thread.join(max(0.0, longest - silent))
    if joining.state is None:
        reason = f"did not come to {place} within {longest:.0f} s"
        if joining.error is not None:
            reason = f"cannot be joined at {place} ({typed_line(joining.error)})"
        raise BadInput(f"{others} of WORLD_SIZE={count} {reason}; {_remedy()}") from joining.error
    # Both are settings of the thread that made them.
    torch.set_num_threads(joining.threads)
    if joining.state.device.type == "cuda":
        torch.cuda.set_device(joining.state.device)
    return joining.state


class _Joining:
    """Meets the other processes, as accelerate does it."""

    def __init__(self, on_cpu: bool, longest: float) -> None:
        self._on_cpu = on_cpu
        self._longest = longest
        self.state: Any = None
        self.threads = 1
        self.error: BaseException | None = None

    def run(self) -> None:
        """Set `state`, or `error`."""
        try:
            import torch
            from accelerate import PartialState

            # Later than ours: it prints a page of addresses when its time is over.
            limit = timedelta(seconds=self._longest + SPARE)
            state = PartialState(cpu=self._on_cpu, timeout=limit)
            self.threads = torch.get_num_threads()
            self.state = state
        except BaseException as error:  # whatever it is, it is what the process ends with
            self.error = error


def _remedy() -> str:
    return (
        "for a single process, run "
        f"{_without('WORLD_SIZE')} lenscope sweep ..., for several, `accelerate launch`"
    )


def _without(*names: str) -> str:
    return f"`env {' '.join(f'-u {name}' for name in names)}`"


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
