"""What has been changed since a run was asked: how the next question differs from the run's."""

from __future__ import annotations

from posixpath import normpath

from msgspec.structs import replace

from engine.records import ModelCard, Picture, Question
from engine.system.files import storable
from tui.state.run_view import RunView
from tui.state.view_state import ModelPhase, ModelView


def changed_since(run: RunView, following: Question, model: ModelView) -> tuple[str, ...]:
    """Return what the next question has different from a run's, in words; empty if asking it
    would ask the run's question again.

    What replaced the picture of a counterfactual run does not count: it is chosen for one run.
    """
    asked = run.run.question
    held = max((len(row.top) for row in run.rows), default=following.top_k)
    following = replace(following, chat=is_asked_in_chat(following, model))
    return (
        *("model",) * (not is_same_model(asked.model, model)),
        *differences(asked, following),
        *("top-k",) * (following.top_k > max(asked.top_k, held)),
    )


def differences(one: Question, other: Question) -> tuple[str, ...]:
    """Return what two questions to the same model have different, in words."""
    differs = {
        "picture": not is_same_picture(one.picture, other.picture),
        "prompt": one.prompt != other.prompt,
        "system prompt": one.system != other.system,
        "prefix": one.prefix != other.prefix,
        "chat template": one.chat != other.chat,
        "norm": one.norm != other.norm,
    }
    return tuple(name for name, is_other in differs.items() if is_other)


def is_asked_in_chat(question: Question, model: ModelView) -> bool:
    """Return whether a question would go through the model's chat template."""
    return question.chat and (model.ready is None or model.ready.has_chat_template)


def is_same_picture(one: Picture | None, other: Picture | None) -> bool:
    """Return whether both are the same picture: by content where that is known of both (a file
    may have been written again meanwhile, or have two names), else by name."""
    if one is None or other is None:
        return one is other
    if one.sha256 and other.sha256:
        return one.sha256 == other.sha256
    return _comparable(one.path) == _comparable(other.path)


def is_same_model(asked: ModelCard | None, model: ModelView) -> bool:
    """Return whether the model that answered is the one that would answer now; true where there
    is none."""
    if asked is None or model.phase is ModelPhase.NONE:
        return True
    card = model.ready.model if model.ready is not None else asked
    if model.ready is not None and asked.weights and card.weights:
        return asked.weights == card.weights  # whatever the folder is called, and wherever it is
    if not is_same_name(asked, model):
        return False
    revisions = {asked.revision, card.revision} - {None}
    return len(revisions) <= 1 and asked.dtype == card.dtype


def is_same_name(asked: ModelCard, model: ModelView) -> bool:
    """Return whether both have the same name, or lie in the same folder."""
    return normpath(asked.name) == normpath(model.name)


def _comparable(path: str) -> str:
    """Return a path as a run records it, which holds no bytes that are not UTF-8."""
    try:
        return normpath(storable(path))
    except UnicodeEncodeError:  # no file can have this name; a session file may still hold it
        return path
