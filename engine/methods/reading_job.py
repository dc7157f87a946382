"""A request to a method that is being answered step by step."""

from __future__ import annotations

from collections.abc import Callable, Generator

from engine.asking.asking import explain
from engine.errors import Cancelled, LenscopeError
from engine.events import Event, ReadingDropped, ReadingGrew, ReadingMade, Trouble
from engine.methods.kept_runs import KeptRuns
from engine.methods.method import Stop, carry_out
from engine.methods.registry import method_for
from engine.records import Part, Reading, Request
from engine.system.memory import give_memory_back, is_out_of_memory


class ReadingJob:
    """A method that is reading a run, and whose findings are told as events."""

    def __init__(self, run_id: str, request_id: str, request: Request, is_cancelled: Stop) -> None:
        """`is_cancelled` says whether all work ordered until then has been cancelled."""
        self.run_id = run_id
        self.id = request_id
        self._request = request
        self._method = method_for(request)
        self._is_cancelled = is_cancelled
        self._found: Generator[Part | Reading | None, None, None] | None = None
        self._ended = False
        self._may_start_anew = True
        """Whether nothing has been told yet, nor the job been started anew."""
        self.cancelled = False
        """Set this to end this job and no other."""

    @property
    def background(self) -> bool:
        """Whether it gives way to all other work."""
        return self._method.background

    def stop(self) -> bool:
        """Whether the job should end."""
        return self.cancelled or self._is_cancelled()

    @property
    def _may_end_with_what_is_whole(self) -> bool:
        begun = self._found is not None and not self._is_cancelled()
        return begun and self._method.ends_with_what_is_whole

    def drop(self, tell: Callable[[Event], None]) -> None:
        """End a job between two of its steps, in the thread that carries them out: what it holds,
        such as a model, is freed at once."""
        self.cancelled = True
        if not self._ended:
            self._ended = True
            if self._found is not None:
                self._found.close()
                self._found = None
            tell(ReadingDropped(self.run_id, self.id))

    def go_on(self, runs: KeptRuns, tell: Callable[[Event], None]) -> bool:
        """Take the next thing that the method yields and tell it; whether more is to come.

        Where memory runs out before anything has been told, what passes have left for later ones is
        freed, and the job starts anew, once.
        """
        if self._ended:
            return False
        found: Part | Reading | None = None
        failure: Trouble | None = None
        starts_anew = False
        try:
            if self.stop() and not self._may_end_with_what_is_whole:
                raise Cancelled("cancelled")
            if self._found is None:
                subject = runs.subject(self.run_id)
                self._found = carry_out(self._method, subject, self._request, self.stop)
            found = next(self._found)
            if found is None:
                return True
        except Cancelled:
            failure = Trouble("reading more from this run was cancelled", self.run_id, (), self.id)
        except LenscopeError as error:
            failure = Trouble.of(error, self.run_id, self.id)
        except BaseException as error:  # a panic of Rust code is no Exception
            if is_out_of_memory(error):
                starts_anew = runs.drop_what_passes_left() and self._may_start_anew
            failure = Trouble.of(explain(error), self.run_id, self.id)
        if starts_anew:
            self._found, self._may_start_anew = None, False
            give_memory_back()
            return True
        if isinstance(found, Part):
            self._may_start_anew = False
            tell(ReadingGrew(self.run_id, self.id, found))
            return True
        self._found, self._ended = None, True
        if isinstance(found, Reading):
            runs.learn(self.run_id, found)
            tell(ReadingMade(self.run_id, self.id, found))
            return False
        # Only here have the error and the tensors in its frames been freed.
        give_memory_back()
        if failure is None or (self.background and self.stop()):
            tell(ReadingDropped(self.run_id, self.id))
        else:
            tell(failure)
        return False
