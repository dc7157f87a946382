"""Keeps log lines and progress bars of other libraries out of the terminal, and reads them."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from engine.system.library_errors import WEIGHTS_BAR
from engine.system.library_warnings import Heard

_LOUD = ("huggingface_hub", "accelerate", "peft", "bitsandbytes")
"""Libraries that log beside transformers."""


@contextmanager
def quiet() -> Iterator[None]:
    """Silence log lines and progress bars, which would appear in the middle of the screen."""
    with _logged_to(logging.NullHandler()):
        yield


@contextmanager
def listening() -> Iterator[Heard]:
    """As `quiet`, and collect what the libraries log or warn of meanwhile: some of it concerns the
    truth of what is shown."""
    heard = Heard()
    try:
        with warnings.catch_warnings(record=True) as caught, _logged_to(_Ear(heard)):
            warnings.simplefilter("always")
            yield heard
    finally:
        for message in caught:
            heard.add(str(message.message))


@contextmanager
def _logged_to(handler: logging.Handler) -> Iterator[None]:
    """Let the libraries' loggers write to this handler alone, and draw no progress bars."""
    from transformers.utils import logging as transformers_logging

    transformers_logger = transformers_logging.get_logger("transformers")
    loggers = [transformers_logger, *(logging.getLogger(name) for name in _LOUD)]
    before = [(each.level, each.propagate, each.handlers[:]) for each in loggers]
    bars = transformers_logging.is_progress_bar_enabled()
    # What is said once a process would be missed when a second model is loaded.
    transformers_logging.warning_once.cache_clear()
    for each in loggers:
        each.handlers[:] = [handler]
        each.propagate = False
        each.setLevel(logging.WARNING)
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        for each, (level, propagate, handlers) in zip(loggers, before, strict=True):
            each.setLevel(level)
            each.propagate = propagate
            each.handlers[:] = handlers
        if bars:
            transformers_logging.enable_progress_bar()


class _Ear(logging.Handler):
    """Hands what is logged to `Heard`."""

    def __init__(self, heard: Heard) -> None:
        super().__init__(logging.WARNING)
        self._heard = heard

    def emit(self, record: logging.LogRecord) -> None:
        """Add one message."""
        self._heard.add(record.getMessage())


@contextmanager
def weights_progress(progress: Callable[[str, float | None], None]) -> Iterator[None]:
    """Tell what share of a model's weights is loaded, instead of transformers' progress bar."""
    from transformers.utils import logging as transformers_logging

    def told(factory: Any, args: tuple[Any, ...], settings: dict[str, Any]) -> Any:
        items = args[0] if args else settings.get("iterable")
        if settings.get("desc") != WEIGHTS_BAR or items is None:
            return factory(*args, **settings)
        return _told(items, progress)

    before = transformers_logging.set_tqdm_hook(told)
    try:
        yield
    finally:
        transformers_logging.set_tqdm_hook(before)


def _told(items: Iterable[Any], progress: Callable[[str, float | None], None]) -> Iterator[Any]:
    everything = list(items)
    for done, item in enumerate(everything):
        if done * 100 // len(everything) != (done - 1) * 100 // len(everything):
            progress("loading the weights", done / len(everything))
        yield item
