"""The names of counterfactuals, the values that they take, and what each means."""

from __future__ import annotations

import math
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import PurePath
from typing import Any

from engine.errors import BadInput
from engine.records import Counterfactual

STEPS = 1000
"""Length of the diffusion schedule."""
DEFAULT_STEP = 500
"""The step that the scripts of VDD and VCD use."""
LARGEST_RADIUS = 1000

MEANINGS: dict[str, str] = {
    "none": "the picture's tokens and the marks around them are deleted; the rest is kept",
    "unk": "one unknown token where the picture's tokens were",
    "unk-all": "an unknown token for every one of the picture's tokens",
    "noise": "noise over the picture, at STEP of 1000 (at 500 it still holds 86 % of the picture)",
    "noise-pure": "Gaussian noise instead of the picture",
    "zero": "zeros after the processor's normalisation: its mean grey, not black",
    "one": "ones after the processor's normalisation: a light grey, not white",
    "black": "a black picture of the same size",
    "white": "a white picture of the same size",
    "blur": "the picture blurred, RADIUS in its pixels (a sixteenth of its longer side)",
    "mean-patch": "the picture's mean colour; its mean patch where it goes in as patches",
    "other": "another picture: FILE",
}
"""The name of every counterfactual, and what the model receives instead of the picture."""

FORMS: dict[str, str] = {
    "noise": f"noise[=STEP, {DEFAULT_STEP}]",
    "blur": "blur[=RADIUS]",
    "other": "other=FILE",
}
"""How counterfactuals that take a value are written."""

SEEDED = ("noise", "noise-pure")


def parse_against(given: str | Sequence[str], seed: int = 0) -> tuple[Counterfactual, ...]:
    """The counterfactuals in one or several comma-separated lists, each once, in their order.

    A comma always separates: the name of a file cannot hold one. Raises BadInput, naming what is
    wrong and what there is.
    """
    found: list[Counterfactual] = []
    for text in [given] if isinstance(given, str) else given:
        previous = ""
        for item in filter(None, map(str.strip, text.split(","))):
            made = _parse_item(item, seed, previous)
            previous = made.name
            if made not in found:
                found.append(made)
    if not found:
        raise BadInput(f"no counterfactual is named; there are {listed()}")
    return tuple(found)


def listed() -> str:
    """All names, with the values that they take."""
    return ", ".join(FORMS.get(name, name) for name in MEANINGS)


def written(counterfactual: Counterfactual) -> str | None:
    """The text from which `parse_against` makes this counterfactual; None where there is none."""
    name, parameters = counterfactual.name, counterfactual.parameters
    value = {"noise": "step", "blur": "radius", "other": "file"}.get(name)
    text = name
    if value in parameters:
        text += f"={_shortest(parameters[value])}"
    try:
        (again,) = parse_against(text, counterfactual.seed or 0)
    except (BadInput, ValueError):
        return None
    return text if again.name == name else None


def label(counterfactual: Counterfactual) -> str:
    """A counterfactual's heading: its name, its value, its seed if that is not 0, and what a reader
    must know about it.

    Whatever parameters a session file holds, there is a heading."""
    name, parameters = counterfactual.name, counterfactual.parameters
    if name == "noise" and "step" in parameters:
        name += f"={parameters['step']}"
    elif name == "blur" and "radius" in parameters:
        name += f"={_shortest(parameters['radius'])}"
    elif name == "other" and "file" in parameters:
        name += f"={PurePath(str(parameters['file'])).name}"
    if counterfactual.seed:
        name += f", seed {counterfactual.seed}"
    note = parameters.get("note")
    return f"{name} ({note})" if note else name


def _shortest(value: object) -> str:
    """A value so that no other one is written alike: 3 for 3.0, and every digit where needed."""
    if not isinstance(value, float):
        return str(value)
    short = f"{value:g}"
    return short if float(short) == value else repr(value)


def _parse_item(item: str, seed: int, previous: str) -> Counterfactual:
    """One counterfactual; `previous` is the name of the one before it in the same list."""
    name, sign, value = (part.strip() for part in item.partition("="))
    if name not in MEANINGS:
        raise BadInput(_unknown(name, previous))
    return Counterfactual(
        name, _parameters(name, sign, value), seed=seed if name in SEEDED else None
    )


def _parameters(name: str, sign: str, value: str) -> dict[str, Any]:
    if name not in FORMS:
        if sign:
            raise BadInput(f"{name} takes no value ({name}={value})")
        return {}
    if name == "other":
        if not value:
            raise BadInput("other needs a second picture: other=FILE")
        return {"file": value}
    if sign and not value:
        raise BadInput(f"{name}= lacks its value: {FORMS[name]}")
    if name == "noise":
        return {"step": _step(value) if sign else DEFAULT_STEP}
    return {"radius": _radius(value)} if sign else {}


def _step(value: str) -> int:
    if not (value.isascii() and value.isdigit() and len(value) < 9 and int(value) < STEPS):
        raise BadInput(f"noise={value}: the step is a whole number from 0 to {STEPS - 1}")
    return int(value)


def _radius(value: str) -> float:
    try:
        radius = float(value)
    except ValueError:
        radius = math.nan
    if not 0 < radius <= LARGEST_RADIUS:
        raise BadInput(
            f"blur={value}: the radius is a number of pixels above 0, at most {LARGEST_RADIUS}"
        )
    return radius


def _unknown(name: str, previous: str) -> str:
    near = get_close_matches(name.lower().replace("_", "-"), MEANINGS, n=1)
    meant = f" (did you mean {near[0]}?)" if near else ""
    comma = ""
    if previous == "other" and not near:
        comma = "; the name of other's FILE cannot hold a comma: give the file another name"
    return f"there is no counterfactual {name!r}{meant}{comma}; there are {listed()}"
