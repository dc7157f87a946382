"""Keeps log lines and progress bars of other libraries out of the terminal."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from engine.system.library_errors import WEIGHTS_BAR


@contextmanager
def quiet() -> Iterator[None]:
    """Silence log lines and progress bars, which would appear in the middle of the screen."""
    from transformers.utils import logging as transformers_logging

    others = [logging.getLogger(name) for name in ("huggingface_hub", "accelerate")]
    levels, verbosity = [other.level for other in others], transformers_logging.get_verbosity()
    bars = transformers_logging.is_progress_bar_enabled()
    for other in others:
        other.setLevel(logging.CRITICAL)
    transformers_logging.set_verbosity(logging.CRITICAL)
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        for other, level in zip(others, levels, strict=True):
            other.setLevel(level)
        transformers_logging.set_verbosity(verbosity)
        if bars:
            transformers_logging.enable_progress_bar()


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
