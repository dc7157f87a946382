"""What the journal of a long session costs: bytes written, processor time, and how late keys are.

python -m tests.journal_benchmark [RUNS] [LAYERS]

A session grows to so many runs (400 of 32 layers); after each, one of them is given a title. Keys
are a thread that wakes every 10 ms, as the explorer's does: how late it wakes is how late it would
answer.
"""

from __future__ import annotations

import sys
import threading
import time
from typing import Any

from msgspec.structs import replace

from engine.records import Question, Run, Session
from tests.tui.fakes import finish, make_rows, make_run
from tui.disk.journal import Journal
from tui.disk.paths import journals_folder

_MIB = 2**20


class Keys(threading.Thread):
    """Notes how late it wakes."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.late: list[float] = []
        self.done = False

    def run(self) -> None:
        """Sleep for 10 ms at a time."""
        while not self.done:
            began = time.perf_counter()
            time.sleep(0.01)
            self.late.append(time.perf_counter() - began - 0.01)


def _grow(runs: list[Run], count: int, layers: int, journal: Any) -> None:
    rows = make_rows(layers, layers // 2)
    while len(runs) < count:
        number = len(runs)
        run = make_run(f"{number:016x}", Question(prompt=f"Question {number}:"), layers)
        runs.append(finish(run, rows))
        journal.write(Session(created="c", saved=str(number), runs=tuple(runs)))
        _settle(journal)
        changed = number * 7 % len(runs)
        runs[changed] = replace(runs[changed], title=f"title {number}")
        journal.write(Session(created="c", saved=str(number), runs=tuple(runs)))
        _settle(journal)


def _settle(journal: Any) -> None:
    with journal._changed:
        journal._changed.wait_for(lambda: journal._newest is None and not journal._writing)


def _written_bytes() -> int:
    with open("/proc/self/io", encoding="ascii") as stream:  # noqa: PTH123
        return next(int(line.split()[1]) for line in stream if line.startswith("wchar"))


def main() -> None:
    """Measure and print."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 400
    layers = int(sys.argv[2]) if len(sys.argv) > 2 else 32
    journal, keys, runs = Journal(), Keys(), list[Run]()
    keys.start()
    written, processor = _written_bytes(), time.process_time()
    _grow(runs, count, layers, journal)
    written, processor = _written_bytes() - written, time.process_time() - processor
    size = max(path.stat().st_size for path in journals_folder().iterdir())
    keys.done = True
    late = sorted(keys.late)
    print(f"{count} runs of {layers} layers, {2 * count} changes: {size / _MIB:.1f} MiB")
    print(f"  written {written / _MIB:.1f} MiB, processor {processor:.1f} s")
    print(f"  keys late by {late[len(late) // 2] * 1e3:.1f} ms, worst {late[-1] * 1e3:.0f} ms")
    journal.close(discard=True)


if __name__ == "__main__":
    main()
