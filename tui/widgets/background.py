"""Slow work in a background thread."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

from textual.app import App

T = TypeVar("T")


def in_background(app: App[Any], work: Callable[[], T], then: Callable[[T], None]) -> None:
    """Run `work` in a daemon thread, and call `then` with its result in the app's thread. A
    Textual worker would delay quitting until it is done."""

    def run() -> None:
        result = work()
        with suppress(RuntimeError):  # the app has exited
            app.call_later(then, result)

    threading.Thread(target=run, daemon=True).start()
