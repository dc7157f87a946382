"""The dialog to choose a model: recent ones, the bundled one, those in the hub's cache, or any
other."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from textual.binding import Binding, BindingType
from textual.message import Message
from textual.widgets import Input

import samples
from tui.views.files.file_dialog import file_size
from tui.views.files.folder_lister import FolderLister, expand
from tui.widgets.background import in_thread
from tui.widgets.chooser import Choice, Chooser

if TYPE_CHECKING:
    from engine.models.local_models import LocalModel

_LOOKING = Choice("", "searching the cache", section="in the cache")
_MOST_FOLDERS = 50


class ModelPicker(Chooser):
    """Returns a hub id or a folder."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("tab", "complete", show=False)]

    @dataclass
    class Found(Message):
        """The models in the cache, and what the other offered folders hold."""

        cached: tuple[LocalModel, ...]
        folders: tuple[LocalModel, ...]

    def __init__(self, *, recent: Sequence[str], cache_dir: str | None, ascii_only: bool) -> None:
        self._recent = tuple(recent)
        self._cache_dir = cache_dir
        self._lister = FolderLister()
        super().__init__(
            "models",
            self._all((), {}, looking=True),
            ascii_only=ascii_only,
            free="a hub id or a folder",
            hint="a hub id or a folder; tab completes a folder",
        )

    def on_mount(self) -> None:
        """Search the cache in the background: it may hold hundreds of models."""
        super().on_mount()
        names = (str(samples.MODEL), *self._recent)

        def work() -> None:
            from engine.models.local_models import folder_model, local_models

            folders = [folder_model(name) for name in names]
            found = local_models(self._cache_dir)
            with suppress(RuntimeError):  # the app has exited
                self.post_message(self.Found(found, tuple(each for each in folders if each)))

        in_thread(work, lambda line: self.post_message(self.Found((), ())))

    def on_model_picker_found(self, message: ModelPicker.Found) -> None:
        """Show the models found."""
        known = {model.name: model for model in (*message.cached, *message.folders)}
        self.put(self._all(message.cached, known, looking=False))

    def extra_choices(self, typed: str, found: Collection[str]) -> list[Choice]:
        """Return the folders that complete a typed path, and the typed text itself."""
        folders = (
            [path.rstrip("/") for path in self._folders(typed)[:_MOST_FOLDERS]] if typed else []
        )
        offered = [_as_choice(path) for path in folders if path not in found]
        return [
            *offered,
            *super().extra_choices(typed, {*found, *(each.value for each in offered)}),
        ]

    def take(self, value: str) -> None:
        """Enter a folder that is not a model, or close with the chosen model."""
        if value.endswith("/") and value != self.typed:
            self._write(value)
        else:
            super().take(value)

    def action_complete(self) -> None:
        """Complete the path of a folder as far as it is unambiguous."""
        common = os.path.commonprefix(self._folders(self.typed))  # noqa: RUF071, letters are typed
        if len(common) > len(self.typed):
            self._write(common)

    def _folders(self, typed: str) -> list[str]:
        return [path for path in self._lister.completions(typed) if path.endswith("/")]

    def _write(self, path: str) -> None:
        entry = self.query_one(Input)
        entry.value = path
        entry.cursor_position = len(path)

    def _all(
        self, cached: Sequence[LocalModel], known: dict[str, LocalModel], *, looking: bool
    ) -> list[Choice]:
        bundled = str(samples.MODEL)
        details = {name: _described(model) for name, model in known.items()}
        choices = [
            Choice(name, name, details.get(name, ""), "recent")
            for name in self._recent
            if name != bundled
        ]
        choices.append(Choice(bundled, "samples/model", details.get(bundled, ""), "bundled"))
        choices += [
            Choice(model.name, model.name, details[model.name], "in the cache")
            for model in cached
            if model.name not in self._recent
        ]
        return [*choices, _LOOKING] if looking else choices


def _described(model: LocalModel) -> str:
    parts = [
        model.architecture or "",
        file_size(model.bytes),
        "" if model.complete else "incomplete",
    ]
    return ", ".join(part for part in parts if part)


def _as_choice(folder: str) -> Choice:
    try:
        is_model = (Path(expand(folder)) / "config.json").is_file()
    except (OSError, ValueError):
        is_model = False
    if is_model:
        return Choice(folder, folder, "a model", "folders")
    return Choice(f"{folder}/", f"{folder}/", section="folders")
