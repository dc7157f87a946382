"""Asks questions: from the question to the finished run, telling rows while they come."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import cache, partial
from importlib import metadata

from msgspec import structs

from engine.counterfactuals.inputs import counterfactual_inputs
from engine.errors import (
    LESS_MEMORY,
    BadInput,
    Cancelled,
    LenscopeError,
    PassFailed,
    Remedy,
    TooManyAtOnce,
    typed_line,
)
from engine.lens.failures import describe_failure
from engine.lens.kept import KeptStream
from engine.lens.row_reader import OnLogits, Wanted
from engine.lens.streaming import ItemResult, StreamedPass
from engine.lens.streams import Streams
from engine.models.loading import LoadedModel
from engine.pictures.model_view import processed
from engine.pictures.opening import open_picture
from engine.prompts.preparing import Prepared, prepare
from engine.records import LayerReading, Processed, PromptToken, Question, Run, RunStatus
from engine.stays import formation_row
from engine.system.library_errors import miscounts_picture
from engine.system.memory import is_out_of_memory
from engine.system.stamps import new_run_id, now

NOT_RUN = "this question has not been asked"
STORED_TOP = 10
"""Rows store at least this many top tokens, however few are displayed."""


@cache
def versions() -> dict[str, str]:
    """The versions of the packages that a run depends on."""
    found = {}
    for package in ("lenscope", "torch", "transformers", "pillow"):
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "unknown"
    return found


class Asking:
    """One question to one model. Call `run` once; `cancel` may be called from any thread."""

    def __init__(
        self,
        loaded: LoadedModel,
        question: Question,
        run_id: str | None = None,
        track: Sequence[int] = (),
        on_logits: OnLogits | None = None,
        reuse: bool = False,
    ) -> None:
        """For `track` and `on_logits` see `Wanted`. With `reuse`, the pass uses what earlier ones
        about the same picture have left, and leaves the same: see `engine.lens.reuse`."""
        self.loaded = loaded
        self.wanted = Wanted(tuple(track), on_logits)
        self._question = question
        self.reuse = reuse
        self.run_id = run_id or new_run_id()
        self._began = 0.0
        self._pass: StreamedPass | None = None
        self.cancelled = False
        self._run: Run | None = None
        self.prepared: Prepared | None = None
        self.kept: KeptStream | None = None
        """The kept stream, from which more can be read; None unless the run is done."""
        self.everywhere: Callable[[], Streams | str] | Streams | str = NOT_RUN
        """The streams at all positions of a run that is done, or a function that puts them
        together; or why they are not kept."""
        self.remedies: tuple[Remedy, ...] = ()
        """What the user can do about the run's error."""

    def run(
        self,
        started: Callable[[Run], None] = lambda run: None,
        read: Callable[[Sequence[LayerReading]], None] = lambda rows: None,
    ) -> Run:
        """Prepare, run and prove, and return the finished run, whatever its status.

        `started` is called with the run once its inputs are prepared, `read` with each group of
        rows. A run whose proof fails has the status "failed" and that proof. Raises BadInput if the
        question cannot be asked at all, CannotRead if the lens cannot be used this way.
        """
        started(self.prepare())
        (run,) = ask_together([self], lambda item, rows: read(rows))
        return run

    def prepare(self) -> Run:
        """Make the inputs, and return the run without rows. Raises BadInput if the question cannot
        be asked."""
        self._began = time.perf_counter()
        question, image = self._question, None
        if question.picture is not None:
            opened = open_picture(question.picture.path)
            question, image = structs.replace(question, picture=opened.record), opened.image
        loaded = self.loaded
        prepared = prepare(loaded.model, loaded.processor, question, image)
        if question.counterfactual is not None:
            made = counterfactual_inputs(loaded, question, prepared, question.counterfactual, image)
            prepared = made
            question = structs.replace(question, counterfactual=made.counterfactual)
        shown = question.picture
        seen = None if shown is None else processed(loaded.processor, prepared.inputs, shown)
        return self._begin(question, prepared, seen)

    def begin(self, prepared: Prepared) -> Run:
        """Take inputs that were made before for the question, and return the run without rows."""
        self._began = time.perf_counter()
        return self._begin(self._question, prepared, None)

    def _begin(self, question: Question, prepared: Prepared, seen: Processed | None) -> Run:
        self.prepared, loaded = prepared, self.loaded
        question = structs.replace(
            question,
            text=prepared.text,
            model=loaded.card,
            chat=question.chat and loaded.has_chat_template,
        )
        self._run = Run(
            id=self.run_id,
            created=now(),
            status="cancelled",
            layers=len(loaded.lens.layers),
            question=question,
            tokens=prepared.tokens,
            position=len(prepared.tokens) - 1,
            rows=(),
            versions=versions(),
            seconds={"inputs": time.perf_counter() - self._began},
            processed=seen,
        )
        return self._run

    @property
    def streams(self) -> Streams | str:
        """The streams at all positions of a run that is done; or why they are not kept."""
        if callable(self.everywhere):
            self.everywhere = self.everywhere()
        return self.everywhere

    @property
    def reuse_from(self) -> int | None:
        """The number of tokens that the pass must have in common with an earlier one to go on from
        it: those up to the end of the picture. None if nothing is to be reused."""
        if not self.reuse or self.prepared is None:
            return None
        tokens = self.prepared.tokens
        return max((i + 1 for i, token in enumerate(tokens) if token.kind == "image"), default=0)

    @property
    def may_go_on(self) -> bool:
        """Whether the pass, once it is prepared, may go on from an earlier one, or a later one from
        it."""
        if not self.reuse or self.prepared is None:
            return False
        return self.loaded.lens.may_go_on(self.prepared.inputs)

    @property
    def begun(self) -> Run:
        """The run without rows, once it is prepared."""
        assert self._run is not None
        return self._run

    def passes(self, passing: StreamedPass | None) -> None:
        """Set the pass that `cancel` ends, or None after the pass. Raises Cancelled if `cancel` was
        called before."""
        self._pass = passing
        if passing is not None and self.cancelled:
            raise Cancelled("cancelled")

    def finish(
        self,
        result: ItemResult,
        kept: Callable[[], KeptStream],
        everywhere: Callable[[], Callable[[], Streams | str]],
    ) -> Run:
        """The finished run: "done" if its proof has passed, else "failed". `kept` makes its kept
        stream, `everywhere` what makes the streams at all positions."""
        run = self.begun
        if result.proof.passed:
            self.kept, self.everywhere = kept(), everywhere()
            if not result.made.prefix:
                self.everywhere = self.everywhere()  # nothing has to be put together
        return structs.replace(
            run,
            status="done" if result.proof.passed else "failed",
            error=None if result.proof.passed else describe_failure(result.proof),
            rows=result.rows,
            tracked=result.tracked,
            position=result.position,
            tokens=_with_picture_features_first(run.tokens, result.position + 1),
            proof=result.proof,
            made=result.made,
            formation=formation_row(result.rows) if result.proof.passed else None,
            seconds={
                **run.seconds,
                **result.seconds,
                "total": time.perf_counter() - self._began,
            },
        )

    def cancel(self) -> None:
        """End the run at its next layer."""
        self.cancelled = True
        passing = self._pass
        if passing is not None:
            passing.cancel()


def ask_together(
    askings: Sequence[Asking],
    read: Callable[[int, Sequence[LayerReading]], None] = lambda item, rows: None,
) -> tuple[Run, ...]:
    """Ask prepared questions in one pass, and return the finished runs, whatever their status.

    The questions have the same model, `top_k` and `norm`, and inputs that can be batched (see
    `engine.lens.batch_proofs`). `read` is called with the index of a question and each group of its
    rows. Raises what `Asking.run` raises, and TooManyAtOnce if memory runs out over several.
    """
    rows: list[list[LayerReading]] = [[] for _ in askings]
    passing: StreamedPass | None = None
    try:
        passing = _start(askings)
        for asking in askings:
            asking.passes(passing)
        groups = iter(passing)
        while True:
            try:
                group = next(groups)
            except StopIteration:
                break
            except LenscopeError:
                raise
            except Exception as error:
                failure = _failure(error, askings)
                return _ended_early(askings, rows, "failed", failure)
            for index, found in enumerate(group):
                rows[index].extend(found)
                read(index, found)  # an error of the listener is not a failure of the pass
    except Cancelled:
        return _ended_early(askings, rows, "cancelled")
    finally:
        # Closing also frees the tensors that the error of a failed pass still refers to.
        if passing is not None:
            passing.close()
        for asking in askings:
            asking.passes(None)
    return tuple(
        asking.finish(result, partial(passing.keep, index), passing.everywhere_later)
        for index, (asking, result) in enumerate(zip(askings, passing.results, strict=True))
    )


def _start(askings: Sequence[Asking]) -> StreamedPass:
    loaded, first = askings[0].loaded, askings[0].begun.question
    inputs = [asking.prepared.inputs for asking in askings if asking.prepared is not None]
    try:
        return loaded.lens.start(
            inputs[0] if len(inputs) == 1 else loaded.lens.collated(inputs),
            top_k=max(STORED_TOP, first.top_k),
            norm=first.norm,
            wanted=[asking.wanted for asking in askings],
            everywhere=len(askings) == 1,
            reuse_from=askings[0].reuse_from if len(askings) == 1 else None,
        )
    except (TypeError, ValueError) as error:
        # The first pass with inputs of this kind runs in here, and some models need a picture.
        if first.picture is None and loaded.takes_pictures:
            failed = explain(error)
            raise BadInput(
                f"this model cannot be asked without a picture ({failed})", *failed.remedies
            ) from error
        raise


def _failure(error: Exception, askings: Sequence[Asking]) -> PassFailed:
    """The failure that the runs of a broken pass end with.

    Raises TooManyAtOnce if memory ran out over several questions, BadInput if the fault is a
    question's.
    """
    if len(askings) > 1 and is_out_of_memory(error):
        raise TooManyAtOnce(f"memory ran out over {len(askings)} at once") from None
    for asking in askings:
        if asking.prepared is not None:
            _refuse_miscounted_picture(error, asking.prepared)
    return explain(error)


def _ended_early(
    askings: Sequence[Asking],
    rows: Sequence[Sequence[LayerReading]],
    status: RunStatus,
    error: PassFailed | None = None,
) -> tuple[Run, ...]:
    """The runs of a pass that has not ended well, with the rows that were read."""
    for asking in askings:
        asking.remedies = () if error is None else error.remedies
    reason = None if error is None else str(error)
    return tuple(
        structs.replace(asking.begun, rows=tuple(found), status=status, error=reason)
        for asking, found in zip(askings, rows, strict=True)
    )


def _with_picture_features_first(
    tokens: tuple[PromptToken, ...], length: int
) -> tuple[PromptToken, ...]:
    """Some models put picture features in front of the prompt, without token ids for them."""
    feature = PromptToken(id=0, text="", kind="image", part="picture")
    return (feature,) * (length - len(tokens)) + tokens


def _refuse_miscounted_picture(error: Exception, prepared: Prepared) -> None:
    """Raise BadInput if the model failed because the prompt has more or fewer image tokens than
    the picture has features."""
    if miscounts_picture(error):
        held = sum(token.kind == "image" for token in prepared.tokens)
        raise BadInput(
            f"the prompt has {held} image tokens, but the picture needs another number: {error}"
        ) from None


def explain(error: BaseException) -> PassFailed:
    """An error that a pass raised as one line, with what the user can try."""
    if is_out_of_memory(error):
        return PassFailed(
            "memory ran out during the pass; try a smaller picture, a 16-bit dtype, "
            "quantised weights or several devices",
            *LESS_MEMORY,
        )
    return PassFailed(f"the pass failed: {typed_line(error)}")
