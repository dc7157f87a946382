"""A worker, a listener for its events, and the models of the study with narrow layers."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import pytest

import samples
from engine.events import Event, ReadingMade
from engine.records import Picture, Question, Reading, Run
from engine.worker import Worker

if TYPE_CHECKING:
    from engine.asking.asking import Asking
    from engine.models.loading import LoadedModel

Kind = TypeVar("Kind", bound=Event)
Found = TypeVar("Found", bound=Reading)
SHAPE = Question("Shape of the main object:", picture=Picture(path=str(samples.DEFAULT_PICTURE)))
PATIENCE = 120.0
"""Seconds; long enough for a machine under load."""


class Ears:
    """Hears a worker's events; `wait_for` returns the next one of a kind."""

    def __init__(self) -> None:
        self.heard: list[Event] = []
        self.react: Callable[[Event], None] = lambda event: None
        self._changed = threading.Condition()
        self._read = 0

    def tell(self, event: Event) -> None:
        with self._changed:
            self.heard.append(event)
            self._changed.notify_all()
        self.react(event)

    def wait_for(self, *kinds: type[Kind]) -> Kind:
        """The next event of these kinds after the last one that was waited for."""
        deadline = time.monotonic() + PATIENCE
        with self._changed:
            while True:
                for place in range(self._read, len(self.heard)):
                    event = self.heard[place]
                    if isinstance(event, kinds):
                        self._read = place + 1
                        return event
                left = deadline - time.monotonic()
                assert left > 0, f"never heard {kinds}; heard {self.heard[self._read :]}"
                self._changed.wait(left)

    def wait_for_reading(self, kind: type[Found], run_id: str | None = None) -> Found:
        """The next reading, which must be of this kind (and of this run)."""
        made = self.wait_for(ReadingMade)
        assert isinstance(made.reading, kind)
        assert run_id in (None, made.run_id)
        return made.reading


@pytest.fixture(scope="module")
def ran(bundled: LoadedModel) -> tuple[Asking, Run]:
    """A run of `SHAPE`, asked once for all tests of a module."""
    from engine.asking.asking import Asking

    asking = Asking(bundled, SHAPE)
    return asking, asking.run()


@pytest.fixture
def ears() -> Ears:
    return Ears()


@pytest.fixture
def worker(ears: Ears) -> Iterator[Worker]:
    made = Worker(ears.tell)
    made.start()
    yield made
    ears.react = lambda event: None
    made.stop()
    made._thread.join(PATIENCE)
    assert not made._thread.is_alive()


@pytest.fixture(scope="session")
def study(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Folders of the study's models with narrow layers, saved as the checkpoints are; they must not
    be changed."""
    import torch
    from transformers import LlavaForConditionalGeneration, Qwen2VLForConditionalGeneration

    from tests import study_models

    made: dict[str, Path] = {}

    def folder_of(name: str) -> Path:
        if name not in made:
            folder = tmp_path_factory.mktemp("study") / name
            torch.manual_seed(0)
            if name == study_models.LLAVA_NAME:
                config = study_models.llava_config(full_size=False)
                LlavaForConditionalGeneration(config).save_pretrained(folder)
                study_models.save_llava_processor(folder)
            else:
                config = study_models.qwen_config(full_size=False)
                Qwen2VLForConditionalGeneration(config).save_pretrained(folder)
                study_models.save_qwen_processor(folder)
            made[name] = folder
        return made[name]

    return folder_of


@pytest.fixture(scope="session")
def studied(study: Callable[[str], Path]) -> Callable[[str], LoadedModel]:
    """One of them, loaded once."""
    from engine import load

    models: dict[str, LoadedModel] = {}

    def model_of(name: str) -> LoadedModel:
        if name not in models:
            models[name] = load(study(name))
        return models[name]

    return model_of
