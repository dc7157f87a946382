"""What passes leave for later questions about the same picture, and when it may be used.

A pass leaves the keys and values of its tokens and the outputs of the modules that ran before the
first layer. A question that begins like an earlier one about the same picture goes on from these
keys and values; where it does not, or the model does not allow that, the vision encoder's output is
used again. Entries are told apart by all inputs that do not run along the sequence, above all the
pixels: the ids of a picture's tokens are the same for every picture.

Nothing is known of any family. For each kind of inputs (their names) the first question that could
go on also runs as a whole, and all rows must agree; so does one of every `PROVED_AGAIN` after that.
What differs is not reused from then on, and says why. What is left by a model that has been changed
since is not used: see `engine.passes.model_stamp`.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from engine.anatomy.logit_map import difference, tolerance
from engine.anatomy.parts import ModelParts
from engine.anatomy.tail import RowStream
from engine.errors import Cancelled, typed_line
from engine.lens.batch_proofs import MOST_ROUNDING
from engine.lens.reuse_kinds import (
    ENCODED,
    FEATURES_FIRST,
    LOOKS_AHEAD,
    NO_CACHE,
    NO_GAP,
    NO_IDS,
    PADDED,
    PROVED_AGAIN,
    REPLAYED,
    UNKNOWN,
    Gap,
    Kind,
    Way,
    is_encoder_decoder,
    sequences_along,
    told,
    windows_in,
    worst_gap,
)
from engine.passes.edits import Attached
from engine.passes.forward import Forward
from engine.passes.inference import give_ordinary_tensors, inferring
from engine.passes.model_stamp import Stamp, stamp_of
from engine.passes.model_state import ModelState
from engine.passes.prefix_cache import (
    FEWEST_NEW,
    IDS,
    PASSED,
    Beginning,
    GoingOn,
    Kept,
    Leaving,
    Passed,
    can_be_cut,
    least_after,
    picked,
    together,
)
from engine.passes.thread import waited_for
from engine.passes.vision_reuse import VisionCache
from engine.passes.whole_streams import WholeStreams
from engine.records import MOST_SHORT, Made, Proof, finite
from engine.system.memory import free_memory, give_memory_back, is_out_of_memory

MOST_PICTURES: Final = 8
"""Of how many pictures at most something is kept; of fewer where that would take more than a
quarter of the free memory, but always of one."""
LONG: Final = 64
"""After so many new tokens a pass takes the place of the one that it went on from: running a few
again costs next to nothing, since the weights are read once for all of them, and a cache that has
never been gone on from has no rounding of others in it."""
NOTHING_TWICE: Final = "nothing before the first layer is computed twice"
CHANGED_EARLY: Final = "the text before the end of the picture is another"
RUNNING_STATE: Final = "its layers keep a running state, which cannot go back to an earlier token"
PROVING: Final = "computed as a whole, to prove that an earlier pass can be gone on from"
MEMORY: Final = "memory ran out with what earlier passes had left"


class MakesForward(Protocol):
    """Makes a pass over the inputs that are asked about, or over the beginning of them."""

    def __call__(
        self,
        *,
        cut: Mapping[str, Any] | None = None,
        whole: WholeStreams | None = None,
        leaving: Leaving | None = None,
        going_on: GoingOn | None = None,
    ) -> Forward: ...


@dataclass(frozen=True)
class _Entry:
    """What the last pass about one picture has left."""

    beginning: Beginning | None
    vision: VisionCache | None

    @property
    def nbytes(self) -> int:
        beginning = 0 if self.beginning is None else self.beginning.nbytes
        return beginning + (0 if self.vision is None else self.vision.nbytes)


@dataclass(frozen=True)
class Asked:
    """Inputs that are asked about, a batch of one."""

    kind: frozenset[str]
    """Their names."""
    key: bytes
    """A digest of all that do not run along the sequence."""
    sequences: Mapping[str, Tensor]
    """Those that do, on the CPU."""
    picture_end: int
    """The number of tokens up to the end of the picture; 0 without one."""
    has_others: bool
    """Whether there are pixels or the like among the inputs: what does not run along."""
    refusal: str | None
    """Why nothing of them can be gone on from."""

    @property
    def length(self) -> int:
        """The number of tokens; 0 if it is not known."""
        return int(self.sequences[IDS].shape[1]) if IDS in self.sequences else 0

    @classmethod
    def of(cls, inputs: Mapping[str, Any], kind: frozenset[str], picture_end: int) -> Asked:
        """Tell inputs that run along the sequence from others, and digest these."""
        ids = inputs.get(IDS)
        along = sequences_along(inputs, ids) if isinstance(ids, Tensor) and ids.ndim == 2 else {}
        others = {name: value for name, value in inputs.items() if name not in along}
        mask = along.get("attention_mask")
        digest = _Digest()
        digest.add({name: value for name, value in others.items() if _is_of_a_decoder(name)})
        digest.arrays = 0
        digest.add({name: value for name, value in others.items() if not _is_of_a_decoder(name)})
        refusal = None if along else NO_IDS
        if mask is not None and not bool((mask != 0).all()):
            refusal = PADDED
        if digest.unknown is not None:
            refusal = f"{UNKNOWN}: {digest.unknown}"
        return cls(
            kind=kind,
            key=digest.value,
            sequences={name: value.cpu() for name, value in along.items()},
            picture_end=picture_end,
            has_others=digest.arrays > 0,
            refusal=refusal,
        )


class Reuse:
    """What the passes of one model have left."""

    def __init__(self, model: nn.Module, lock: threading.Lock) -> None:
        """`lock` is the model's."""
        self.model = model
        self.lock = lock
        self.state = ModelState(model)
        self._entries: OrderedDict[bytes, _Entry] = OrderedDict()
        self._kinds: dict[frozenset[str], Kind] = {}
        self._stamp: Stamp | None = None
        """Of the model that all this is known of."""
        self._guard = threading.Lock()

    def __len__(self) -> int:
        """Of how many pictures something is kept; a prompt without one counts as a picture."""
        return len(self._entries)

    @property
    def nbytes(self) -> int:
        """Bytes of what is kept."""
        with self._guard:
            return sum(entry.nbytes for entry in self._entries.values())

    def drop(self) -> bool:
        """Free everything that is kept; whether there was anything. What has been proved of kinds
        of inputs stays known."""
        with self._guard:
            held = bool(self._entries)
            self._entries.clear()
        return held

    def refusal(self, kind: frozenset[str], way: Way) -> str | None:
        """Why something is not reused for inputs of these names; None if it is, or if that has not
        been tried."""
        return self._kind(kind).refused.get(way)

    def is_proved(self, kind: frozenset[str], way: Way) -> bool:
        """Whether something has been proved to change no row for inputs of these names."""
        return way in self._kind(kind).proved

    def plan(self, asked: Asked, parts: ModelParts, make: MakesForward) -> ReusingPass:
        """How a question is read, and what is done with the pass afterwards. Nothing that passes
        have left or proved counts once the model has been changed."""
        stamp = self._renewed()
        kind = self._kind(asked.kind)
        if is_encoder_decoder(self.model):
            kind.refused.setdefault("prefix", ENCODED)
        if parts.tail.replays:
            kind.refused = {"prefix": REPLAYED, "vision": REPLAYED}
        with self._guard:
            entry = self._entries.get(asked.key)
            if entry is not None:
                self._entries.move_to_end(asked.key)
        return ReusingPass(self, asked, parts, make, kind, entry, stamp)

    def is_still(self, stamp: Stamp) -> bool:
        """Whether the model is what it was when a pass was planned."""
        with self.lock:
            return stamp_of(self.model, self.state) == stamp

    def keep(self, key: bytes, entry: _Entry, device: torch.device, stamp: Stamp) -> None:
        """Keep what a pass of the model with this stamp has left, in place of what the last one
        about this picture had; what was used longest ago goes."""
        with self._guard:
            if stamp != self._stamp:
                return  # the model has been changed since
            self._entries[key] = entry
            self._entries.move_to_end(key)
            sizes = [each.nbytes for each in self._entries.values()]
            room = (free_memory(device) + sum(sizes)) // 4
            while len(sizes) > 1 and (len(sizes) > MOST_PICTURES or sum(sizes) > room):
                self._entries.popitem(last=False)
                del sizes[0]

    def _renewed(self) -> Stamp:
        """The model's stamp; what was known of another one is forgotten."""
        with self.lock:
            stamp = stamp_of(self.model, self.state)
        with self._guard:
            if stamp != self._stamp:
                self._stamp = stamp
                self._entries.clear()
                self._kinds.clear()
        return stamp

    def _kind(self, kind: frozenset[str]) -> Kind:
        found = self._kinds.get(kind)
        if found is None:
            windows = frozenset(windows_in(getattr(self.model, "config", None)))
            found = self._kinds.setdefault(kind, Kind(windows=windows))
        return found


class ReusingPass:
    """One pass that may use what earlier ones have left, and leaves something itself."""

    def __init__(
        self,
        store: Reuse,
        asked: Asked,
        parts: ModelParts,
        make: MakesForward,
        kind: Kind,
        entry: _Entry | None,
        stamp: Stamp,
    ) -> None:
        self._store, self._asked, self._parts, self._make = store, asked, parts, make
        self._kind, self._entry, self._stamp = kind, entry, stamp
        self._keeps = True
        self._shared = 0 if entry is None else _shared(asked, entry)
        """How many tokens can be taken from the cache that is kept."""
        self.reason: str | None = None
        """Why nothing, or less than the common beginning, is reused where there is something."""
        usable = self._usable()
        self._way: Way | None = usable
        """What is reused by the pass whose rows are read."""
        self._proves: Way | None = None
        """What is to be proved after it."""
        if usable is not None and not kind.covers(
            usable, asked.length, asked.length - self._shared
        ):
            self._way, self._proves, self.reason = None, usable, self.reason or PROVING
        elif usable is not None:
            kind.uses += 1
            if kind.uses >= PROVED_AGAIN:
                self._proves = usable
        self._vision = self._vision_for(self._way)
        self.forward = self._forward(self._way)
        """The pass whose rows are read."""
        self._cancelled = self.forward.cancelled
        self._left = self.forward, self._vision
        """What runs as a whole, and leaves what later passes use."""

    @property
    def attached(self) -> tuple[Attached, ...]:
        """What is attached to the pass."""
        return () if self._vision is None else (self._vision,)

    @property
    def made(self) -> Made:
        """How the pass was made, once it has ended."""
        going_on = self.forward.going_on
        # A model that is given all inputs at every step answers from memory what it can.
        hit = self._vision is not None and self._vision.hits > 0
        reused = self._way is not None and self._asked.has_others
        if going_on is None or going_on.passed == "all":
            reused = reused and hit
        return Made(
            vision="reused" if reused else "computed",
            prefix=0 if going_on is None else going_on.count,
            reason=self.reason,
        )

    def plainly(self, why: str | None) -> Forward:
        """The pass that runs where this one has failed: as a whole, leaving nothing. With `why`,
        what was reused is not from now on; without, memory has run out."""
        if why is None:
            self._store.drop()
        elif self._way is not None:
            self._refuse(self._way, why)
        self.reason = (MEMORY if why is None else why)[:MOST_SHORT]
        self._way = self._proves = self._entry = self._vision = None
        self._keeps = False
        self.forward = self._make(whole=WholeStreams(self._parts.overwrites))
        self._left = self.forward, None
        if why is None:
            give_memory_back()
        return self.forward

    @property
    def may_free_memory(self) -> bool:
        """Whether there is something to drop where memory has run out."""
        return self._keeps and len(self._store) > 0

    @property
    def reuses(self) -> bool:
        """Whether the pass uses what earlier ones have left."""
        return self._way is not None

    def end(self, rows: Mapping[int, RowStream]) -> Proof | None:
        """Prove what is to be proved, and leave what later passes can use; to be called when all
        rows have been handed out. `rows` are the streams that they were read from.

        Returns a proof that has failed if the rows differ from those of a plain pass. Gives up,
        and leaves nothing, soon after the pass is cancelled.
        """
        if not self._keeps or not self._store.is_still(self._stamp):
            return None
        try:
            failed = self._prove(rows) if self._proves is not None else None
            self._leave()
        except Cancelled:
            return None
        except Exception as error:
            if is_out_of_memory(error):
                self._store.drop()
            else:
                self._refuse("prefix", typed_line(error))
            del error
            give_memory_back()
            return None
        return failed

    def _usable(self) -> Way | None:
        """What this pass could reuse."""
        entry, refused = self._entry, self._kind.refused
        if entry is None:
            return None
        if "prefix" not in refused and self._shared > 0:
            return "prefix"
        early = CHANGED_EARLY if self._asked.picture_end and entry.beginning is not None else None
        self.reason = refused.get("prefix") or self._asked.refusal or early
        if "vision" in refused or entry.vision is None or not self._asked.has_others:
            return None
        return "vision"

    def _vision_for(self, way: Way | None, passed: Passed | None = None) -> VisionCache | None:
        """What remembers the outputs of the modules before the first layer in a pass."""
        if way is not None:
            assert self._entry is not None
            given = way == "vision" or (passed or self._kind.passed) == "all"
            return self._entry.vision if given else None
        if "vision" in self._kind.refused or not self._asked.has_others:
            return None
        return VisionCache(self._parts.before)

    def _forward(self, way: Way | None, passed: Passed | None = None) -> Forward:
        """A pass that reuses this; with `passed`, which is to be proved, as little as can be of the
        common beginning."""
        going_on = None
        if way == "prefix":
            assert self._entry is not None and self._entry.beginning is not None
            beginning, count = self._entry.beginning, self._shared
            if passed is not None:
                count = max(1, beginning.least, self._asked.picture_end)
            going_on = GoingOn(beginning, count, passed or self._kind.passed)
        keeps = "prefix" not in self._kind.refused
        return self._make(
            whole=WholeStreams(self._parts.overwrites),
            leaving=Leaving(self._store.state, not self._kind.has_running_state) if keeps else None,
            going_on=going_on,
        )

    def _prove(self, rows: Mapping[int, RowStream]) -> Proof | None:
        """Run the same question the other way, and compare all rows."""
        way = self._proves
        assert way is not None
        if self._way is None:
            self._prove_first(way, rows)
            return None
        forward, vision = self._forward(None), self._vision_for(None)
        gap = self._gap(self._run(forward, vision), rows)
        # The plain pass is the one to go on from; what it left takes the other's place.
        self._left = forward, vision
        self._kind.uses = 0
        if gap.is_allowed:
            return None
        self.reason = told(gap)
        self._refuse(way, self.reason)
        return Proof(
            max_abs_difference=finite(gap.error),
            tolerance=gap.limit,
            passed=False,
            method=self._parts.tail.method,
        )

    def _prove_first(self, way: Way, rows: Mapping[int, RowStream]) -> None:
        """The rows have been read by a plain pass; run one that reuses something."""
        why = ""
        known = way == "vision" or way in self._kind.proved
        for passed in (self._kind.passed,) if known else PASSED:
            vision, forward = self._vision_for(way, passed), self._forward(way, passed)
            try:
                gap = self._gap(rows, self._run(forward, vision))
                if gap.is_allowed and forward.going_on is not None:
                    gap = self._gap_of_few(forward, vision)
            except Cancelled:
                raise
            except Exception as error:
                if is_out_of_memory(error):
                    raise
                why = why or f"the model does not go on from its cache: {typed_line(error)}"
                continue
            if way == "vision" and (vision is None or not vision.hits):
                why = NOTHING_TWICE
                break
            if gap.is_allowed:
                self._kind.proved.add(way)
                self._kind.passed = passed
                if forward.going_on is not None:
                    self._kind.proved_with(forward.length, forward.length - forward.going_on.count)
                return
            why = told(gap)
            if way == "prefix" and self._looks_ahead():
                why = LOOKS_AHEAD
                break
        self._refuse(way, why)

    def _gap_of_few(self, forward: Forward, vision: VisionCache | None) -> Gap:
        """As `_gap`, where as few tokens as may ever be new go on as `forward` does: some models
        treat them in another way than many."""
        going_on, whole = forward.going_on, self.forward.whole
        assert going_on is not None
        end = going_on.count + FEWEST_NEW
        if whole is None or whole.refusal is not None or end >= self._asked.length:
            return NO_GAP
        few = self._make(
            cut=self._first(end),
            leaving=Leaving(self._store.state),
            going_on=going_on,
        )
        plain = {row: picked(read, end - 1) for row, read in enumerate(whole.rows)}
        return self._gap(plain, self._run(few, vision))

    def _first(self, count: int) -> dict[str, Any]:
        """The inputs on the device, cut to the first tokens."""
        return {
            name: value[:, :count] if name in self._asked.sequences else value
            for name, value in self.forward.inputs.items()
        }

    def _refuse(self, way: Way, why: str) -> None:
        self._kind.refused[way] = why[:MOST_SHORT]
        self._kind.proved.discard(way)

    def _run(self, forward: Forward, vision: VisionCache | None) -> dict[int, RowStream]:
        """Run a pass without reading its rows; their streams at the position."""
        rows: dict[int, RowStream] = {}
        model, lock = forward.model, self._store.lock
        forward.cancelled = self._cancelled

        def job() -> None:
            attached = () if vision is None else (vision,)
            with lock:
                try:
                    forward.run(rows.__setitem__, attached=attached)
                finally:
                    give_ordinary_tensors(model)

        waited_for(model, job)
        return rows

    def _gap(self, plain: Mapping[int, RowStream], reused: Mapping[int, RowStream]) -> Gap:
        """How far rows of one pass are from those of another."""
        tail = self._parts.tail
        order = sorted(plain)
        with self._store.lock, inferring(self._store.model):
            one, two = (tail.logits([rows[row] for row in order]) for rows in (plain, reused))
            return worst_gap(self._parts.dtype, two, one)

    def _looks_ahead(self) -> bool:
        """Whether the streams of the common beginning were others in the earlier pass than in this
        one, which is plain."""
        plain = self.forward.whole
        assert self._entry is not None and self._entry.beginning is not None
        count = self._shared
        kept = GoingOn(self._entry.beginning, count).streams
        if isinstance(kept, str) or plain is None or plain.refusal is not None:
            return False
        pairs = [
            (now.stream[:count], before.stream)
            for now, before in zip(plain.rows, kept.rows, strict=True)
        ]
        dtype = self._parts.dtype
        return any(
            difference(now, before) > MOST_ROUNDING * tolerance(dtype, now) for now, before in pairs
        )

    def _leave(self) -> None:
        """Keep what the pass has left."""
        forward, vision = self._left
        beginning: Beginning | None = None
        going_on = forward.going_on
        if going_on is not None:
            assert self._entry is not None
            vision = self._entry.vision
            if forward.length - going_on.count <= LONG:
                return
        if "prefix" not in self._kind.refused and self._asked.refusal is None:
            beginning = self._beginning(forward, vision)
        entry = _Entry(beginning, vision)
        self._store.keep(self._asked.key, entry, self._parts.tail.device, self._stamp)

    def _beginning(self, forward: Forward, vision: VisionCache | None) -> Beginning | None:
        """What the next question can go on from; None if it cannot."""
        cache, sequences = forward.cache, self._asked.sequences
        whole, going_on = forward.whole, forward.going_on
        assert whole is not None
        if cache is None or forward.length != sequences[IDS].shape[1]:
            self._kind.refused["prefix"] = NO_CACHE if cache is None else FEATURES_FIRST
            return None
        kept = Kept.of(whole)
        if going_on is not None:
            kept = together(going_on.streams, kept)
            least = least_after(cache, going_on.count)
            if can_be_cut(cache):
                return Beginning(sequences, cache, forward.left, kept, least)
            return going_on.beginning
        if can_be_cut(cache):
            return Beginning(sequences, cache, forward.left, kept)
        end, self._kind.has_running_state = self._asked.picture_end, True
        if not end:
            self._kind.refused["prefix"] = RUNNING_STATE
            return None
        # The state after the picture, from which every question about it can go on.
        first = {name: value[:, :end] for name, value in sequences.items()}
        leaving = Leaving(self._store.state, past=False)
        up_to_there = self._make(cut=self._first(end), leaving=leaving)
        self._run(up_to_there, vision)
        if up_to_there.cache is None:
            self._kind.refused["prefix"] = NO_CACHE
            return None
        streams = kept if isinstance(kept, str) else kept.first(end)
        return Beginning(first, up_to_there.cache, up_to_there.left, streams, least=end)


def _shared(asked: Asked, entry: _Entry) -> int:
    """How many tokens a question can take from what an earlier one has left."""
    if entry.beginning is None or asked.refusal is not None:
        return 0
    shared = entry.beginning.shared_with(asked.sequences)
    return shared if shared >= asked.picture_end else 0


def _is_of_a_decoder(name: str) -> bool:
    return name.startswith("decoder_")


class _Digest:
    """A digest of nested inputs: names, dtypes, shapes and all values."""

    def __init__(self) -> None:
        self._found = hashlib.sha256()
        self.arrays = 0
        """How many tensors and arrays have been added."""
        self.unknown: str | None = None
        """The type of a value that cannot be told from another one of its type."""

    @property
    def value(self) -> bytes:
        """The digest of all that has been added."""
        return self._found.digest()

    def add(self, value: Any) -> None:
        """Add a value and all that it holds."""
        if isinstance(value, Tensor) and value.layout is torch.strided:
            bits = value.detach().cpu().contiguous().flatten().view(torch.uint8)
            self._array(f"{value.dtype} {tuple(value.shape)}", bits.numpy().tobytes())
        elif isinstance(value, (np.ndarray, np.generic)) and not value.dtype.hasobject:
            self._array(f"{value.dtype} {value.shape}", value.tobytes())
        elif isinstance(value, Mapping):
            self._tell(f"{{{len(value)}")
            for name, held in sorted(value.items(), key=lambda item: str(item[0])):
                self.add(name)
                self.add(held)
        elif isinstance(value, (list, tuple)):
            self._tell(f"[{len(value)}")
            for held in value:
                self.add(held)
        elif value is None or isinstance(value, (bool, int, float, str, bytes, torch.dtype)):
            self._tell(f"{type(value).__name__} {value!r}")
        else:
            self.unknown = type(value).__name__

    def _array(self, kind: str, values: bytes) -> None:
        self.arrays += 1
        self._tell(kind)
        self._found.update(values)

    def _tell(self, text: str) -> None:
        self._found.update(f"{len(text)} {text} ".encode())
