"""Work that takes its time, out of the app's way."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

from textual.app import App

T = TypeVar("T")


def in_background(app: App[Any], work: Callable[[], T], then: Callable[[T], None]) -> None:
    """Do something in a daemon thread, and call `then` with the result in the app's own. A worker
    of Textual's would hold up leaving until it is done."""

    def run() -> None:
        result = work()
        with suppress(RuntimeError):  # the app has left
            app.call_later(then, result)

    threading.Thread(target=run, daemon=True).start()
