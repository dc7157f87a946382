"""A run and what is read of it afterwards, for commands and scripts: everything in one thread."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from engine.asking.asking import Asking
from engine.counterfactuals.grammar import parse_against
from engine.errors import BadInput, Remedy
from engine.methods.against import Against, Listener, ask_against
from engine.methods.method import Method, Subject, read_whole
from engine.records import Comparison, Counterfactual, Reading, Request, Run


class AskedRun:
    """A run that is over, the counterfactuals of it, and the readings that it gets."""

    def __init__(self, asking: Asking, run: Run, seed: int = 0) -> None:
        """`asking` is what made `run`; `seed` is that of counterfactuals that a method needs."""
        self.run = run
        """With all readings made so far."""
        self.others: list[Run] = []
        """The runs without the picture, in the order in which they were asked for."""
        self.comparisons: list[Comparison] = []
        self.remedies: dict[str, tuple[Remedy, ...]] = {}
        """What can be done about a run that failed, by its id."""
        self._asking = asking
        self._seed = seed
        self._asked: list[Counterfactual] = []
        self._subjects: dict[str, Subject] = {}

    @property
    def subject(self) -> Subject:
        """What methods read from."""
        prepared = self._asking.prepared
        inputs = {} if prepared is None else prepared.inputs
        return Subject(
            self._asking.loaded, self.run, inputs, self._asking.kept, dict(self._subjects)
        )

    def ask_against(self, counterfactuals: Sequence[Counterfactual]) -> list[Comparison]:
        """Ask again with something else instead of the picture; what is new is compared, in order.

        Raises BadInput where one cannot be asked at all.
        """
        new = [each for each in counterfactuals if each not in self._asked]
        if not new:
            return []
        kept = self._asking.kept
        if kept is None:
            raise BadInput("this run is not done: nothing can be compared with it")
        found: dict[str, tuple[Run, Comparison]] = {}

        def ended(against: Against, run: Run, comparison: Comparison) -> None:
            found[against.run_id] = run, comparison
            self.remedies[run.id] = against.asking.remedies
            prepared = against.asking.prepared
            if prepared is not None and against.asking.kept is not None:
                self._subjects[run.id] = Subject(
                    against.asking.loaded, run, prepared.inputs, against.asking.kept
                )

        againsts = [Against(self._asking.loaded, self.run, kept, each) for each in new]
        ask_against(againsts, Listener(ended=ended))
        self._asked += new
        # In the order in which they were asked for, whichever went together.
        ordered = [found[against.run_id] for against in againsts]
        self.others += [run for run, _ in ordered]
        self.comparisons += [comparison for _, comparison in ordered]
        return [comparison for _, comparison in ordered]

    def needed(self, method: Method[Any, Any], request: Request) -> tuple[Counterfactual, ...]:
        """The counterfactuals that a request needs and that have not been asked.

        Raises BadInput for one that there is not.
        """
        names = [name for name in method.needs(request) if name not in self._subjects]
        wanted = parse_against(names, self._seed) if names else ()
        return tuple(each for each in wanted if each not in self._asked)

    def read(self, method: Method[Any, Any], request: Request) -> Reading:
        """Let a method read; its reading is then part of the run.

        Raises CannotRead where the method does not support this run, BadInput for a request that
        cannot be answered.
        """
        if method.supports(self.subject) is None:
            self.ask_against(self.needed(method, request))
        reading = read_whole(method, self.subject, request)
        self.run = reading.merged(self.run)
        return reading
