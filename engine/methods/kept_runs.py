"""The runs of which more can be read: what their passes have left."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import replace

from engine.errors import BadInput, Remedy
from engine.methods.method import NOT_KEPT, Subject

REMEMBERED = 16
"""Runs of which more can be asked: their inputs and their streams are kept."""

REPLAYS_REMEMBERED = 2
"""Of those, runs whose rows are read by running the model again: they need the pass's inputs and
what the modules before the layers answered, on the model's device."""


class KeptRuns:
    """The last runs of one model, the oldest first."""

    def __init__(self) -> None:
        self._subjects: OrderedDict[str, Subject] = OrderedDict()

    def get(self, run_id: str) -> Subject | None:
        """What is kept of a run, or None."""
        return self._subjects.get(run_id)

    def subject(self, run_id: str) -> Subject:
        """What methods read of a run, the other runs beside it.

        Raises BadInput where it is gone.
        """
        subject = self._subjects.get(run_id)
        if subject is None:
            raise BadInput(NOT_KEPT, Remedy.RUN_AGAIN)
        others = {other: known for other, known in self._subjects.items() if other != run_id}
        return replace(subject, others=others)

    def add(self, subject: Subject) -> None:
        """Keep a run; the oldest make room."""
        self._subjects[subject.run.id] = subject
        while len(self._subjects) > REMEMBERED:
            self._subjects.popitem(last=False)
        replays = [
            run_id
            for run_id, known in self._subjects.items()
            if known.stream is not None and known.stream.replays
        ]
        for run_id in replays[:-REPLAYS_REMEMBERED]:
            self._subjects[run_id] = replace(self._subjects[run_id], stream=None)

    def renew(self, run_id: str) -> None:
        """Let a run outlive those that are there."""
        self._subjects.move_to_end(run_id)

    def clear(self) -> None:
        """Let go of everything."""
        self._subjects.clear()
