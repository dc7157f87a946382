"""Turns what other libraries raise while a model is loaded into one line with its remedy.

Every error that is known is mapped here; one that is not is shown whole, with its type.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

from engine.errors import (
    LESS_MEMORY,
    BadInput,
    Cancelled,
    CannotLoad,
    CannotRead,
    Remedy,
    typed_line,
)
from engine.events import LoadOptions
from engine.models.hub import explain_hub
from engine.system.library_errors import (
    has_no_safetensors,
    missing_package,
    needs_remote_code,
    needs_torchvision,
    not_in_json,
    unknown_model_type,
)
from engine.system.memory import is_out_of_memory

LARGEST_CHECKED = 256 * 2**20
"""Bytes of a JSON file that is parsed to find the one that is damaged."""


@contextlib.contextmanager
def explained(options: LoadOptions, place: list[Path]) -> Iterator[None]:
    """Turn what libraries raise into CannotLoad, naming the model. `place` holds the model's folder
    once that is known."""
    try:
        yield
    except (CannotLoad, CannotRead, BadInput) as error:
        if options.model in str(error):
            raise
        raise type(error)(f"{options.model}: {error}", *error.remedies) from error
    except Cancelled:
        raise
    except Exception as error:
        known = _explained(error, place[0] if place else None)
        raise CannotLoad(f"{options.model}: {known}", *known.remedies) from error


def _explained(error: Exception, folder: Path | None) -> CannotLoad:
    if needs_remote_code(error):
        return CannotLoad(
            "the model needs its own code to run; allow that if you trust it", Remedy.TRUST_CODE
        )
    if is_out_of_memory(error):
        return CannotLoad(
            "memory ran out while loading; try a 16-bit dtype, quantised weights or several "
            "devices",
            *LESS_MEMORY,
        )
    if needs_torchvision(error):
        return CannotLoad("the model's image processor needs torchvision: pip install torchvision")
    if has_no_safetensors(error):
        return CannotLoad(
            "no safetensors weights; allow its pickled ones if you trust them", Remedy.ALLOW_PICKLE
        )
    model_type = unknown_model_type(error)
    if model_type is not None:
        return CannotLoad(
            f"transformers {_version()} has no models of the type {model_type!r}: a newer version "
            "may have, or the model brings its own code",
            Remedy.TRUST_CODE,
        )
    package = missing_package(error)
    if package is not None:
        return CannotLoad(f"this model needs the package {package}: pip install {package}")
    damaged = _damaged_json(folder) if folder is not None and not_in_json(error) else None
    if damaged is not None:
        return CannotLoad(f"{damaged}: damaged, it is not JSON; fetch it again")
    return explain_hub(error) or CannotLoad(typed_line(error))


def _version() -> str:
    import transformers

    return str(transformers.__version__)


def _damaged_json(folder: Path) -> str | None:
    """The first JSON file of a folder that cannot be parsed."""
    for file in sorted(folder.glob("*.json")):
        with contextlib.suppress(OSError):
            if not file.is_file() or file.stat().st_size > LARGEST_CHECKED:
                continue
            try:
                json.loads(file.read_bytes())
            except (ValueError, RecursionError):
                return file.name
    return None
