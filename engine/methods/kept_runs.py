"""The runs that the worker keeps so that more can be read from them."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import replace

from engine.errors import BadInput, Remedy
from engine.methods.answer import AnswerReading
from engine.methods.method import NOT_KEPT, Subject
from engine.records import Reading

REMEMBERED = 16
"""How many runs are kept, with their inputs and their streams."""

EVERYWHERE_REMEMBERED = 2
"""For how many of them, the newest, the streams of all positions are kept."""

REPLAYS_REMEMBERED = 2
"""For how many of them the stream is kept if rows are read by replay: such a run keeps tensors on
the model's device, its inputs and the outputs of the modules before the layers."""


class KeptRuns:
    """The newest runs of a model, the oldest of them first."""

    def __init__(self) -> None:
        self._subjects: OrderedDict[str, Subject] = OrderedDict()

    def get(self, run_id: str) -> Subject | None:
        """What is kept of a run; None if it is not kept."""
        return self._subjects.get(run_id)

    def subject(self, run_id: str) -> Subject:
        """The subject of a run, with all other kept runs as its `others`.

        Raises BadInput if the run is no longer kept.
        """
        subject = self._subjects.get(run_id)
        if subject is None:
            raise BadInput(NOT_KEPT, Remedy.RUN_AGAIN)
        self._drop_streams(run_id)
        others = {other: known for other, known in self._subjects.items() if other != run_id}
        return replace(subject, others=others)

    def add(self, subject: Subject) -> None:
        """Keep a run, and drop the oldest if there are too many."""
        self._subjects[subject.run.id] = subject
        while len(self._subjects) > REMEMBERED:
            self._subjects.popitem(last=False)
        self._drop_streams()
        replays = [
            run_id
            for run_id, known in self._subjects.items()
            if known.stream is not None and known.stream.replays
        ]
        for run_id in replays[:-REPLAYS_REMEMBERED]:
            self._subjects[run_id] = replace(self._subjects[run_id], stream=None)

    def _drop_streams(self, reading: str | None = None) -> None:
        """Free the streams of all positions but of the newest runs that have them, and of the one
        that is being read."""
        holders = [run_id for run_id, known in self._subjects.items() if known.everywhere.holds]
        for run_id in holders[:-EVERYWHERE_REMEMBERED]:
            if run_id != reading:
                self._subjects[run_id].everywhere.drop()

    def learn(self, run_id: str, reading: Reading) -> None:
        """Add to a run, if it is kept, what later requests rest on: its answer, and what was read
        at other positions. Other readings would only take memory here."""
        known = self._subjects.get(run_id)
        if known is not None and (isinstance(reading, AnswerReading) or not reading.stored):
            self._subjects[run_id] = replace(known, run=reading.merged(known.run))

    def renew(self, run_id: str) -> None:
        """Make this run the newest, so that it is dropped last."""
        self._subjects.move_to_end(run_id)

    def drop(self, run_id: str) -> None:
        """Keep nothing of this run any more."""
        self._subjects.pop(run_id, None)

    def drop_what_passes_left(self) -> bool:
        """Free what the passes of the runs have left for later ones, because memory has run out;
        whether there was anything."""
        held = False
        for subject in self._subjects.values():
            held |= subject.loaded.lens.reuse.drop()
        return held

    def clear(self) -> None:
        """Drop all runs."""
        self._subjects.clear()
