"""What an error of another library means, where only its class name or its words tell.

Libraries reword their messages; `tests/engine/test_library_errors.py` provokes every error that is
recognised here, and names the versions with which that was done.
"""

from __future__ import annotations

import json
import re
from enum import Enum, auto

from engine.errors import with_causes

WEIGHTS_BAR = "Loading weights"
"""The description of the progress bar that transformers draws over a model's weights."""


class HubTrouble(Enum):
    """What went wrong between this machine and the hub."""

    GATED = auto()
    """The hub wants the user to ask for access first."""
    NO_SUCH_REVISION = auto()
    NO_SUCH_MODEL = auto()
    DISABLED = auto()
    """The hub's owners have taken the model down."""
    INCOMPLETE = auto()
    """Only a part is in the cache, and the hub cannot be reached for the rest."""
    UNREACHABLE = auto()
    """Nothing is in the cache, and the hub cannot be reached."""
    BROKE_OFF = auto()
    """A download ended early."""


_OF_CLASS = {
    "GatedRepoError": HubTrouble.GATED,
    "RevisionNotFoundError": HubTrouble.NO_SUCH_REVISION,
    "RepositoryNotFoundError": HubTrouble.NO_SUCH_MODEL,
    "DisabledRepoError": HubTrouble.DISABLED,
    "IncompleteSnapshotError": HubTrouble.INCOMPLETE,
    "LocalEntryNotFoundError": HubTrouble.UNREACHABLE,
    "OfflineModeIsEnabled": HubTrouble.UNREACHABLE,
    "ConnectError": HubTrouble.UNREACHABLE,
    "TransportError": HubTrouble.BROKE_OFF,
    "FileMetadataError": HubTrouble.BROKE_OFF,
    "HfHubHTTPError": HubTrouble.BROKE_OFF,
}
"""By the names of classes of huggingface_hub and httpx2; the first that fits counts, as some are
subclasses of others below them (GatedRepoError of RepositoryNotFoundError, say)."""


def hub_trouble(error: BaseException) -> HubTrouble | None:
    """What went wrong with the hub, from an error or from what led to it; None for other errors."""
    names = {base.__name__ for each in with_causes(error) for base in type(each).__mro__}
    for name, trouble in _OF_CLASS.items():
        if name in names:
            return trouble
    return HubTrouble.BROKE_OFF if "Consistency check failed" in str(error) else None


def says_out_of_memory(error: BaseException) -> bool:
    """Whether this error itself, of torch or of Python, says that memory ran out."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    words = _words(error)
    return isinstance(error, RuntimeError) and (
        "allocate memory" in words or "out of memory" in words
    )


def needs_remote_code(error: BaseException) -> bool:
    """Whether transformers refuses a model that brings its own code."""
    return "trust_remote_code" in _words(error)


def needs_torchvision(error: BaseException) -> bool:
    """Whether transformers misses torchvision for an image processor."""
    return isinstance(error, (ImportError, ValueError)) and "torchvision" in _words(error)


def has_no_safetensors(error: BaseException) -> bool:
    """Whether transformers finds no weights of the safe kind in a folder."""
    words = _words(error)
    return "no file named" in words and "safetensors" in words


def miscounts_picture(error: BaseException) -> bool:
    """Whether a model of transformers refuses a prompt whose image tokens are not as many as the
    picture has features."""
    words = _words(error)
    return isinstance(error, ValueError) and all(
        word in words for word in ("image", "token", "feature")
    )


def unknown_model_type(error: BaseException) -> str | None:
    """The model type that this version of transformers does not have, if the error is about one."""
    found = re.search(
        r"model type `([^`]{1,100})` but Transformers does not recognize|"
        r"Unrecognized model identifier: (\S{1,100})\.",
        str(error),
    )
    return None if found is None else found[1] or found[2]


def missing_package(error: BaseException) -> str | None:
    """The package that a model or its quantisation needs and this machine does not have."""
    if not isinstance(error, ImportError):
        return None
    if isinstance(error, ModuleNotFoundError) and error.name:
        return error.name.partition(".")[0]
    found = re.search(r"pip install (?:-U |--upgrade )?[`'\"]?([A-Za-z0-9_.-]+)", str(error))
    return found[1].rstrip(".") if found else None


def first_other_shape(error: BaseException) -> str | None:
    """The first weight that torch could not load for its shape, with both shapes."""
    found = re.search(
        r"size mismatch for (\S+): copying a param with shape torch\.Size\(\[([\d, ]*)\]\).*?"
        r"current model is torch\.Size\(\[([\d, ]*)\]\)",
        " ".join(str(error).split()),
    )
    if found is None:
        return None
    saved, own = (found[place].replace(", ", "x") for place in (2, 3))
    return f"first: {found[1]}, {saved} in the file, {own} in the model"


def not_in_json(error: BaseException) -> bool:
    """Whether a library could not parse a JSON file: Python's words, or those of tokenizers."""
    return any(
        isinstance(each, json.JSONDecodeError)
        or "not a valid json" in _words(each)
        or re.search(r"at line \d+ column \d+", _words(each)) is not None
        for each in with_causes(error)
    )


def _words(error: BaseException) -> str:
    return " ".join(str(error).lower().split())
