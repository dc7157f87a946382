"""A run as large as those of LLaVA-1.5-7B, made of another run's records."""

from __future__ import annotations

import numpy as np
from msgspec import structs

from engine.arrays import Array
from engine.methods.geometry import GeometryReading, GeometryRequest
from engine.methods.grid import GridReading, GridRequest
from engine.methods.words import Word, WordsReading, WordsRequest
from engine.records import LayerReading, OtherPosition, PromptToken, Run, Tracked

ROWS, POSITIONS, PATCHES = 33, 620, 576
FIRST = 5
"""The position of the first patch."""
SIDE = 24


def llava_sized(run: Run, row: LayerReading, tracked: Tracked) -> Run:
    """33 rows at 620 positions, of which 576 are patches; a grid, the geometry, a word and four
    visited positions; tokens as varied as numbers can be."""
    generator = np.random.default_rng(0)
    shape = (ROWS, POSITIONS)

    def floats(*sizes: int) -> Array:
        return Array.of(generator.normal(size=sizes).astype("f4"), "<f4")

    ids = generator.zipf(1.3, size=(*shape, 1)) % 32000
    rows = tuple(structs.replace(row, layer=index) for index in range(ROWS))
    followed = tuple(
        structs.replace(
            tracked,
            id=index,
            probability=tuple(generator.random(ROWS).tolist()),
            logit=tuple(generator.normal(size=ROWS).tolist()),
            rank=tuple(generator.integers(1, 32000, ROWS).tolist()),
        )
        for index in range(12)
    )
    at = np.arange(PATCHES)
    corners = np.stack([at % SIDE, at // SIDE, at % SIDE + 1, at // SIDE + 1], 1) * 14.0
    text, image = PromptToken(9, " word", "text", "prompt"), PromptToken(4, "", "image", "picture")
    patches = range(FIRST, FIRST + PATCHES)
    return structs.replace(
        run,
        layers=ROWS - 1,
        tokens=tuple(image if place in patches else text for place in range(POSITIONS)),
        position=POSITIONS - 1,
        rows=rows,
        tracked=followed,
        others=tuple(OtherPosition(place, rows, followed) for place in range(4)),
        readings=(
            GridReading(
                request=GridRequest(),
                rows=tuple(range(ROWS)),
                positions=tuple(range(POSITIONS)),
                ids=Array.of(ids, "<i4"),
                logits=floats(*shape),
                lse=floats(*shape),
                entropy=floats(*shape),
                rms=floats(*shape),
                texts={int(token): " token" for token in set(ids.flat)},
            ),
            WordsReading(
                request=WordsRequest(words=("dog",)),
                words=(Word("dog", (1, 2)),),
                rows=tuple(range(ROWS)),
                positions=tuple(range(POSITIONS)),
                probability=floats(1, *shape),
            ),
            GeometryReading(
                request=GeometryRequest(),
                how="exact",
                tokens=Array.of(np.arange(FIRST, FIRST + PATCHES), "<i4"),
                boxes=Array.of(corners, "<f4"),
                tile=Array.of(np.zeros(PATCHES), "<i2"),
                row=Array.of(at // SIDE, "<i2"),
                column=Array.of(at % SIDE, "<i2"),
            ),
        ),
    )
