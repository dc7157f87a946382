"""Counterfactuals that are pictures themselves: the processor treats them like any picture."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import structs

from engine.pictures.opening import open_picture
from engine.records import Counterfactual

if TYPE_CHECKING:
    from PIL.Image import Image

NAMES = ("black", "white", "blur", "other")
DEFAULT_BLUR = 16
"""The default radius is the longer side of the picture divided by this."""


def picture_instead(counterfactual: Counterfactual, image: Image) -> tuple[Image, Counterfactual]:
    """The picture to ask about, and the counterfactual with everything needed to repeat it.

    Raises BadInput where the other picture cannot be opened.
    """
    if counterfactual.name == "other":
        opened = open_picture(counterfactual.parameters["file"])
        said = {
            "file": opened.record.path,
            "sha256": opened.record.sha256,
            "width": opened.record.width,
            "height": opened.record.height,
        }
        return opened.image, structs.replace(counterfactual, parameters=said)
    if counterfactual.name == "blur":
        return _blurred(counterfactual, image)
    from PIL import Image

    return Image.new("RGB", image.size, counterfactual.name), counterfactual


def _blurred(counterfactual: Counterfactual, image: Image) -> tuple[Image, Counterfactual]:
    from PIL import ImageFilter

    radius = counterfactual.parameters.get("radius", max(image.size) / DEFAULT_BLUR)
    done = image.filter(ImageFilter.GaussianBlur(radius))
    return done, structs.replace(counterfactual, parameters={"radius": radius})
