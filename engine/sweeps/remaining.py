"""Which questions of a source are still to be asked."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

from engine.errors import BadInput, Remedy
from engine.sweeps.names import exact_name
from engine.sweeps.preparing import decoded
from engine.sweeps.replacing import with_replacements
from engine.sweeps.sources.tasks import PictureTasks, Source, Task, shard_of
from engine.sweeps.store import Store, task_key
from engine.system.files import storable

CHECKED = 4
"""Pictures that are read again when a sweep resumes, to see that they are the same."""


class Remaining:
    """The questions of one shard that have neither a result nor a failure in the store."""

    def __init__(
        self,
        source: Source,
        store: Store,
        limit: int | None = None,
        retry: bool = False,
        against: Sequence[str] = (),
    ) -> None:
        """`limit` counts the pictures of all shards; with `retry`, questions that failed are asked
        again; all are also asked with each of `against` instead of the picture. Raises BadInput
        where a picture that has results has changed."""
        self._against = against
        self._source = source
        self._store = store
        self._limit = limit
        if retry:
            store.forget_failures(
                {
                    task_key(exact_name(picture), task)
                    for picture in self._of_this_shard(source.listing)
                    for task in self._all_of(picture)
                }
            )
        self._done = store.done()
        self._refuse_changed_pictures()

    def count(self) -> int:
        """How many questions there are, found without opening a picture."""
        return sum(len(picture.tasks) for picture in self._unasked(self._source.listing))

    def pictures(self) -> Iterator[PictureTasks]:
        """The pictures that have such questions, each with these questions alone and under its
        exact name."""
        return self._unasked(self._source.pictures)

    def _of_this_shard(self, pictures: Iterable[PictureTasks]) -> Iterator[PictureTasks]:
        if self._limit is not None:
            pictures = islice(pictures, self._limit)
        return shard_of(pictures, self._store.shard, self._store.shards)

    def _unasked(self, pictures: Iterable[PictureTasks]) -> Iterator[PictureTasks]:
        for picture in self._of_this_shard(pictures):
            name = exact_name(picture)
            wanted = self._all_of(picture)
            tasks = tuple(task for task in wanted if task_key(name, task) not in self._done)
            if tasks:
                yield dataclasses.replace(picture, path=name, tasks=tasks)

    def _all_of(self, picture: PictureTasks) -> Iterator[Task]:
        return with_replacements(picture.tasks, self._against)

    def _refuse_changed_pictures(self) -> None:
        known = dict(islice(self._store.pictures.items(), CHECKED))
        if not known:
            return
        for picture in self._source.pictures:
            name = exact_name(picture)
            if name not in known:
                continue
            try:
                digest = decoded(picture).sha256
            except BadInput:
                digest = "none"
            if digest != known.pop(name):
                raise BadInput(
                    f"{storable(self._store.folder)} holds results of another picture "
                    f"{picture.path}: choose another folder",
                    Remedy.OTHER_FOLDER,
                )
            if not known:
                return
