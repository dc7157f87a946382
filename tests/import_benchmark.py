"""How long importing torch and transformers stalls the other threads. Reports, asserts nothing.

    python -m tests.import_benchmark [--repeats N]

Each way imports in a thread of a fresh process, as the explorer's worker does, while an event loop
in the main thread, as Textual's, wants to wake every 5 ms. What it wakes late is a stall: neither a
frame is drawn nor a key answered in that time. The ways take turns; medians.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable

TICK = 0.005
LONG = 0.05
"""Stalls of so many seconds are felt while typing, and are summed up."""


def at_once() -> None:
    """The same imports, without anything done about their stalls."""
    import transformers
    import transformers.modeling_utils

    for name in (
        "AutoModelForImageTextToText",
        "AutoProcessor",
        "AutoTokenizer",
        "GenerationMixin",
    ):
        getattr(transformers, name)


def as_the_worker() -> None:
    from engine.system.libraries import import_libraries

    import_libraries()


WAYS: dict[str, Callable[[], None]] = {"at once": at_once, "as the worker": as_the_worker}
FIGURES = {
    "clock": "s on the clock",
    "processor": "s of processor time",
    "longest": "ms: the longest stall",
    "long": f"ms in stalls over {LONG * 1000:.0f} ms",
}


def main(repeats: int) -> None:
    found: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
    for _ in range(repeats):
        for way in WAYS:
            command = [sys.executable, "-m", "tests.import_benchmark", "--measure", way]
            told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            found[way].append(json.loads(told))
    print(f"importing torch and transformers, medians of {repeats}")
    for figure, what in FIGURES.items():
        values = {way: [each[figure] for each in found[way]] for way in WAYS}
        told = ", ".join(
            f"{way} {statistics.median(each):.4g} ({min(each):.4g} to {max(each):.4g})"
            for way, each in values.items()
        )
        print(f"{what}: {told}")


async def measured(way: Callable[[], None]) -> dict[str, float]:
    import textual.app  # noqa: F401  what the explorer has imported by then

    stalls: list[float] = []
    ended = threading.Event()

    def work() -> None:
        try:
            way()
        finally:
            ended.set()

    began, busy = time.perf_counter(), time.process_time()
    threading.Thread(target=work, daemon=True).start()
    last = began
    while not ended.is_set():
        await asyncio.sleep(TICK)
        now = time.perf_counter()
        stalls.append(now - last - TICK)
        last = now
    return {
        "clock": last - began,
        "processor": time.process_time() - busy,
        "longest": 1000 * max(stalls),
        "long": 1000 * sum(stall for stall in stalls if stall > LONG),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--measure", choices=WAYS, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure is None:
        main(given.repeats)
    else:
        print(json.dumps(asyncio.run(measured(WAYS[given.measure]))))
