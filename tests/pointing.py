"""How often a map's largest cell lies on the object that was asked about.

    python -m tests.pointing --scenes 200

The pointing game (Zhang et al. 2016, arXiv 1608.00507) on scenes that nothing was trained on, whose
renderer says which object covers each patch. The bundled model is asked for the colour and the
shape of the main object, and every method is asked for a map of the answer. A hit is a largest cell
on the main object; chance is the object's share of the cells. Scenes without objects are passed
over. Every map of 200 scenes takes some two hours of one core; several processes can share them
(`--first`). Ctrl-C prints the table of what was played until then.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.asking.asking import Asking
from engine.errors import LenscopeError
from engine.methods.asked_run import AskedRun
from engine.methods.registry import method_of
from engine.methods.requests import request_of
from engine.models.loading import LoadedModel
from engine.prompts.token_groups import picture_cells
from engine.records import Picture, Question
from samples.making.questions import PROMPTS
from samples.making.scenes import GROUND_SHARE, Scene, patch_covers, random_scene, render

SEED = 7
"""A stream of scenes that nothing else uses."""
ATTRIBUTES = ("color", "shape")

Map = NDArray[np.floating[Any]]
MapOf = Callable[[AskedRun], Map]


def read(asked: AskedRun, name: str, **settings: Any) -> Any:
    """A reading that passed its proof."""
    method = method_of(name)
    reading = asked.read(method, request_of(method, settings))
    assert reading.proof is None or reading.proof.passed, (name, settings, reading.proof)
    return reading


def saliency(way: str, row: int | None) -> MapOf:
    """A map of the pixels, or of a row."""
    settings: dict[str, Any] = {"way": way, "row": row}
    if way in ("ig", "smoothgrad"):
        settings["steps"] = 16
    return lambda asked: np.asarray(read(asked, "saliency", **settings).map.values)


def attention(asked: AskedRun) -> Map:
    """The weights of the last position, the mean over heads and layers."""
    layers = read(asked, "attention").layers
    maps = [each.map.values for each in layers if each.map is not None]
    return np.asarray(np.mean(maps, axis=0))


def sources(asked: AskedRun) -> Map:
    """What each cell sent through the head that adds most to the answer minus the runner-up."""
    heads = [each for each in read(asked, "parts", heads=True).heads if each.head is not None]
    best = max(heads, key=lambda each: each.share or 0.0)
    sent = read(asked, "parts", heads=True, layer=best.layer, head=best.head).sent
    return np.asarray(sent.shares.values)[[*picture_cells(asked.run.tokens)]]


def words(asked: AskedRun) -> Map:
    """The answer's probability at each cell, the largest over all rows."""
    answer = asked.run.rows[-1].top[0].text.strip()
    cells = picture_cells(asked.run.tokens)
    reading = read(asked, "words", words=(answer,), positions=cells)
    return np.asarray(reading.probability.values[0].max(0))


MAPS: dict[str, MapOf] = {
    "gradient x input, pixels": saliency("gradient", None),
    "integrated gradients, pixels": saliency("ig", None),
    "SmoothGrad, pixels": saliency("smoothgrad", None),
    "occlusion, pixels": saliency("occlusion", None),
    "gradient x input, row 0": saliency("gradient", 0),
    "integrated gradients, row 0": saliency("ig", 0),
    "SmoothGrad, row 0": saliency("smoothgrad", 0),
    "occlusion, row 0": saliency("occlusion", 0),
    "gradient x attention": saliency("attention", None),
    "attention": attention,
    "sources of the largest head": sources,
    "words": words,
}


def main_cells(scene: Scene) -> NDArray[np.bool_]:
    """The cells that the main object covers, bool [cells]."""
    owners, share = (array.ravel() for array in patch_covers(scene))
    covered: NDArray[np.bool_] = (owners == 1) & (share > GROUND_SHARE)
    return covered


def main() -> None:
    """Play, and print the table."""
    import samples
    from engine import load

    parser = argparse.ArgumentParser(prog="python -m tests.pointing", description=__doc__)
    parser.add_argument("--scenes", type=int, default=200)
    parser.add_argument("--first", type=int, default=0, help="how many scenes others play")
    parser.add_argument("--maps", nargs="*", default=[""], help="those whose names contain one")
    options = parser.parse_args()
    chosen = {
        name: made for name, made in MAPS.items() if any(each in name for each in options.maps)
    }
    loaded: LoadedModel = load(samples.MODEL)
    hits: dict[str, list[bool]] = {name: [] for name in chosen}
    chances: list[float] = []
    # A shell that starts this in the background lets it ignore interrupts.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with suppress(KeyboardInterrupt):
        play(loaded, chosen, options.first, options.scenes, hits, chances)
    print(file=sys.stderr)
    print(f"{'chance':30} {100 * np.mean(chances):5.1f} %  of {len(chances)}")
    for name, each in hits.items():
        print(f"{name:30} {100 * np.mean(each):5.1f} %  of {len(each)}")


def play(
    loaded: LoadedModel,
    chosen: dict[str, MapOf],
    first: int,
    scenes: int,
    hits: dict[str, list[bool]],
    chances: list[float],
) -> None:
    """Play so many scenes after the first ones, and add what every map pointed at to `hits`, the
    object's share of the cells to `chances`."""
    index = played = 0
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "scene.png"
        while played < first + scenes:
            scene = random_scene(SEED, index)
            index += 1
            covered = main_cells(scene)
            if not scene.things or not covered.any():
                continue
            played += 1
            if played <= first:
                continue
            render(scene).save(file)
            for attribute in ATTRIBUTES:
                question = Question(PROMPTS[attribute][0], picture=Picture(path=str(file)))
                asking = Asking(loaded, question)
                asked = AskedRun(asking, asking.run())
                chances.append(float(covered.mean()))
                for name, made in chosen.items():
                    try:
                        shown = made(asked)
                    except (AssertionError, LenscopeError) as error:
                        print(f"scene {index - 1}, {attribute}, {name}: {error}", file=sys.stderr)
                        continue
                    hits[name].append(bool(covered[int(np.nanargmax(shown))]))
            print(f"\r{played - first} scenes", end="", file=sys.stderr)


if __name__ == "__main__":
    main()
