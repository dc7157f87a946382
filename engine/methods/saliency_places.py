"""Which tokens of a run are the picture's, where they are in it, and which pixels they show."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine.counterfactuals.pixels import pixels_instead
from engine.errors import BadInput, CannotRead
from engine.lens.picture_patches import PicturePatches
from engine.methods.geometry import NOT_IN_PROMPT, Geometry, patches_of
from engine.methods.method import Stop, Subject
from engine.pictures.pixels import PIXELS
from engine.prompts.token_groups import picture_cells
from engine.records import Counterfactual

INSTEAD: Final = "a row of the residual stream, such as row 0, can be explained all the same"
NO_PICTURE: Final = "this run has no picture"
CODES: Final = "the model turns pixels into codes, which have no gradient"
UNPLACED: Final = "where the picture's tokens are in it is not known: blocks of one token only"


@dataclass(frozen=True)
class Cells:
    """The tokens of a run's picture."""

    tokens: tuple[int, ...]
    """Their positions, ascending."""
    places: NDArray[np.int16] | None
    """[cells, 3]: tile, row and column of each; -1 if unknown. None if all are."""
    patches: PicturePatches | None
    """None for a run without a picture."""
    length: int
    """Tokens of the run."""

    @classmethod
    def of(cls, subject: Subject, stop: Stop) -> Cells:
        """Find them, once for inputs of this kind. Raises Cancelled soon after `stop()` is true."""
        run = subject.run
        pictured = {*picture_cells(run.tokens)}
        if Geometry().supports(subject) is not None:
            return cls((*sorted(pictured),), None, None, len(run.tokens))
        found = patches_of(subject, stop)
        if found.relation.length != len(run.tokens):
            return cls((*sorted(pictured),), None, found, len(run.tokens))
        tokens = sorted(pictured.union(found.relation.followers))
        boxes = found.boxes
        places = None
        if boxes is not None:
            at = {token: index for index, token in enumerate(boxes.tokens.tolist())}
            known = torch.stack([boxes.tile, boxes.row, boxes.column], 1).numpy()
            places = np.array(
                [known[at[token]] if token in at else (-1, -1, -1) for token in tokens], np.int16
            ).reshape(-1, 3)
        return cls((*tokens,), places, found, len(run.tokens))

    def owners(self, inputs: Mapping[str, Any]) -> dict[str, Tensor]:
        """For each input that holds pixel values, the token that each value belongs to: int64, -1
        for those that belong to none.

        Raises CannotRead where that is not known.
        """
        if self.patches is None:
            raise CannotRead(f"{NO_PICTURE}: {INSTEAD}")
        relation = self.patches.relation
        if relation.kind == "codes":
            raise CannotRead(f"{CODES}: {INSTEAD}")
        if relation.numbers is None:
            raise CannotRead(f"{self.patches.reason}: {INSTEAD}")
        if relation.length != self.length:
            raise CannotRead(f"{NOT_IN_PROMPT}: {INSTEAD}")
        named = {name for name in inputs if any(name.endswith(known) for known in PIXELS)}
        found = {}
        for name in sorted({*named, relation.name}):
            value = inputs[name]
            if isinstance(value, Tensor) and value.is_floating_point():
                none = torch.full(value.shape, -1, dtype=torch.int64)
                found[name] = relation.numbers.long() if name == relation.name else none
        return found

    def blocks(self, side: int, among: Collection[int]) -> list[list[int]]:
        """The tokens `among` the picture's, in blocks of side x side.

        Raises BadInput for larger blocks than of one where their places are not known.
        """
        if side == 1:
            return [[token] for token in self.tokens if token in among]
        if self.places is None:
            raise BadInput(UNPLACED)
        blocks: dict[tuple[int, ...], list[int]] = {}
        for token, (tile, row, column) in zip(self.tokens, self.places.tolist(), strict=True):
            if token in among:
                key = (tile, row // side, column // side) if row >= 0 else (-1, token)
                blocks.setdefault(key, []).append(token)
        return [*blocks.values()]


def mean_picture(
    subject: Subject, inputs: Mapping[str, Any], names: Sequence[str]
) -> dict[str, Tensor]:
    """These inputs of the picture whose every patch is the mean patch, or every pixel the mean
    colour. Raises Unavailable where that cannot be made."""
    settings = getattr(subject.loaded.processor, "image_processor", None)
    changed = pixels_instead(Counterfactual("mean-patch"), inputs, settings)
    return {name: changed[name] for name in names}
