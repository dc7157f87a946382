"""Slow work in a background thread."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

from textual.app import App
from textual.message import Message

from engine.errors import typed_line

T = TypeVar("T")


class WorkFailed(Message):
    """Work in the background has raised something that it does not handle; told to the app."""

    def __init__(self, line: str) -> None:
        super().__init__()
        self.line = line


def in_background(app: App[Any], work: Callable[[], T], then: Callable[[T], None]) -> None:
    """Run `work` in a daemon thread, and call `then` with its result in the app's thread; what
    `work` raises is told to the app. A Textual worker would delay quitting until it is done."""

    def run() -> None:
        result = work()
        with suppress(RuntimeError):  # the app has exited
            app.call_later(then, result)

    in_thread(run, lambda line: app.post_message(WorkFailed(line)))


def in_thread(work: Callable[[], object], failed: Callable[[str], object]) -> None:
    """Run `work` in a daemon thread. Whatever it raises, also what is no Exception, ends with
    `failed` being called there with one line, so that nothing waits for ever."""

    def run() -> None:
        try:
            work()
        except BaseException as error:  # a panic of Rust code, for example
            with suppress(RuntimeError):  # the app has exited
                failed(typed_line(error))

    threading.Thread(target=run, daemon=True).start()
