"""`lenscope sweep`: ask the same questions about many pictures and write the results to a folder.

Messages go to stderr: on a terminal that can draw it a bar with rate, time left and failures, else
a line now and then.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import structs

from engine.errors import BadInput
from engine.events import LoadOptions
from engine.records import Counterfactual, ModelCard, Question
from engine.sweeps.processes import Process, this_process
from engine.sweeps.progress import NOTE_REMEDIES
from engine.sweeps.records import Decoding, DepthOrder, Sweep, SweepData, SweepQuestion
from engine.sweeps.replacing import asked_as
from engine.sweeps.settings import names_of
from engine.sweeps.sources.clevr import Main
from engine.sweeps.sources.opening import open_source
from engine.sweeps.sources.presence import Presence, only_present
from engine.sweeps.sources.tasks import Prompt, Source
from engine.sweeps.sources.texts import as_utf8
from engine.sweeps.words import counted
from engine.system.files import read_file, storable, user_path
from engine.system.stamps import now
from tui.commands.exits import Exit
from tui.commands.talk import clear_progress, model_line, progress, say
from tui.state.presets import read_presets
from tui.terminal.surroundings import can_redraw_messages
from tui.text.remedies import with_flags

if TYPE_CHECKING:
    from engine.models.loading import LoadedModel
    from engine.sweeps.progress import Progress

OWN_QUESTIONS = "questions"
SHOWN_SETTINGS = 12
"""Of more settings, the others are counted."""
QUIET_SECONDS = 10.0
"""Seconds between two lines where stderr is no terminal."""
_MOST_BYTES = 2**20


@dataclass(frozen=True)
class SweepOrder:
    """The options of `lenscope sweep`."""

    data: str
    prompts: str | None
    out: str
    main: Main = "largest"
    batch_size: int | None = None
    limit: int | None = None
    shard: tuple[int, int] = (0, 1)
    """Index, counted from 0, and number of shards."""
    retry: bool = False
    sharing: bool = True
    presets_file: Path | None = None
    against: tuple[Counterfactual, ...] = ()
    """What every question is also asked with instead of its picture."""
    reads: tuple[str, ...] = ()
    """What is read besides the rows, by the names of methods."""
    decoding: Decoding | None = None
    """With which settings whole answers are decoded, if they are read."""
    orders: Mapping[str, DepthOrder] = field(default_factory=dict)
    """What methods that read by depth are asked, by their names."""


def run_sweep(options: LoadOptions, question: Question, order: SweepOrder) -> int:
    """Open the data, load the model and ask; return the exit code.

    Raises what opening, loading and asking raise, and BadInput where the folder has the results of
    another sweep.
    """
    own = order.prompts == OWN_QUESTIONS
    prompts = () if own or order.prompts is None else read_prompts(order.prompts, order)
    # Asked raw, a placeholder says where in the text the picture goes.
    source = open_source(order.data, prompts, order.main, own, take_off=question.chat)
    present = only_present(source)
    with this_process(on_cpu=options.device == "cpu", told=say) as process:
        if process.count > 1 and options.device_map:
            raise BadInput("--device-map: with several processes, each has a single device")
        if process.count > 1 and options.device in ("auto", "cuda"):
            options = structs.replace(options, device=process.device)
        if process.index == 0:
            _tell_of(source, present, order)
        return _run(options, question, order, source, present, process)


def _tell_of(source: Source, present: Presence, order: SweepOrder) -> None:
    """Say what the data is, how it was read, and what of it is missing."""
    limited = order.limit is not None and not present.notes
    first = f", the first {order.limit:,} of them" if limited else ""
    say(f"{source.kind} {source.path}: {questions_of(source)}{first}")
    for note in (*source.notes, *present.notes):
        say(note)
    if present.notes:
        which = f", the first {order.limit:,} of them" if order.limit else ""
        there = counted(present.pictures, "picture")
        say(f"asked about: {counted(present.items, 'question')} about {there}{which}")
    if order.against:
        names = ", ".join(map(asked_as, order.against))
        say(f"each is also asked with something else instead of the picture: {names}")
    for name, asked in order.orders.items():
        against = "" if asked.against is None else f", against {asked_as(asked.against)}"
        say(f"{name} is read of each in passes of its own{against}")
    if order.decoding is not None:
        say(f"each is also answered in full: {_decoded(order.decoding)}")


def _decoded(decoding: Decoding) -> str:
    """Return how answers are decoded, in words."""
    names = names_of(decoding)
    shown = ", then with ".join((names[0], "; ".join(names[1:SHOWN_SETTINGS]))) if names[1:] else ""
    more = f" and {len(names) - SHOWN_SETTINGS} more" if len(names) > SHOWN_SETTINGS else ""
    draws = f", {decoding.draws:,} draws of each" if decoding.draws > 1 else ""
    limit = decoding.settings[0].max_new_tokens
    return f"{shown or names[0]}{more}{draws}, of up to {counted(limit, 'token')}"


def read_prompts(name: str, order: SweepOrder) -> tuple[Prompt, ...]:
    """Return the prompts of a set of presets, or the lines of a file. Raises BadInput."""
    presets = read_presets(order.presets_file)
    found = [preset.prompt for preset in presets if preset.group == name]
    if not found:
        try:
            is_file = user_path(name).is_file()
        except (OSError, ValueError):
            is_file = False
        if not is_file:
            sets = ", ".join(dict.fromkeys(preset.group for preset in presets))
            raise BadInput(f"--prompts {name}: neither a set of presets ({sets}) nor a file")
        data = read_file(name, "file of prompts", _MOST_BYTES)
        lines = as_utf8(data, Path(name)).decode().splitlines()
        found = [line.strip() for line in lines if line.strip()]
    if not found:
        raise BadInput(f"--prompts {name}: it has no prompts")
    return tuple(Prompt(text, text.rstrip(" :?")) for text in dict.fromkeys(found))


def questions_of(source: Source) -> str:
    """Return how many questions and pictures the data has, in words."""
    questions = counted(source.item_count, "question")
    return f"{questions} about {counted(source.picture_count, 'picture')}"


def _run(
    options: LoadOptions,
    question: Question,
    order: SweepOrder,
    source: Source,
    present: Presence,
    process: Process,
) -> int:
    from engine.models.importing import import_and_load
    from engine.sweeps.matching import choices_of
    from engine.sweeps.running import Sweeping
    from engine.sweeps.store import Store, refuse_long_texts
    from engine.system.quiet import quiet

    index, count = order.shard
    shard, shards = index * process.count + process.index, count * process.count
    described = structs.replace(
        _described(question, source),
        against=order.against,
        reads=order.reads,
        decoding=order.decoding,
        orders=dict(order.orders),
    )
    refuse_long_texts(source)
    _refuse_early(order.out, described)
    store = Store(order.out, shard, shards)
    try:
        if not store.is_locked:
            say(
                f"{order.out}: its file system has no locks; make sure that no other sweep of this "
                "shard writes there at the same time"
            )
        loaded = import_and_load(options, progress if process.index == 0 else _nothing)
        if process.index == 0:
            clear_progress()
            say(model_line(loaded))
            for note in loaded.card.notes:
                say(f"note: {note}")
        if not loaded.takes_pictures:
            raise BadInput(f"--data: {loaded.name} takes no pictures")
        if question.chat and not loaded.has_chat_template:
            say("this model has no chat template: asked raw")
        sweep = store.belongs_to(_of_model(described, loaded, question))
        sweeping = Sweeping(
            loaded,
            present.source,
            store,
            question,
            sweep,
            batch_size=order.batch_size,
            limit=order.limit,
            retry=order.retry,
            sharing=order.sharing,
            against=order.against,
            choices=choices_of(source) if order.decoding is not None else None,
        )
        name = f"{shard + 1}/{shards} " if shards > 1 else ""
        if not sweeping.progress.total:
            say(f"{name}every question has been asked; {_kept(store.folder)}")
            return Exit.DONE
        try:
            with leaving_cleanly(), quiet(), _shown(sweeping.progress, name) as told:
                done = sweeping.run(told)
        except (KeyboardInterrupt, SystemExit):
            say(f"{name}interrupted; {_kept(store.folder)}; the same command resumes")
            raise
    finally:
        store.close()
    for topic, note in done.notes.items():
        remedies = [NOTE_REMEDIES[topic]] if topic in NOTE_REMEDIES else []
        say(with_flags(f"{name}{topic}: {note}", remedies))
    say(f"{name}asked {done.done:,} now; {_kept(store.folder)}")
    if done.done:
        say(f"{name}`lenscope report {order.out}` shows what they say")
    return Exit.DONE if done.done or not done.failed else Exit.FAULT


def _kept(folder: Path) -> str:
    """Return how many results a folder holds, in words."""
    from engine.sweeps.store import count_failures, count_items

    failed, same = count_failures(folder)
    items, replaced = count_items(folder)
    found = f"{folder} holds {counted(items, 'item')}"
    if replaced:
        found += f", {replaced:,} more with something else instead of the picture"
    if same:
        found += f", {same:,} more {'are' if same != 1 else 'is'} the same as others"
    if failed:
        found += f", {failed:,} failed (failures.jsonl says why; --retry asks again)"
    return found


def _refuse_early(out: str, described: Sweep) -> None:
    """Refuse a folder with another sweep's results before a model is loaded. Raises BadInput."""
    from engine.sweeps.store import SWEEP, read_sweep, refuse_another

    try:
        folder = user_path(out)
        if not (folder / SWEEP).is_file():
            return
    except (OSError, ValueError):
        return  # the store reports what is wrong with it
    refuse_another(folder, read_sweep(folder), described, model=False)


@contextmanager
def leaving_cleanly() -> Iterator[None]:
    """Turn a hang-up or a termination into an exception: the bar is removed, and what has been
    written stays whole."""

    def leave(number: int, _frame: object) -> None:
        raise SystemExit(128 + number)

    before = {number: signal.signal(number, leave) for number in (signal.SIGHUP, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _described(question: Question, source: Source) -> Sweep:
    """Return what is known of the sweep before a model is loaded."""
    prompts = [task.prompt for picture in islice(source.listing, 20) for task in picture.tasks]
    return Sweep(
        created=now(),
        model=ModelCard("", None, "", "", ""),
        layers=0,
        question=SweepQuestion(question.chat, question.system, question.prefix),
        data=SweepData(
            kind=source.kind,
            path=storable(source.path),
            digest=source.digest,
            pictures=source.picture_count,
            items=source.item_count,
            rule=source.rule,
            folder=_data_folder(source),
        ),
        prompts=tuple(dict.fromkeys(prompts)),
    )


def _data_folder(source: Source) -> str:
    """Return the folder to which the names of pictures are relative."""
    path = Path(source.path)
    return storable(path if path.is_dir() else path.parent)


def _of_model(described: Sweep, loaded: LoadedModel, question: Question) -> Sweep:
    from engine.asking.asking import versions
    from engine.models.fingerprints import is_offloaded, weights_digest

    chat = question.chat and loaded.has_chat_template
    return structs.replace(
        described,
        model=loaded.card,
        layers=len(loaded.lens.layers),
        question=structs.replace(described.question, chat=chat),
        weights=weights_digest(loaded.model),
        offloaded=_files_of(loaded) if is_offloaded(loaded.model) else "",
        versions=versions(),
    )


def _files_of(loaded: LoadedModel) -> str:
    """Return a digest of the files of weights, which are not in memory."""
    from engine.models.fingerprints import files_digest
    from engine.sweeps.store import OFFLOADED_UNKNOWN

    try:
        found = files_digest(Path(loaded.model.name_or_path))  # the folder that was opened
    except OSError:
        found = ""
    return found or OFFLOADED_UNKNOWN


def _nothing(stage: str, fraction: float | None) -> None:
    """Ignore progress: only one of several processes reports it while the model loads."""


@contextmanager
def _shown(first: Progress, name: str) -> Iterator[Callable[[Progress], None]]:
    from rich.console import Console

    if not can_redraw_messages():
        yield _Lines(name)
        return
    console = Console(stderr=True)
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(elapsed_when_finished=True),
        TextColumn("{task.fields[failed]}"),
    )
    with Bar(*columns, console=console, transient=True) as bar:
        task = bar.add_task(f"{name}asking", total=first.total, rate="", failed="")
        began = time.monotonic()

        def told(progress: Progress) -> None:
            seen = progress.done + progress.failed + progress.duplicates
            rate = seen / max(time.monotonic() - began, 1e-3)
            failed = f"[red]{progress.failed} failed[/red]" if progress.failed else ""
            bar.update(
                task,
                completed=seen,
                rate=f"{rate:.1f}/s, {progress.batch_size} at once" if seen else "",
                failed=failed,
            )

        yield told


class _Lines:
    """Prints a line now and then, for logs."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._began = self._last = time.monotonic()

    def __call__(self, progress: Progress) -> None:
        at = time.monotonic()
        if at - self._last < QUIET_SECONDS:
            return
        self._last = at
        seen = progress.done + progress.failed + progress.duplicates
        rate = seen / max(at - self._began, 1e-3)
        left = (progress.total - seen) / rate if rate else 0
        say(
            f"{self._name}{seen:,} of {progress.total:,}, {rate:.1f} a second, "
            f"{left / 60:.0f} min left, {progress.failed:,} failed"
        )
