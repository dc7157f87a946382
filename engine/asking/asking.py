"""Asking one question: from the question to the finished run, telling rows as they come."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import cache, partial
from importlib import metadata
from typing import Any

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
    one_line,
)
from engine.lens.kept import KeptStream
from engine.lens.lens import describe_failure
from engine.lens.row_reader import OnLogits, Wanted
from engine.lens.streaming import ItemResult, StreamedPass
from engine.models.loading import LoadedModel
from engine.pictures.model_view import processed
from engine.pictures.opening import open_picture
from engine.prompts.preparing import Prepared, prepare
from engine.records import LayerReading, PromptToken, Question, Run, RunStatus
from engine.stays import formation_row
from engine.system.library_errors import miscounts_picture
from engine.system.memory import is_out_of_memory
from engine.system.stamps import new_run_id, now

STORED_TOP = 10
"""Rows hold at least this many tokens, however few are shown."""


@cache
def versions() -> dict[str, str]:
    """The versions that a run depends on."""
    found = {}
    for package in ("lenscope", "torch", "transformers", "pillow"):
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "unknown"
    return found


class Asking:
    """One question put to one model. `run()` once; `cancel()` from any thread."""

    def __init__(
        self,
        loaded: LoadedModel,
        question: Question,
        run_id: str | None = None,
        track: Sequence[int] = (),
        on_logits: OnLogits | None = None,
    ) -> None:
        """`track` and `on_logits`: as in `Wanted`."""
        self.loaded = loaded
        self.wanted = Wanted(tuple(track), on_logits)
        self._question = question
        self._id = run_id or new_run_id()
        self._began = 0.0
        self._pass: StreamedPass | None = None
        self.cancelled = False
        self._run: Run | None = None
        self.prepared: Prepared | None = None
        self.kept: KeptStream | None = None
        """More can be read from it; None unless the run is done."""
        self.remedies: tuple[Remedy, ...] = ()
        """What can be done about the run's error."""

    def run(
        self,
        started: Callable[[Run], None] = lambda run: None,
        read: Callable[[Sequence[LayerReading]], None] = lambda rows: None,
    ) -> Run:
        """Prepare, run and prove; the finished run, whatever its status.

        `started` is told the run once its inputs are there, `read` every group of rows. A run
        whose proof fails comes back as "failed" with its proof. Raises BadInput where the
        question cannot be asked at all, CannotRead where the lens cannot be used this way.
        """
        started(self.prepare())
        (run,) = ask_together([self], lambda item, rows: read(rows))
        return run

    def prepare(self) -> Run:
        """Make the inputs: the run as it begins. Raises BadInput where it cannot be asked."""
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
        self.prepared = prepared
        question = structs.replace(
            question,
            text=prepared.text,
            model=loaded.card,
            chat=question.chat and loaded.has_chat_template,
        )
        self._run = Run(
            id=self._id,
            created=now(),
            status="cancelled",
            layers=len(loaded.lens.layers),
            question=question,
            tokens=prepared.tokens,
            position=len(prepared.tokens) - 1,
            rows=(),
            versions=versions(),
            seconds={"inputs": time.perf_counter() - self._began},
            processed=None
            if question.picture is None
            else processed(loaded.processor, prepared.inputs, question.picture),
        )
        return self._run

    @property
    def begun(self) -> Run:
        """The run as it begins, once it is prepared."""
        assert self._run is not None
        return self._run

    def passes(self, passing: StreamedPass | None) -> None:
        """The pass that `cancel` ends; None when it is over. Raises Cancelled if it is too late."""
        self._pass = passing
        if passing is not None and self.cancelled:
            raise Cancelled("cancelled")

    def finish(self, result: ItemResult, kept: Callable[[], KeptStream]) -> Run:
        """The run as its pass has left it."""
        run = self.begun
        if result.proof.passed:
            self.kept = kept()
        return structs.replace(
            run,
            status="done" if result.proof.passed else "failed",
            error=None if result.proof.passed else describe_failure(result.proof),
            rows=result.rows,
            tracked=result.tracked,
            position=result.position,
            tokens=_with_features_ahead(run.tokens, result.position + 1),
            proof=result.proof,
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
    """One pass over questions that are prepared; the finished runs, whatever their status.

    They have one model, `top_k` and `norm`, and go together as `engine.lens.batch_proofs` has it.
    `read` is told the number of the question and every group of its rows. Raises as `Asking.run`,
    and TooManyAtOnce where memory ran out over more than one.
    """
    loaded, first = askings[0].loaded, askings[0].begun.question
    items = [asking.prepared for asking in askings if asking.prepared is not None]
    rows: list[list[LayerReading]] = [[] for _ in askings]

    def broken_off(status: RunStatus, error: PassFailed | None = None) -> tuple[Run, ...]:
        for asking in askings:
            asking.remedies = () if error is None else error.remedies
        reason = None if error is None else str(error)
        return tuple(
            structs.replace(asking.begun, rows=tuple(own), status=status, error=reason)
            for asking, own in zip(askings, rows, strict=True)
        )

    passing: StreamedPass | None = None
    try:
        try:
            inputs = [item.inputs for item in items]
            passing = loaded.lens.start(
                inputs[0] if len(inputs) == 1 else loaded.lens.collated(inputs),
                top_k=max(STORED_TOP, first.top_k),
                norm=first.norm,
                wanted=[asking.wanted for asking in askings],
            )
        except (TypeError, ValueError) as error:
            # The pass that learns this kind of inputs: some models need a picture.
            if first.picture is None and loaded.takes_pictures:
                failed = explain(error)
                raise BadInput(
                    f"this model cannot be asked without a picture ({failed})", *failed.remedies
                ) from error
            raise
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
                if len(items) > 1 and is_out_of_memory(error):
                    raise TooManyAtOnce(f"memory ran out over {len(items)} at once") from None
                for item in items:
                    _refuse_miscounted_picture(error, item)
                return broken_off("failed", explain(error))
            for index, found in enumerate(group):
                rows[index].extend(found)
                read(index, found)  # what the listener raises is the listener's
    except Cancelled:
        return broken_off("cancelled")
    finally:
        # Also lets go of what an error holds on to: the tensors of the broken pass.
        if passing is not None:
            passing.close()
        for asking in askings:
            asking.passes(None)
    return tuple(
        asking.finish(result, partial(passing.keep, index))
        for index, (asking, result) in enumerate(zip(askings, passing.results, strict=True))
    )


def _with_features_ahead(tokens: tuple[PromptToken, ...], length: int) -> tuple[PromptToken, ...]:
    """Some models put the picture's features ahead of the prompt without ids of their own."""
    feature = PromptToken(id=0, text="", kind="image", part="picture")
    return (feature,) * (length - len(tokens)) + tokens


def _refuse_miscounted_picture(error: Exception, prepared: Prepared) -> None:
    """Models refuse a prompt with more or fewer image tokens than the picture has features."""
    if miscounts_picture(error):
        held = sum(token.kind == "image" for token in prepared.tokens)
        raise BadInput(
            f"the prompt holds {held} image tokens, not as many as the picture becomes: {error}"
        ) from None


def explain(error: BaseException) -> PassFailed:
    """An error that came out of a pass, in one line and with what to try."""
    if is_out_of_memory(error):
        return PassFailed(
            "memory ran out during the pass; try a smaller picture, a 16-bit dtype, "
            "quantised weights or several devices",
            *LESS_MEMORY,
        )
    return PassFailed(f"the pass failed: {one_line(error)}")


def continue_greedily(
    loaded: LoadedModel,
    inputs: dict[str, Any],
    tell: Callable[[str], None],
    stop: Callable[[], bool],
    max_tokens: int = 20,
) -> str:
    """Continue the answer greedily, telling each piece of text; the whole text.

    Ends at the model's end token, after `max_tokens`, or within one token of `stop()`.
    """
    import torch
    from transformers import StoppingCriteria, StoppingCriteriaList
    from transformers.generation.streamers import BaseStreamer

    from engine.lens.lens import model_lock
    from engine.prompts.processors import tokenizer_of

    tokenizer = tokenizer_of(loaded.processor)

    class Pieces(BaseStreamer):  # type: ignore[misc]
        """Decodes the whole answer again for each token: no half characters, no lost spaces."""

        def __init__(self) -> None:
            self.ids: list[int] = []
            self.text = ""
            self.prompt_seen = False

        def put(self, value: torch.Tensor) -> None:
            if not self.prompt_seen:
                self.prompt_seen = True
                return
            self.ids.extend(value.flatten().tolist())
            text = tokenizer.decode(
                self.ids, skip_special_tokens=True, clean_up_tokenization_spaces=False
            )
            if not text.endswith("\ufffd") and len(text) > len(self.text):
                tell(text[len(self.text) :])
                self.text = text

        def end(self) -> None:
            pass

    class Stop(StoppingCriteria):  # type: ignore[misc]
        def __call__(self, ids: torch.Tensor, scores: Any, **_: Any) -> torch.Tensor:
            return torch.full((ids.shape[0],), stop(), dtype=torch.bool, device=ids.device)

    pieces = Pieces()
    device = loaded.lens.device
    moved = {
        key: value.to(device) if isinstance(value, torch.Tensor) else value
        for key, value in inputs.items()
    }
    with model_lock(loaded.model), torch.no_grad():
        loaded.model.generate(
            **moved,
            max_new_tokens=max_tokens,
            do_sample=False,
            num_beams=1,
            streamer=pieces,
            stopping_criteria=StoppingCriteriaList([Stop()]),
        )
    return pieces.text
