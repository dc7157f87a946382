"""One question about one picture, on its way through the model."""

from __future__ import annotations

from typing import Any, NamedTuple

from engine.errors import CannotRead, LenscopeError
from engine.sweeps.preparing import PreparedPicture, PreparedTask


class Item(NamedTuple):
    """A prepared question and the picture that it is about."""

    picture: PreparedPicture
    task: PreparedTask

    @property
    def inputs(self) -> dict[str, Any]:
        """The model's inputs, a batch of one."""
        return self.task.inputs

    @property
    def pixels(self) -> tuple[str, str]:
        """Equal for items about the same pixels: a digest of the picture, and what replaced it."""
        return self.picture.sha256, self.task.task.against


def came_from_the_model(error: Exception) -> bool:
    """Whether an error came out of the model, which may raise anything: other items may still
    succeed. All other errors end the sweep."""
    return isinstance(error, CannotRead) or not isinstance(error, LenscopeError)
