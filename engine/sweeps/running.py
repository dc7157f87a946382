"""Running a sweep: from a source's questions to lines in its folder.

Pictures are taken in blocks: the first questions about the pictures of a block make a batch, then
their second ones, and so on, so that all batches but the first find in memory what the questions
about a picture have in common. Whatever goes wrong with one item is one line among the failures; a
batch for which memory runs out is run in halves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Any, Final

from torch import Tensor

from engine.errors import LenscopeError
from engine.passes.collating import length_of
from engine.prompts.token_parts import image_token
from engine.prompts.token_texts import texts_for
from engine.sweeps.answering import Answering
from engine.sweeps.batches import Batches
from engine.sweeps.beginnings import Beginnings, Together
from engine.sweeps.dividing import WithoutPictures, parts
from engine.sweeps.grouping import Grouping
from engine.sweeps.items import Item
from engine.sweeps.lines import Lines
from engine.sweeps.matching import Choices, choices_of
from engine.sweeps.preparing import PreparedPicture, PreparedTask, Preparing, worker_count
from engine.sweeps.progress import Progress
from engine.sweeps.reading import BatchReader
from engine.sweeps.reads import ATTENTION, by_depth
from engine.sweeps.records import DepthOrder
from engine.sweeps.remaining import Remaining
from engine.sweeps.replacing import asked_as
from engine.sweeps.sizing import BatchSize
from engine.sweeps.truths import TruthSpellings
from engine.system.memory import free_memory

if TYPE_CHECKING:
    from engine.models.loading import LoadedModel
    from engine.records import Counterfactual, Question
    from engine.sweeps.item_reader import ItemReader
    from engine.sweeps.records import Sweep
    from engine.sweeps.sources.tasks import Source
    from engine.sweeps.store import Store

Told = Callable[[Progress], None]
HALF: Final = ("bfloat16", "float16")
ALL_TOKENS: Final = "attention is read, which needs a pass over all tokens"


class Sweeping:
    """One shard of a sweep. Call `run()` once; an interrupted sweep resumes in a new `Sweeping`."""

    def __init__(
        self,
        loaded: LoadedModel,
        source: Source,
        store: Store,
        question: Question,
        sweep: Sweep,
        batch_size: int | None = None,
        limit: int | None = None,
        retry: bool = False,
        sharing: bool = True,
        against: Sequence[Counterfactual] = (),
        choices: Choices | None = None,
    ) -> None:
        """`sweep` is what the store belongs to; `batch_size` is fixed, or None to find one; `limit`
        counts the pictures of all shards; with `retry`, questions that failed are asked again; with
        `sharing`, prompts of a picture go on from what they have in common, or share its vision
        pass at least; every question is also asked with each of `against` instead of the picture;
        whole answers are compared with `choices`, which are those of the source if they are None.

        Raises BadInput where a picture that has results has changed.
        """
        self._loaded = loaded
        self._store = store
        self._question = question
        self._dtype = sweep.model.dtype
        text_of = texts_for(loaded.model)
        spellings = TruthSpellings(loaded.model, loaded.processor, text_of)
        self._against = tuple(against)
        self._reads_attention = ATTENTION in sweep.reads
        names = [asked_as(each) for each in self._against]
        self._remaining = Remaining(source, store, limit, retry, names)
        self._size = BatchSize(batch_size)
        self._noted, self._first_noted = 0, ""
        self.progress = Progress(self._remaining.count(), batch_size=self._size.now)
        notes = self.progress.notes
        self._without = WithoutPictures(loaded.lens)
        self._grouping = Grouping(loaded.lens, self._size, notes)
        self._told: Told = lambda progress: None
        readers: list[ItemReader] = []
        if sweep.decoding is not None:
            readers.append(Answering(loaded, sweep.decoding, choices or choices_of(source)))
        orders = [
            (each, sweep.orders.get(each.name, DepthOrder())) for each in by_depth(sweep.reads)
        ]
        readers += [each.reader(loaded, question, order) for each, order in orders]
        self._with_tokens = any(each.needs_tokens for each, _ in orders)
        self._compared = next((order.against for _, order in orders if order.against), None)
        self._lines = Lines(
            store, sweep, text_of, spellings, self.progress, readers,
            stored=lambda: self._told(self.progress),
        )  # fmt: skip
        self._reader = BatchReader(loaded.lens, spellings, sharing, notes)
        self._batches = Batches(self._reader, self._size, self._lines, self.progress)
        self._beginnings: Beginnings | None = None
        """None where every question is read as a whole."""
        if self._reads_attention:
            notes["beginnings"] = f"off: {ALL_TOKENS}"
        # Who asks for batches of one where batches round gets what a question alone gives.
        elif sharing and not (batch_size == 1 and self._dtype in HALF):
            image = image_token(loaded.model, loaded.processor)
            self._beginnings = Beginnings(image, loaded.lens.device.type != "cpu")

    def run(self, told: Told = lambda progress: None) -> Progress:
        """Ask all that remains, telling the progress after every picture and batch. Raises
        CannotWrite, CannotRead, and BadInput where the source breaks."""
        self._told = told
        workers = worker_count(self._loaded.lens.device)
        made = Preparing(
            self._loaded,
            self._question,
            workers,
            self._against,
            self._reads_attention,
            self._with_tokens,
            self._compared,
        )
        with closing(made) as preparing:
            ended = self._ask_all(preparing, told)
        if ended is not None:
            raise ended
        self._note_rounding()
        told(self.progress)
        self._store.note(self.progress.notes)
        return self.progress

    def _ask_all(self, preparing: Preparing, told: Told) -> LenscopeError | None:
        """Ask all that remains. Returns the error with which the source, or a process that prepares
        pictures, has broken."""
        ended: LenscopeError | None = None
        block: list[PreparedPicture] = []
        try:
            with closing(preparing.pictures(self._remaining.pictures(), self._ahead)) as pictures:
                while True:
                    try:
                        picture = next(pictures, None)
                    except LenscopeError as error:
                        ended = error  # what was prepared before is still asked
                        break
                    if picture is None:
                        break
                    block = self._take(picture, block, told)
            if block:
                self._run_block(block, told)
        finally:
            self._batches.finish()
        return ended

    def _ahead(self, picture: PreparedPicture) -> int:
        """How many pictures to prepare before they are needed: two blocks, if main memory has room
        for them."""
        self._size.measure(self._loaded.lens, _longest([picture]))
        compared = [each.compared for each in picture.tasks]
        tensors = {
            id(value): value.nbytes
            for task in (*picture.tasks, *compared)
            if isinstance(task, PreparedTask)
            for value in task.inputs.values()
            if isinstance(value, Tensor)
        }
        size = sum(tensors.values())
        return int(min(2 * self._size.limit, free_memory() // 4 // max(1, size)))

    def _take(
        self, picture: PreparedPicture, block: list[PreparedPicture], told: Told
    ) -> list[PreparedPicture]:
        """Add a picture to the block; run it once it is full. Returns the block to go on with."""
        picture = self._without.refused(picture)
        for task, reason in picture.failed:
            self._lines.fail(picture, task, reason)
        if picture.tasks:
            self._note_picture(picture)
            block.append(picture)
        if len(block) >= self._size.now:
            self._run_block(block, told)
            block = []
        told(self.progress)
        return block

    def _run_block(self, block: Sequence[PreparedPicture], told: Told) -> None:
        self._size.measure(self._loaded.lens, _longest(block[:1]))
        for part in parts(block):
            for group in self._grouping.groups(part):
                start = 0
                while start < len(group):
                    size = self._size.now
                    self._run_pictures(group[start : start + size], told)
                    start += size

    def _run_pictures(self, pictures: Sequence[PreparedPicture], told: Told) -> None:
        """All questions about pictures that go together."""
        if self._beginnings is None:
            self._run_together(Together([*pictures], 0), told)
            return
        refused = self._reader.refusal(self._batched(pictures, self._size.now))
        if refused is not None:
            self._run_together(Together([*pictures], 0), told, refused)
            return
        for some in self._beginnings.divided(pictures, self._size.now, self._room):
            self._run_together(some, told)

    def _room(self, picture: PreparedPicture, count: int) -> int | None:
        """How many beginnings of `count` tokens there is room for."""
        return self._reader.most_after(Item(picture, picture.tasks[0]), count)

    def _run_together(self, together: Together, told: Told, whole: str | None = None) -> None:
        """All questions about pictures that go together; `whole` says why they do not go on from
        what they have in common."""
        most = together.most
        size = self._size.now if most is None else min(self._size.now, most)
        batches = list(self._batched(together.pictures, size))
        pixels = [[item.pixels for item in batch] for batch in batches]
        for place, batch in enumerate(batches):
            beside = [*pixels[max(0, place - 1) : place], *pixels[place + 1 : place + 2]]
            self._batches.run(batch, pixels[place] in beside, together.begun, whole)
            told(self.progress)
        self._reader.forget_pictures()

    def _batched(self, pictures: Sequence[PreparedPicture], size: int) -> Iterator[list[Item]]:
        """All questions about pictures that go together, in batches of `size` at most."""
        count = len(pictures[0].tasks)
        # Few pictures with many questions: several questions of each at a time.
        at_once = max(1, size // len(pictures))
        alone: list[Item] = []
        for start in range(0, count, at_once):
            items = list(_items(pictures, range(start, min(start + at_once, count))))
            if len(items) <= len(pictures) or self._grouping.takes_together(items):
                yield items
            else:
                alone += items
        yield from ([item] for item in _by_picture(alone))

    def _note_picture(self, picture: PreparedPicture) -> None:
        if picture.note is None:
            return
        self._noted += 1
        if self._noted == 1:
            self._first_noted = f"{picture.path}: {picture.note}"
        many = f"{self._noted:,} were changed to be shown, the first: " if self._noted > 1 else ""
        self.progress.notes["pictures"] = many + self._first_noted

    def _note_rounding(self) -> None:
        rounding = self._loaded.lens.batches.rounding
        if rounding:
            self.progress.notes["rounding"] = (
                f"in a batch of two, logits were {rounding:.2g} from those of an item alone, "
                f"as {self._dtype} rounds them; a batch of one does not"
            )


def _longest(pictures: Sequence[PreparedPicture]) -> dict[str, Any]:
    """The inputs, among those of these pictures, that take most memory in a pass."""
    return max((task.inputs for each in pictures for task in each.tasks), key=length_of)


def _by_picture(items: Sequence[Item]) -> list[Item]:
    """Those about one picture, or what stands in its place, one after another, so that all find in
    memory what the first has left."""
    shown = dict.fromkeys((item.picture.path, *item.pixels) for item in items)
    places = {each: place for place, each in enumerate(shown)}
    return sorted(items, key=lambda item: places[(item.picture.path, *item.pixels)])


def _items(pictures: Sequence[PreparedPicture], numbers: range) -> Iterator[Item]:
    """The questions with these numbers about all pictures, question by question."""
    for number in numbers:
        for picture in pictures:
            yield Item(picture, picture.tasks[number])
