"""A panic of Rust code becomes an ordinary error."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from engine.passes.thread import submit
from engine.system.panics import LibraryPanicked, panics_as_errors

PanicException = type("PanicException", (BaseException,), {})
"""What pyo3 raises; its class has no module that could be imported."""


def test_a_panic() -> None:
    with pytest.raises(LibraryPanicked, match="has failed inside: no entry"), panics_as_errors():
        raise PanicException("no\nentry")


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(1), ValueError("odd")])
def test_what_is_none(error: BaseException) -> None:
    with pytest.raises(type(error)), panics_as_errors():
        raise error


def test_the_thread_of_passes_is_started_again(monkeypatch: pytest.MonkeyPatch) -> None:
    class Model:
        """Anything that can be referred to weakly."""

    model, done, dead = Model(), threading.Event(), []
    monkeypatch.setattr(threading, "excepthook", lambda _: None)

    def die() -> Any:
        dead.append(threading.current_thread())
        raise PanicException("in a job")

    submit(model, die)
    while not dead:
        done.wait(0.001)
    dead[0].join(60)
    submit(model, done.set)
    assert done.wait(60)
