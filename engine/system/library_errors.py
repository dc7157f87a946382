"""What an error of another library means, where only its class name or its words tell.

Libraries reword their messages; `tests/engine/test_library_errors.py` provokes every error that is
recognised here, and names the versions with which that was done.
"""

from __future__ import annotations

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


def _words(error: BaseException) -> str:
    return " ".join(str(error).lower().split())
