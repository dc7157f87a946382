"""The explorer on a worker with fixed data: what pty tests run where no model is wanted.

python -m tests.terminal.fake_entry [--layers N] [--hold-at ROW]
        [--row-seconds S] [--token-seconds S] [--deaf] [--fails] [--hostile]
        [--chat PATCHES] [--crashes] [--theme NAME] [--ascii] [--lite] [--no-mouse]
        [--picture FILE] [--worker NAME]
"""

from __future__ import annotations

import argparse
import os
import sys
import threading
import time
from functools import partial

from engine.events import LoadOptions
from engine.records import Picture, Question
from tests.tui.fakes import FakeWorker, chat_tokens
from tui.app import Explorer, run_explorer
from tui.startup import Startup

PROMPT = "Shape of the main object:"
HOSTILE = "\x1b]0;PWNED\x07[/red]\u202e"


def _write_foreign_lines() -> None:
    """Write as C code does, past Python's streams, while the explorer runs."""
    while os.isatty(2):
        time.sleep(0.01)
    for stream in (1, 2):
        os.write(stream, f"FOREIGN to {stream} \x1b]0;PWNED\x07\n".encode())


def _crash(app: Explorer, text: str, what: str) -> None:
    secret = f"a value that no terminal should show: {what}"
    raise RuntimeError("boom\n\x1b[31m" + secret[:0])


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--layers", type=int, default=32)
    parser.add_argument("--hold-at", type=int)
    parser.add_argument("--row-seconds", type=float, default=0.0)
    parser.add_argument("--token-seconds", type=float, default=0.0)
    parser.add_argument("--deaf", action="store_true")
    parser.add_argument("--fails", action="store_true")
    parser.add_argument("--theme")
    parser.add_argument("--ascii", action="store_true")
    parser.add_argument("--lite", action="store_true")
    parser.add_argument("--picture")
    parser.add_argument("--hostile", action="store_true")
    parser.add_argument("--no-mouse", action="store_true")
    parser.add_argument("--no-diff", dest="diff", action="store_false")
    parser.add_argument("--chat", type=int, help="a chat prompt with so many patches")
    parser.add_argument("--worker", default="run", help="its runs' ids are made from this")
    parser.add_argument("--foreign", action="store_true", help="write to the standard streams")
    parser.add_argument("--crashes", action="store_true", help="copying ends it")
    given = parser.parse_args()
    if given.crashes:
        Explorer.copy_text = _crash  # type: ignore[assignment, method-assign]
    if given.foreign:
        threading.Thread(target=_write_foreign_lines, daemon=True).start()
    worker = partial(
        FakeWorker,
        layers=given.layers,
        forms_at=given.layers // 2,
        hold_at=given.hold_at,
        row_seconds=given.row_seconds,
        token_seconds=given.token_seconds,
        name=given.worker,
        deaf=given.deaf,
        passed=not given.fails,
        words=[HOSTILE] * 9 if given.hostile else None,
        tokens=None if given.chat is None else chat_tokens(PROMPT.split(), given.chat),
    )
    picture = Picture(given.picture) if given.picture else None
    question = Question(prompt=PROMPT, picture=picture)
    return run_explorer(
        Startup(
            options=LoadOptions("samples/model"),
            question=question,
            lite=given.lite,
            diff=given.diff,
            ascii=given.ascii,
            theme=given.theme,
            mouse=not given.no_mouse,
            worker=worker,
        )
    )


if __name__ == "__main__":
    sys.exit(main())
