"""A run and everything that is read about it later, for commands and scripts: single-threaded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from engine.asking.asking import Asking
from engine.counterfactuals.grammar import parse_against
from engine.errors import BadInput, Remedy
from engine.methods.against import Against, Listener, ask_against
from engine.methods.everywhere import Everywhere
from engine.methods.method import Method, Subject, read_whole
from engine.records import Comparison, Counterfactual, Reading, Request, Run


class AskedRun:
    """A finished run, its counterfactuals, and the readings that are added to it."""

    def __init__(self, asking: Asking, run: Run, seed: int = 0) -> None:
        """`asking` has made `run`; `seed` is for counterfactuals that a method needs."""
        self.run = run
        """The run with all readings made so far."""
        self.others: list[Run] = []
        """The runs without the picture, in the order in which they were asked for."""
        self.comparisons: list[Comparison] = []
        """A comparison for each of `others`, in the same order."""
        self.remedies: dict[str, tuple[Remedy, ...]] = {}
        """Run id -> what the user can do about the failure of that run."""
        self._asking = asking
        self._seed = seed
        self._asked: list[Counterfactual] = []
        self._subjects: dict[str, Subject] = {}
        self._everywhere = Everywhere(asking.everywhere)

    @property
    def subject(self) -> Subject:
        """What methods read from."""
        prepared = self._asking.prepared
        inputs = {} if prepared is None else prepared.inputs
        return Subject(
            self._asking.loaded,
            self.run,
            inputs,
            self._asking.kept,
            dict(self._subjects),
            self._everywhere,
        )

    def ask_against(self, counterfactuals: Sequence[Counterfactual]) -> list[Comparison]:
        """Ask again with something else instead of the picture, and compare.

        Counterfactuals that were asked before are skipped. Returns the new comparisons in order.
        Raises BadInput if the run is not done, or if a counterfactual cannot be asked at all.
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

        loaded, reuse = self._asking.loaded, self._asking.reuse
        againsts = [Against(loaded, self.run, kept, each, reuse=reuse) for each in new]
        ask_against(againsts, Listener(ended=ended))
        self._asked += new
        # In the order in which they were asked for, however they were batched.
        ordered = [found[against.run_id] for against in againsts]
        self.others += [run for run, _ in ordered]
        self.comparisons += [comparison for _, comparison in ordered]
        return [comparison for _, comparison in ordered]

    def needed(self, method: Method[Any, Any], request: Request) -> tuple[Counterfactual, ...]:
        """The counterfactuals that a request needs and that have not been asked yet.

        Raises BadInput for a name that is no counterfactual.
        """
        names = [name for name in method.needs(request) if name not in self._subjects]
        wanted = parse_against(names, self._seed) if names else ()
        return tuple(each for each in wanted if each not in self._asked)

    def read(self, method: Method[Any, Any], request: Request) -> Reading:
        """Let a method read, add its reading to the run, and return the reading.

        Asks the counterfactuals that the method needs first. Raises CannotRead if the method does
        not support this run, BadInput for a request that cannot be answered.
        """
        if method.supports(self.subject) is None:
            self.ask_against(self.needed(method, request))
        reading = read_whole(method, self.subject, request)
        self.run = reading.merged(self.run)
        return reading
