"""One vision pass for all prompts of a picture, once it is proved that this changes no row."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from contextlib import AbstractContextManager

from engine.anatomy.logit_map import difference, tolerance
from engine.anatomy.parts import ModelParts
from engine.lens.batched import BatchNumbers, ItemNumbers
from engine.passes.vision_reuse import VisionCache

ReadBatch = Callable[[AbstractContextManager[object] | None], BatchNumbers]
"""Runs one batch inside a context, or inside none."""


class ReusedVision:
    """Runs batches with the vision pass of the last batch where both have the same pictures.

    The first time that this happens the batch also runs with a vision pass of its own, and reuse
    stops where the rows differ.
    """

    def __init__(self, wanted: bool, notes: dict[str, str]) -> None:
        """`notes` are told whether vision passes are reused, and why not."""
        self._wanted = wanted
        self._notes = notes
        self._memory: VisionCache | None = None
        self._proved = False
        self._pixels: tuple[Hashable, ...] = ()
        """What tells the pixels of the pass that is in memory from others."""
        self.was_reused = False
        """Whether the batch that was read last has used the vision pass of the one before."""

    def read(
        self, pixels: tuple[Hashable, ...], read: ReadBatch, parts: ModelParts
    ) -> BatchNumbers:
        """What `read` gives for a batch about these `pixels`, whose kind of inputs has shown the
        model's `parts`."""
        memory = self._ready(parts)
        self.was_reused = False
        if memory is None:
            return read(None)
        same_pixels, self._pixels = pixels == self._pixels, pixels
        found = read(memory.remembering())
        if self._proved:
            self.was_reused = memory.hits > 0
            return found
        # A cache hit is only evidence if this batch has the same pixels as the last one.
        if same_pixels and not memory.hits:
            self._turn_off("nothing before the first layer is computed twice")
        elif same_pixels:
            memory.keep_only_useful()
            computed = read(None)
            self._prove(found.items(), computed.items(), parts)
            self.was_reused = self._wanted
            return found if self._wanted else computed
        return read(None) if memory.hits else found

    def forget(self) -> None:
        """Free the vision pass that is in memory."""
        if self._memory is not None:
            self._memory.forget()
        self._pixels = ()

    def _ready(self, parts: ModelParts) -> VisionCache | None:
        if not self._wanted:
            return None
        if self._memory is None:
            if parts.tail.replays:
                self._turn_off("rows are read by running the model again")
                return None
            self._memory = VisionCache(parts.before)
        return self._memory

    def _turn_off(self, reason: str) -> None:
        self._wanted, self._memory = False, None
        self._notes["sharing"] = f"off: {reason}"

    def _prove(self, reused: ItemNumbers, computed: ItemNumbers, parts: ModelParts) -> None:
        self._proved = True
        gap = difference(reused.rows.top_logits, computed.rows.top_logits)
        limit = tolerance(parts.dtype, computed.rows.top_logits[0])
        if gap <= limit:
            self._notes["sharing"] = "prompts of a picture share its vision pass"
        else:
            self._turn_off(f"rows differ by {gap:.3g} ({limit:.3g} allowed)")
