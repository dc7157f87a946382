"""The explorer on a worker that answers like a GPU: a whole pass within some thirty milliseconds.

    python -m tests.terminal.pass_entry [--arrives WAY[,WAY ...]] [--pass-seconds S] [--lite]
            [--no-diff] [--plot]

The run has the shape of one of LLaVA-1.5-7B: 33 rows of ten tokens, 576 patches in the prompt and
thirty tracked tokens. Its rows come in one of the ways of `WAYS`; with several, each run takes the
next one. Successive runs say other words, so that every run changes every row.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from typing import Any, Final

from msgspec.structs import replace

from engine.events import Event, LoadOptions, RowsRead, RunEnded, RunStarted
from engine.records import Picture, Question, Run
from tests.terminal.pty_app import ROOT
from tests.tui.fakes import WORDS, FakeWorker, chat_tokens, finish, make_rows, tracked_tokens
from tui.app import run_explorer
from tui.startup import Startup

LAYERS: Final = 32
PATCHES: Final = 576
TRACKED: Final = 30
PROMPT: Final = "What is in the middle of the picture?"
WAYS: Final = {"groups": 6, "burst": LAYERS + 1, "rows": 1}
"""How rows come -> how many there are in an event."""
_OTHER_WORDS: Final = [
    " a", " dog", " street", " green", " tree", " left", " man", " 3", " of", " sky",
]  # fmt: skip


class PassWorker(FakeWorker):
    """Tells the rows of a run in groups, spread evenly over the seconds that a pass takes."""

    def __init__(self, tell: Callable[[Event], None], *, ways: list[str], seconds: float) -> None:
        tokens = chat_tokens(PROMPT.split(), PATCHES)
        super().__init__(tell, layers=LAYERS, forms_at=LAYERS // 2, tokens=tokens)
        self._ways, self._seconds, self._runs = ways, seconds, 0

    def _run(self, run: Run, without: bool = False) -> None:
        group = WAYS[self._ways[self._runs % len(self._ways)]]
        other = self._runs // len(self._ways) % 2 == 1
        self._runs += 1
        words = _OTHER_WORDS if other else WORDS
        forms_at = self.forms_at + 5 * other
        rows = make_rows(LAYERS, forms_at, run.question.top_k, words)
        done = finish(run, rows)
        tracked = tracked_tokens(range(100, 100 + TRACKED), len(rows))
        done = replace(done, tracked=(*done.tracked, *tracked))
        began = time.monotonic()
        self.tell(RunStarted(run))
        for start in range(0, len(rows), group):
            part = rows[start : start + group]
            due = began + self._seconds * (start + len(part)) / len(rows)
            time.sleep(max(due - time.monotonic(), 0))
            if self.cancelled.is_set():
                self.tell(RunEnded(finish(run, rows[:start], "cancelled")))
                return
            self.tell(RowsRead(run.id, tuple(part)))
        self.tell(RunEnded(done))


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--arrives", default="groups", help=f"{', '.join(WAYS)}; with commas")
    parser.add_argument("--pass-seconds", type=float, default=0.031)
    parser.add_argument("--lite", action="store_true")
    parser.add_argument("--no-diff", dest="diff", action="store_false")
    parser.add_argument("--plot", action="store_true")
    given = parser.parse_args()
    ways = given.arrives.split(",")

    def worker(tell: Callable[[Event], None]) -> Any:
        return PassWorker(tell, ways=ways, seconds=given.pass_seconds)

    picture = Picture(str(ROOT / "samples" / "pictures" / "scene_1.png"))
    return run_explorer(
        Startup(
            options=LoadOptions("samples/model"),
            question=Question(prompt=PROMPT, picture=picture),
            lite=given.lite,
            diff=given.diff,
            plot="probability" if given.plot else None,
            worker=worker,
        )
    )


if __name__ == "__main__":
    sys.exit(main())
