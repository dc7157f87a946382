"""Adapters of peft (LoRA and others): recognised without torch, put onto a loaded model with peft.

transformers itself would load an adapter that lies in a model's folder where peft is installed, and
pass over it where peft is not. Here the user decides, and the run says which it was.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

from engine.errors import BadInput, CannotLoad, Remedy, typed_line
from engine.models.git_lfs import refuse_pointers
from engine.system.files import reason_of, user_path
from engine.system.library_errors import first_other_shape

CONFIG = "adapter_config.json"
SAFE, PICKLED = "adapter_model.safetensors", "adapter_model.bin"

_LARGEST_CONFIG = 4 * 2**20
_ADDS_TOKENS = {"PROMPT_TUNING", "P_TUNING", "PREFIX_TUNING", "MULTITASK_PROMPT_TUNING", "CPT"}
"""Kinds that put vectors of their own before the prompt: no token stands at their positions."""


@dataclass(frozen=True)
class Adapter:
    """An adapter in a folder."""

    folder: Path
    kind: str
    """peft's name of its kind, such as LORA."""
    base: str
    """The model that it was made for, as its config names it; may be empty."""

    @property
    def note(self) -> str:
        """Which adapter ran, in one line."""
        made_for = f", made for {self.base}" if self.base else ""
        return f"with the adapter {self.folder.name} ({self.kind}{made_for})"


def adapter_in(folder: Path) -> Adapter | None:
    """The adapter in a folder, None where there is none. Raises CannotLoad if it is damaged."""
    file = folder / CONFIG
    if not file.is_file():
        return None
    refuse_pointers([file])
    try:
        if file.stat().st_size > _LARGEST_CONFIG:
            raise ValueError("too large")
        content = json.loads(file.read_text(encoding="utf-8"))
        kind, base = content["peft_type"], content.get("base_model_name_or_path")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise CannotLoad(f"{folder}: the adapter's {CONFIG} is damaged") from None
    return Adapter(folder, str(kind), base if isinstance(base, str) else "")


def named_adapter(name: str, allow_pickle: bool) -> Adapter:
    """The adapter that the user names. Raises BadInput where there is none, CannotLoad where it
    cannot be loaded."""
    try:
        folder = user_path(name)
        found = adapter_in(folder) if folder.is_dir() else None
    except (OSError, ValueError) as error:
        raise BadInput(f"the adapter {name}: {reason_of(error)}") from None
    if not folder.is_dir():
        raise BadInput(f"the adapter {name}: no such folder")
    if found is None:
        raise BadInput(f"{name}: no adapter here (the folder has no {CONFIG})")
    if found.kind in _ADDS_TOKENS:
        raise CannotLoad(
            f"{name}: a {found.kind} adapter puts vectors of its own before the prompt, at whose "
            "positions there is no token; it cannot be read here"
        )
    if (folder / SAFE).is_file():
        refuse_pointers([folder / SAFE])
    elif not (folder / PICKLED).is_file():
        raise CannotLoad(f"{name}: the adapter's weights ({SAFE}) are not there")
    elif not allow_pickle:
        raise CannotLoad(
            f"{name}: the adapter's weights are pickled ({PICKLED}), which can run code when "
            "opened; convert them to safetensors, or allow them if you trust them",
            Remedy.ALLOW_PICKLE,
        )
    return found


@contextlib.contextmanager
def adapters_passed_over() -> Iterator[None]:
    """Let transformers load a model without the adapter that lies in its folder."""
    with (
        patch("transformers.integrations.peft.find_adapter_config_file", lambda *_, **__: None),
        patch(
            "transformers.models.auto.auto_factory.find_adapter_config_file", lambda *_, **__: None
        ),
    ):
        yield


def put_on(model: Any, adapter: Adapter, allow_pickle: bool) -> tuple[str, ...]:
    """Put an adapter onto a loaded model of transformers; returns notes on it.

    Its layers are kept beside the model's own and added in every pass, as in training; they are not
    merged. Raises CannotLoad where peft is missing or the adapter does not fit the model.
    """
    from importlib.util import find_spec

    if find_spec("peft") is None:
        raise CannotLoad("adapters need peft: pip install 'lenscope[adapters]'")
    from peft import PeftConfig, PeftModel

    name = adapter.folder.name
    try:
        config = PeftConfig.from_pretrained(str(adapter.folder), local_files_only=True)
        config.inference_mode = True
        # The layers are put into the model itself; of the wrapper, nothing is needed.
        info = PeftModel(model, config).load_adapter(
            str(adapter.folder), "default", use_safetensors=None if allow_pickle else True
        )
    except (ValueError, TypeError, KeyError, RuntimeError, OSError) as error:
        shapes = first_other_shape(error)
        reason = typed_line(error) if shapes is None else f"weights of another shape ({shapes})"
        raise CannotLoad(f"the adapter {name} does not fit the model: {reason}") from error
    model.eval()
    missing = sorted(map(str, info.missing_keys))
    if missing:
        made_for = f" ({adapter.base})" if adapter.base else ""
        raise CannotLoad(
            f"{len(missing)} weights of the adapter {name} are missing (first: {missing[0]}): it "
            f"was made for another model{made_for}"
        )
    unused = sorted(map(str, info.unexpected_keys))
    if not unused:
        return (adapter.note,)
    count = "1 weight" if len(unused) == 1 else f"{len(unused)} weights"
    are = "is" if len(unused) == 1 else "are"
    return (
        adapter.note,
        f"{count} of the adapter {are} not used: no place in the model (first: {unused[0]})",
    )
