"""The public API of the engine: load a model, ask it, and read the run as a record."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from engine.arrays import with_numpy
from engine.asking.asking import Asking
from engine.events import LoadOptions
from engine.methods.asked_run import AskedRun
from engine.methods.registry import method_of
from engine.methods.requests import request_of
from engine.models.hub import Progress
from engine.models.loading import LoadedModel, load_with
from engine.records import Picture, Question, Run


class Asked:
    """One question that has been asked."""

    def __init__(self, asked: AskedRun) -> None:
        self._asked = asked

    @property
    def run(self) -> Run:
        """The run with all rows, tracked tokens, its proof and the readings made so far; `status`
        says how it ended."""
        return self._asked.run

    def read(self, method: str, **request: Any) -> Any:
        """Let a method read the run: `asked.read("contrast", against="none", a=0.5)`.

        Counterfactuals that the method needs are asked first. Returns the reading, its arrays as
        read-only numpy arrays, and adds it to `run.readings`. Raises BadInput for an unknown method
        or setting, CannotRead if the method does not support this run.
        """
        known = method_of(method)
        return with_numpy(self._asked.read(known, request_of(known, request)))


@dataclass(frozen=True)
class Loaded(LoadedModel):
    """A model, its processor or tokenizer, and its proved lens."""

    def ask(
        self, prompt: str, image: str | Path | None = None, *, reuse: bool = True, **question: Any
    ) -> Asked:
        """Ask one question and wait for the whole run.

        `image` is the path of a picture. `question` are further fields of `Question`: `chat`,
        `system`, `prefix`, `top_k`, `norm`, `counterfactual`. `reuse` lets a question
        about a picture that was asked about before go on from what the earlier pass left, where it
        is proved that this changes no row; `run.made` says what was reused. It keeps the memory of
        a few passes, which `lens.reuse.drop()` frees. A model that has been changed (weights,
        hooks, adapters) starts afresh; what is written through `tensor.data` into the memory of a
        weight does not show, and needs a `drop()`.

        A run whose pass or proof fails has the status "failed" and a reason. Raises BadInput if the
        question cannot be asked, CannotRead if the lens cannot be used in this way.
        """
        picture = None if image is None else Picture(path=str(image))
        asking = Asking(self, Question(prompt, picture=picture, **question), reuse=reuse)
        return Asked(AskedRun(asking, asking.run()))


def load(
    name_or_folder: str | Path,
    device: str = "auto",
    dtype: str = "auto",
    *,
    device_map: str | dict[str, str | int] | None = None,
    quantize: str | None = None,
    revision: str | None = None,
    cache_dir: str | None = None,
    trust_remote_code: bool = False,
    allow_pickle: bool = False,
    adapter: str | Path | None = None,
    no_adapter: bool = False,
    progress: Progress = lambda stage, fraction: None,
) -> Loaded:
    """Load a model, find its parts on a small question, and prove its lens.

    Pickled weights and remote code are refused unless allowed. `dtype="auto"` is the checkpoint's
    dtype; only float16 on a CPU becomes float32, if that fits in half of the free memory, else
    bfloat16. `adapter` is the folder of a peft adapter to put onto the model; `no_adapter` leaves
    out one that lies in the model's own folder. `progress(stage, fraction)` is called meanwhile.

    Raises BadInput if the folder holds a model and an adapter, and neither was said; CannotLoad if
    the model is missing, damaged or refused; CannotRead if its residual stream cannot be read
    faithfully. All messages say what is wrong and what to do.
    """
    options = LoadOptions(
        model=str(name_or_folder),
        device=device,
        dtype=dtype,
        device_map=device_map,
        quantize=quantize,
        revision=revision,
        cache_dir=cache_dir,
        trust_remote_code=trust_remote_code,
        allow_pickle=allow_pickle,
        adapter=None if adapter is None else str(adapter),
        no_adapter=no_adapter,
    )
    loaded = load_with(options, progress)
    return Loaded(**{each.name: getattr(loaded, each.name) for each in fields(loaded)})
