"""Where the bundled model reads its pictures, and what it costs to find out.

    python -m tests.tracing_benchmark

Traces every ordered pair of the eight bundled scenes that the model answers differently, and prints
the mean recovery of each site at every row; then the processor time of one reading, taken in turns
with that of a bare pass.
"""

from __future__ import annotations

import statistics
import time
from itertools import permutations

import numpy as np
import torch

import samples
from engine.asking.asking import Asking
from engine.door import Loaded, load
from engine.methods.asked_run import AskedRun
from engine.methods.method import carry_out
from engine.methods.registry import method_of
from engine.methods.requests import request_of
from engine.methods.tracing import SITES, TracingReading
from engine.records import Picture, Question

SCENES = [samples.MODEL.parent / "pictures" / f"scene_{number}.png" for number in range(1, 9)]
PROMPTS = ("Color of the main object:", "Shape of the main object:")
REPEATS = 7


def main() -> None:
    """Print the tables."""
    torch.set_num_threads(1)
    loaded = load(samples.MODEL)
    method = method_of("tracing")
    for prompt in PROMPTS:
        asked = {}
        for scene in SCENES:
            asking = Asking(loaded, Question(prompt, picture=Picture(path=str(scene))))
            asked[scene] = AskedRun(asking, asking.run())
        answers = {scene: run.run.rows[-1].top[0].id for scene, run in asked.items()}
        found = []
        for clean, corrupt in permutations(SCENES, 2):
            if answers[clean] == answers[corrupt]:
                continue
            reading = asked[clean].read(method, request_of(method, {"against": f"other={corrupt}"}))
            assert isinstance(reading, TracingReading)
            assert reading.proof is not None and reading.proof.passed
            found.append(reading.recovery.values)
        every = np.stack(found)  # [pairs, sites, rows]
        print(f"{prompt} ({len(found)} pairs)")
        for name, row in zip(SITES, every.mean(0), strict=True):
            print(f"  {name:10}" + "".join(f"{value:6.2f}" for value in row))
        sums = every[:, 0] + every[:, 2]
        print("  sum       " + "".join(f"{value:6.2f}" for value in sums.mean(0)))
    print_cost(loaded, asked[SCENES[0]])


def print_cost(loaded: Loaded, asked: AskedRun) -> None:
    """Print what a reading costs, in seconds and in bare passes."""
    method = method_of("tracing")
    request = request_of(method, {"against": f"other={SCENES[1]}"})
    asked.ask_against(asked.needed(method, request))
    subject = asked.subject
    list(carry_out(method, subject, request, lambda: False))
    seconds: dict[str, list[float]] = {"reading": [], "bare pass": []}
    for _ in range(REPEATS):
        began = time.process_time()
        list(carry_out(method, subject, request, lambda: False))
        seconds["reading"].append(time.process_time() - began)
        began = time.process_time()
        with torch.no_grad():
            for _ in range(10):
                loaded.model(**subject.inputs)
        seconds["bare pass"].append((time.process_time() - began) / 10)
    for name, taken in seconds.items():
        print(f"{name}: {1e3 * statistics.median(taken):.0f} ms (at best {1e3 * min(taken):.0f})")
    passes = statistics.median(
        one / other for one, other in zip(seconds["reading"], seconds["bare pass"], strict=True)
    )
    print(f"one reading is worth {passes:.0f} bare passes")


if __name__ == "__main__":
    main()
