"""The public door of the engine: load a model, ask it, have the run as a record."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

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
        """All rows, the tracked tokens, the proof and what has been read; `status` says how it
        ended."""
        return self._asked.run

    def read(self, method: str, **request: Any) -> Any:
        """What a method finds out about the run: `asked.read("contrast", against="none", a=0.5)`.

        A run without the picture that the method needs is asked first. The reading is then among
        `run.readings`. Raises BadInput for a method or a setting that there is not, CannotRead
        where the method does not support this run.
        """
        known = method_of(method)
        return self._asked.read(known, request_of(known, request))


@dataclass(frozen=True)
class Loaded(LoadedModel):
    """A model, its processor (or tokenizer) and its proved lens, ready to be asked."""

    def ask(
        self, prompt: str, image: str | Path | None = None, *, reuse: bool = True, **question: Any
    ) -> Asked:
        """Ask one question and wait for the whole run.

        `image` is the path of a picture. `question` are further fields of `Question`: `chat`,
        `system`, `prefix`, `top_k`, `norm`, `counterfactual`. `reuse` permits taking what earlier
        questions have computed where that is exact; at present every question is computed anew.

        A run whose pass or proof fails comes back with the status "failed" and its reason. Raises
        BadInput where the question cannot be asked, CannotRead where the lens cannot be used in
        this way.
        """
        picture = None if image is None else Picture(path=str(image))
        asking = Asking(self, Question(prompt, picture=picture, **question))
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
    progress: Progress = lambda stage, fraction: None,
) -> Loaded:
    """Load a model, learn its anatomy on a small question, and prove its lens.

    Safetensors only and no remote code unless asked. `dtype="auto"` is the checkpoint's own,
    except float16 on a CPU: float32 where that fits in half of the free memory, else bfloat16.

    Raises CannotLoad (missing, damaged, refused), CannotRead (the stream cannot be read
    faithfully). Both say what is wrong and what to do.
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
    )
    loaded = load_with(options, progress)
    return Loaded(**{each.name: getattr(loaded, each.name) for each in fields(loaded)})
