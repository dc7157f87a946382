"""Small data in published formats, and a sweep over it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from engine.lens.batch_reuse import BatchReuse
from engine.models.loading import LoadedModel
from engine.records import Question
from engine.sweeps.progress import Progress
from engine.sweeps.records import Sweep, SweepData, SweepItem, SweepQuestion
from engine.sweeps.running import Sweeping
from engine.sweeps.sources.opening import open_source
from engine.sweeps.sources.tasks import Source
from engine.sweeps.store import Store, read_items
from samples.making.clevr import write_clevr

SCENES = 10


@pytest.fixture(scope="session")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Scenes as the bundled model is measured on, in CLEVR's format; not to be changed."""
    folder = tmp_path_factory.mktemp("clevr")
    write_clevr(folder, SCENES)
    return folder


def described(loaded: LoadedModel, source: Source, **changes: Any) -> Sweep:
    """What `lenscope sweep` would record."""
    return Sweep(
        created="2026-11-25T00:00:00.000Z",
        model=loaded.card,
        layers=len(loaded.lens.layers) if loaded.lens._learned else 10,
        question=SweepQuestion(chat=True, system=None, prefix=""),
        data=SweepData(
            source.kind, source.path, source.digest, source.picture_count, source.item_count
        ),
        prompts=("?",),
        **changes,
    )


class Swept(NamedTuple):
    """A sweep that is over."""

    progress: Progress
    items: dict[str, SweepItem]
    folder: Path


Sweeper = Callable[..., Swept]


@pytest.fixture
def no_beginnings(monkeypatch: pytest.MonkeyPatch) -> None:
    """No batch goes on from what its pictures' questions have in common."""
    monkeypatch.setattr(BatchReuse, "refusal", lambda self, *asked: "not to be tried")


@pytest.fixture
def sweep(tmp_path: Path) -> Sweeper:
    """Run a sweep into `out` in a folder of the test's own, or into another name."""
    return sweeper(tmp_path)


def sweeper(folder: Path) -> Sweeper:
    """Runs sweeps into folders in this one."""

    def run(
        loaded: LoadedModel,
        data: Path | Source,
        out: str = "out",
        shard: tuple[int, int] = (0, 1),
        **settings: Any,
    ) -> Swept:
        source = data if isinstance(data, Source) else open_source(data)
        store = Store(folder / out, *shard)
        try:
            against = settings.get("against", ())
            reads = settings.pop("reads", ())
            decoding = settings.pop("decoding", None)
            named = {"against": against, "reads": reads, "decoding": decoding}
            named["orders"] = settings.pop("orders", {})
            record = store.belongs_to(described(loaded, source, **named))
            progress = Sweeping(
                loaded, source, store, Question(prompt=""), record, **settings
            ).run()
        finally:
            store.close()
        items = {item.item: item for item in read_items(folder / out)}
        return Swept(progress, items, folder / out)

    return run
