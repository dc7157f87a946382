"""Choosing a model: recent ones, the bundled one, what lies in the hub's cache, or any other."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from textual.message import Message

import samples
from tui.dialogs.chooser import Choice, Chooser

if TYPE_CHECKING:
    from engine.local_models import LocalModel

_LOOKING = Choice("", "looking through the cache", section="in the cache")


class ModelPicker(Chooser):
    """Returns a hub id or a folder."""

    @dataclass
    class Found(Message):
        """What lies in the cache."""

        models: tuple[LocalModel, ...]

    def __init__(self, *, recent: Sequence[str], cache_dir: str | None, ascii_only: bool) -> None:
        self._recent = recent
        self._cache_dir = cache_dir
        super().__init__(
            "models",
            self._all((), looking=True),
            ascii_only=ascii_only,
            free="a hub id or a folder",
            hint="a hub id or a folder",
        )

    def on_mount(self) -> None:
        """Look through the cache in the background: it may hold hundreds of models."""
        super().on_mount()

        def work() -> None:
            from engine.local_models import local_models

            found = local_models(self._cache_dir)
            with suppress(RuntimeError):  # the app has left
                self.post_message(self.Found(found))

        threading.Thread(target=work, daemon=True).start()

    def on_model_picker_found(self, message: ModelPicker.Found) -> None:
        """Show them."""
        self.put(self._all(message.models, looking=False))

    def _all(self, cached: Sequence[LocalModel], *, looking: bool) -> list[Choice]:
        sizes = {model.name: _described(model) for model in cached}
        bundled = str(samples.MODEL)
        choices = [
            Choice(name, name, sizes.get(name, ""), "recent")
            for name in self._recent
            if name != bundled
        ]
        choices.append(Choice(bundled, "samples/model", "2.5 million parameters", "bundled"))
        choices += [
            Choice(model.name, model.name, sizes[model.name], "in the cache")
            for model in cached
            if model.name not in self._recent
        ]
        if looking:
            choices.append(_LOOKING)
        return choices


def _described(model: LocalModel) -> str:
    parts = [model.architecture or "", _size(model.bytes), "" if model.complete else "incomplete"]
    return ", ".join(part for part in parts if part)


def _size(count: int) -> str:
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count} B"
