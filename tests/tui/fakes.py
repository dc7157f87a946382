"""A worker with fixed data, in a daemon thread like the real one."""

from __future__ import annotations

import hashlib
import queue
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from math import isqrt
from typing import Any

import numpy as np
from msgspec.structs import replace

from engine.arrays import Array
from engine.errors import BadInput, Remedy
from engine.events import (
    ComparisonGrew,
    Event,
    LoadOptions,
    ModelFailed,
    ModelLoading,
    ModelReady,
    ReadingDropped,
    ReadingGrew,
    ReadingMade,
    RowsRead,
    RunEnded,
    RunStarted,
    Spelling,
    SpellingsFound,
    Trouble,
)
from engine.methods.answer import AnswerRequest
from engine.methods.attention import AttentionRequest
from engine.methods.contrast import ContrastReading, ContrastRequest, ContrastRow
from engine.methods.debias import DebiasedAnswer, DebiasReading, DebiasRequest
from engine.methods.deepen import DeepenReading, DeepenRequest
from engine.methods.geometry import GeometryRequest
from engine.methods.grid import GridPart, GridReading, GridRequest
from engine.methods.knockout import KnockoutRequest
from engine.methods.neurons import NeuronsRequest
from engine.methods.parts import PartsRequest
from engine.methods.saliency import SaliencyRequest
from engine.methods.seen import SeenReading, SeenRequest
from engine.methods.tracing import TracingRequest
from engine.methods.track import TrackReading, TrackRequest
from engine.methods.visit import VisitReading, VisitRequest
from engine.methods.words import Word, WordsReading, WordsRequest
from engine.records import (
    AnswerReading,
    Comparison,
    ComparisonRow,
    Counterfactual,
    LayerReading,
    ModelCard,
    OtherPosition,
    PromptToken,
    Proof,
    Question,
    Reading,
    Request,
    Run,
    Token,
    Tracked,
)
from tui.state.run_view import RunView

CARD = ModelCard("samples/model", None, "LlavaForConditionalGeneration", "float32", "cpu")
ANSWER = (17, " cylinder")
SEEN = (
    "iVBORw0KGgoAAAANSUhEUgAAAAIAAAACCAIAAAD91JpzAAAAFklEQVR4nGM8ISfHwMDAxMDAwMDAAAANBAEI"
    "fXHKZgAAAABJRU5ErkJggg=="
)
"""A PNG of 2 x 2 pixels."""
WORDS = [" red", " cube", " sphere", " two", " the", " gray", " none", " metal", " blue", " one"]


def make_rows(
    layers: int, forms_at: int, top_k: int = 10, words: list[str] | None = None
) -> list[LayerReading]:
    """Rows in which the answer rises and is top-1 from row `forms_at` on."""
    words = words or WORDS
    rows = []
    for layer in range(layers + 1):
        share = layer / layers
        mine = 0.02 + 0.97 * share**2 if layer >= forms_at else 0.1 * share
        others = [
            Token(
                100 + (layer // 3 + place) % len(words),
                words[(layer // 3 + place) % len(words)],
                (1 - mine) * 0.55 * 0.5**place,
                3.0 - place,
            )
            for place in range(max(top_k, 10) - 1)
        ]
        answer = Token(*ANSWER, mine, 5.0 * share)
        if layer >= forms_at:
            top = [answer, *[replace(t, probability=min(t.probability, mine)) for t in others]]
        else:
            top = [others[0], *others[1:], replace(answer, probability=others[-1].probability)]
        rows.append(
            LayerReading(
                layer=layer,
                top=tuple(top),
                entropy=6.0 * (1 - share) + 0.01,
                rms=0.5 + 3.1 * layer,
            )
        )
    return rows


def make_run(run_id: str, question: Question, layers: int = 10) -> Run:
    tokens = tuple(
        PromptToken(i, word, "text", "prompt") for i, word in enumerate(question.prompt.split())
    ) or (PromptToken(0, "<s>", "special", "template"),)
    return Run(
        id=run_id,
        created="2026-11-22T03:00:00Z",
        status="cancelled",
        layers=layers,
        question=replace(question, model=CARD, text=f"USER: {question.prompt} ASSISTANT:"),
        tokens=tokens,
        position=len(tokens) - 1,
        rows=(),
    )


def finish(run: Run, rows: list[LayerReading], status: str = "done", passed: bool = True) -> Run:
    """The run with its rows filled in, as the engine does at the end."""
    if status == "cancelled":
        return replace(run, status="cancelled", rows=tuple(rows))
    filled = tuple(
        replace(
            row,
            answer=next(
                AnswerReading(t.probability, t.logit, rank)
                for rank, t in enumerate(row.top, 1)
                if t.id == ANSWER[0]
            ),
            kl_to_last=0.1,
        )
        if any(t.id == ANSWER[0] for t in row.top)
        else row
        for row in rows
    )
    n = len(rows)
    return replace(
        run,
        status="done" if passed else "failed",
        error=None if passed else "the lens's last row is not the model's",
        rows=filled,
        tracked=(Tracked(*ANSWER, "answer", (0.5,) * n, (1.0,) * n, (1,) * n),),
        proof=Proof(2.4e-6 if passed else 0.8, 1.5e-5, passed, "tail"),
        seconds={"total": 0.412},
        versions={"lenscope": "0.1.0"},
    )


def seen_reading(preview: str = SEEN) -> SeenReading:
    return SeenReading(
        request=SeenRequest(), preview=preview, width=2, height=2, how="resized to 2x2"
    )


def tracked_tokens(ids: Sequence[int], rows: int) -> tuple[Tracked, ...]:
    return tuple(
        Tracked(
            token,
            f" token{token}",
            "user",
            tuple(0.3 * row / rows for row in range(rows)),
            tuple(float(row) for row in range(rows)),
            tuple(rows - row for row in range(rows)),
        )
        for token in ids
    )


def track(run: RunView, tracked: Sequence[Tracked]) -> None:
    """Let a run take in tokens that were read from its stream."""
    run.take(TrackReading(request=TrackRequest(), tracked=tuple(tracked)))


def contrasted(request: ContrastRequest, rows: Sequence[LayerReading]) -> ContrastReading:
    # The run of a counterfactual has an id of its own.
    against = tuple(name if len(name) == 16 else "0" * 16 for name in request.against)
    return ContrastReading(
        request=request,
        rows=tuple(ContrastRow(row.layer, row.top, row.entropy, 0.1, 0.2) for row in rows),
        against=against[0],
        references=against,
    )


def debiased(request: DebiasRequest) -> DebiasReading:
    """Every answer of a list with the same figures."""
    answers = tuple(
        DebiasedAnswer(word, (1,), (0.5,), (0.75,), (0.2,), (0.25,)) for word in request.answers
    )
    return DebiasReading(request=request, answers=answers, references=request.against)


def chat_tokens(words: Sequence[str], patches: int = 0) -> tuple[PromptToken, ...]:
    """A prompt as a chat template makes it: a system turn, the picture, the words, a prefix."""
    tokens = [
        PromptToken(1, "<s>", "special", "template"),
        PromptToken(2, "SYS:", "text", "template"),
        PromptToken(3, " Be", "text", "system"),
        PromptToken(4, " brief.", "text", "system"),
        PromptToken(5, " USER:", "text", "template"),
        *[PromptToken(6, "<image>", "image", "picture")] * patches,
        *[PromptToken(10 + at, f" {word}", "text", "prompt") for at, word in enumerate(words)],
        PromptToken(7, " ASSISTANT:", "text", "template"),
        PromptToken(8, " The", "text", "prefix"),
    ]
    return tuple(tokens)


def grid_arrays(rows: Sequence[int], positions: Sequence[int], layers: int) -> dict[str, Any]:
    """The arrays of some rows of a grid: in the last quarter of the rows the answer is the best
    token of every third position, everywhere else a word that depends on row and position."""
    at, row = np.meshgrid(np.asarray(positions), np.asarray(rows))
    ids = np.where((at % 3 == 2) & (row > 0.75 * layers), ANSWER[0], 100 + (row // 3 + at) % 10)
    share = np.clip(0.02 + 0.9 * row / max(layers, 1) - 0.03 * (at % 7), 0.001, 1)
    return {
        "ids": Array.of(ids[..., None], "<i4"),
        "logits": Array.of(np.log(share), "<f4"),
        "lse": Array.of(np.zeros(share.shape), "<f4"),
        "entropy": Array.of(6 * (1 - share), "<f4"),
        "rms": Array.of(0.5 + row + 0.01 * at, "<f4"),
        "texts": {ANSWER[0]: ANSWER[1], **{100 + i: word for i, word in enumerate(WORDS)}},
    }


def grid_reading(
    request: GridRequest, layers: int, count: int, sinks: tuple[int, ...] = (0,)
) -> GridReading:
    """A whole grid of a prompt of so many tokens."""
    rows, positions = tuple(range(layers + 1)), tuple(range(count))
    kl = np.linspace(4, 0, layers + 1, dtype=np.float32)[:, None].repeat(count, 1)
    return GridReading(
        request=replace(request, first=None),
        rows=rows,
        positions=positions,
        kl_to_last=Array.of(kl, "<f4") if request.kl else None,
        sinks=sinks,
        **grid_arrays(rows, positions, layers),
    )


def grid_at(request: GridRequest, layers: int) -> GridReading:
    """A grid of the positions that are asked for."""
    rows = tuple(range(layers + 1))
    return GridReading(
        request=replace(request, first=None),
        rows=rows,
        positions=request.positions,
        **grid_arrays(rows, request.positions, layers),
    )


def words_reading(request: WordsRequest, layers: int, count: int) -> WordsReading:
    """Words that grow more probable from row to row, and from position to position."""
    at, row = np.meshgrid(np.arange(count), np.arange(layers + 1))
    share = (row / max(layers, 1)) ** 2 * (0.1 + 0.8 * at / max(count, 1))
    words = tuple(
        Word(word, (int(word[1:]) if word[:1] == "#" else 100 + index,))
        for index, word in enumerate(request.words)
    )
    return WordsReading(
        request=request,
        words=words,
        rows=tuple(range(layers + 1)),
        positions=tuple(range(count)),
        probability=Array.of(np.stack([share] * len(words)), "<f4"),
    )


def visited(position: int, layers: int, top_k: int = 10) -> OtherPosition:
    """The rows at a position: its first word names the position."""
    words = [f" w{position}", *WORDS[1:]]
    return OtherPosition(position, tuple(make_rows(layers, max(layers - 2, 0), top_k, words)))


class FakeWorker:
    """Answers every question with the same rows.

    `hold_at` stops the pass before that row until `go_on` is set, or for ever: only a cancel is
    looked at. `words` replaces the tokens, `tokens` the input. A grid comes in parts of three rows,
    and waits after its first part while `holds_grids` is set.
    """

    def __init__(
        self,
        tell: Callable[[Event], None],
        *,
        layers: int = 10,
        forms_at: int = 5,
        hold_at: int | None = None,
        row_seconds: float = 0.0,
        token_seconds: float = 0.0,
        name: str = "run",
        hold_loading: bool = False,
        failing_loads: int = 0,
        passed: bool = True,
        words: list[str] | None = None,
        takes_pictures: bool = True,
        deaf: bool = False,
        tokens: tuple[PromptToken, ...] | None = None,
        vocabulary: int = 100_000,
    ) -> None:
        self.tell, self.vocabulary = tell, vocabulary
        self.layers, self.forms_at, self.hold_at = layers, forms_at, hold_at
        self.row_seconds, self.token_seconds, self.name = row_seconds, token_seconds, name
        self.passed, self.words, self.takes_pictures = passed, words, takes_pictures
        self.go_on, self.loaded = threading.Event(), threading.Event()
        if not hold_loading:
            self.loaded.set()
        self.deaf, self.failing_loads = deaf, failing_loads
        self.tokens = tokens
        self.holds_grids = False
        self.grid_refusal = ""
        """Why a grid of all positions cannot be read; empty where it can."""
        self._counts: dict[str, int] = {}
        """Run -> how many tokens its prompt has."""
        self.questions: list[Question] = []
        self.tracks: list[tuple[int, ...]] = []
        self.loads: list[LoadOptions] = []
        self.asked: list[tuple[Question, str]] = []
        self.contrasts: list[tuple[float, float]] = []
        self.reads: list[tuple[str, Request]] = []
        self.read_ids: list[str] = []
        self.holds_readings = False
        """Until `answer_reads` is called."""
        self._unanswered: list[Callable[[], None]] = []
        self.cancelled_readings: list[str] = []
        self.holds_answers = False
        """Until it is unset an answer waits after its third token."""
        self.holds_draws = False
        """Until it is unset an answer waits after half of its draws."""
        self.forgotten: list[str] = []
        self.cancelled = threading.Event()
        self.cancels = 0
        self.stopped = False
        self._jobs: queue.Queue[Callable[[], None]] = queue.Queue()

    def start(self) -> None:
        threading.Thread(target=self._work, daemon=True).start()

    def load(self, options: LoadOptions) -> None:
        self.loads.append(options)
        self._jobs.put(self._load)

    def ask(self, question: Question, track: Sequence[int] = ()) -> str:
        self.questions.append(question)
        self.tracks.append(tuple(track))
        run_id = hashlib.sha256(f"{self.name} {len(self.questions)}".encode()).hexdigest()[:16]
        self.asked.append((question, run_id))
        self._jobs.put(lambda: self._run(self._made(run_id, question)))
        return run_id

    def _made(self, run_id: str, question: Question) -> Run:
        run = make_run(run_id, question, self.layers)
        if self.tokens is not None:
            run = replace(run, tokens=self.tokens, position=len(self.tokens) - 1)
        self._counts[run_id] = len(run.tokens)
        return run

    def spellings(self, typed: str) -> None:
        found = tuple(
            Spelling(index, text, text, True)
            for index, text in enumerate((f" {typed}", typed, f" {typed.capitalize()}"), 300)
        )
        self._jobs.put(lambda: self.tell(SpellingsFound(typed, found)))

    def read(self, run_id: str, request: Request) -> str:
        request_id = f"{len(self.reads):016x}"
        self.reads.append((run_id, request))
        self.read_ids.append(request_id)
        if isinstance(request, GridRequest):
            self._jobs.put(partial(self._grid, run_id, request_id, request))
            return request_id
        if isinstance(request, AnswerRequest):
            self._jobs.put(partial(self._decode, run_id, request_id, request))
            return request_id
        try:
            answer: Event = ReadingMade(run_id, request_id, self._reading(run_id, request))
        except BadInput as error:
            answer = Trouble(str(error), run_id, request_id=request_id)
        self._unanswered.append(lambda: self.tell(answer))
        if not self.holds_readings:
            self.answer_reads()
        return request_id

    def answer_reads(self) -> None:
        for answer in self._unanswered:
            self._jobs.put(answer)
        self._unanswered = []

    def cancel_reading(self, request_id: str) -> None:
        self.cancelled_readings.append(request_id)

    def _grid(self, run_id: str, request_id: str, request: GridRequest) -> None:
        if self.grid_refusal and not request.positions:
            remedies = (Remedy.SOME_POSITIONS,)
            self.tell(Trouble(self.grid_refusal, run_id, remedies, request_id))
            return
        if request.positions:
            self.tell(ReadingMade(run_id, request_id, grid_at(request, self.layers)))
            return
        count, rows = self._counts[run_id], list(range(self.layers + 1))
        first = request.first or 0
        rows = [first, *(row for row in rows if row != first)]
        for start in range(0, len(rows), 3):
            part = sorted(rows[start : start + 3])
            while self.holds_grids and start and request_id not in self.cancelled_readings:
                if not self._jobs.empty():  # the foreground comes first
                    self._jobs.put(partial(self._grid, run_id, request_id, request))
                    return
                time.sleep(0.005)
            if request_id in self.cancelled_readings:
                self.tell(ReadingDropped(run_id, request_id))
                return
            arrays = grid_arrays(part, range(count), self.layers)
            of = self.layers + 1
            made = GridPart(tuple(part), tuple(range(count)), sinks=(0,), of=of, **arrays)
            self.tell(ReadingGrew(run_id, request_id, made))
        reading = grid_reading(request, self.layers, count)
        self.tell(ReadingMade(run_id, request_id, reading))

    def _reading(self, run_id: str, request: Request) -> Reading:
        n = self.layers + 1
        match request:
            case TrackRequest():
                return TrackReading(request=request, tracked=tracked_tokens(request.ids, n))
            case DeepenRequest():
                count = min(request.count, self.vocabulary)
                rows = make_rows(self.layers, self.forms_at, count, self.words)
                return DeepenReading(request=request, row=rows[request.layer])
            case SeenRequest():
                return seen_reading()
            case ContrastRequest():
                self.contrasts.append((request.a, request.b))
                return contrasted(request, make_rows(self.layers, self.forms_at))
            case DebiasRequest():
                return debiased(request)
            case WordsRequest():
                return words_reading(request, self.layers, self._counts[run_id])
            case VisitRequest():
                others = tuple(visited(place, self.layers) for place in request.positions)
                return VisitReading(request=request, others=others)
        return self._reading_of_picture(run_id, request)

    def _reading_of_picture(self, run_id: str, request: Request) -> Reading:
        """What is read of a square picture that the prompt's picture tokens show, if any do."""
        from tests.tui.attention_stage import attention_reading, knockout_reading
        from tests.tui.neurons_stage import neurons_reading
        from tests.tui.parts_stage import parts_reading
        from tests.tui.saliency_stage import saliency_reading
        from tests.tui.tracing_stage import tracing_reading
        from tests.tui.words_stage import geometry

        count = self._counts[run_id]
        cells = [at for at, token in enumerate(self.tokens or ()) if token.kind == "image"]
        match request:
            case AttentionRequest():
                return attention_reading(request, self.layers, count, cells)
            case KnockoutRequest():
                return knockout_reading(request, self.layers, count)
            case NeuronsRequest():
                return neurons_reading(request, self.layers, count, self.words or WORDS)
            case PartsRequest():
                return parts_reading(
                    request, self.layers, count, isqrt(len(cells)), self.words or WORDS
                )
            case TracingRequest():
                return tracing_reading(request, self.layers, count, cells)
            case SaliencyRequest():
                return saliency_reading(request, self.layers, count, cells)
            case GeometryRequest():
                found = geometry((336, 336), isqrt(len(cells)))
                return replace(found, tokens=Array.of(np.array(cells), "<i4"))
        raise AssertionError(request)

    def ask_against(self, of: str, counterfactuals: Sequence[Counterfactual]) -> tuple[str, ...]:
        question = next(q for q, known in self.asked if known == of)
        ids = []
        for counterfactual in counterfactuals:
            self.questions.append(replace(question, counterfactual=counterfactual))
            run_id = hashlib.sha256(f"{self.name} {len(self.questions)}".encode()).hexdigest()[:16]
            run = self._made(run_id, self.questions[-1])
            self._jobs.put(partial(self._run_against, of, run))
            ids.append(run_id)
        return tuple(ids)

    def cancel(self) -> None:
        self.cancels += 1
        self.cancelled.set()

    def forget(self, run_id: str) -> None:
        self.forgotten.append(run_id)

    def stop(self) -> None:
        self.stopped = True

    def _work(self) -> None:
        while True:
            job = self._jobs.get()
            self.cancelled.clear()
            job()

    def _load(self) -> None:
        self.tell(ModelLoading("importing torch"))
        self.tell(ModelLoading("loading weights", 0.4))
        while not self.loaded.wait(0.01):
            if self.cancelled.is_set():
                self.tell(ModelFailed("samples/model: loading was cancelled"))
                return
        if self.failing_loads:
            self.failing_loads -= 1
            self.tell(ModelFailed("samples/model: the download broke off"))
            return
        self.tell(ModelReady(CARD, self.layers, self.takes_pictures, True, "tail", 0.5, 16, 2))

    def _run(self, run: Run, without: bool = False) -> None:
        self.tell(RunStarted(run))
        rows = make_rows(self.layers, self.forms_at, run.question.top_k, self.words)
        for index, row in enumerate(rows):
            if index == self.hold_at:
                self._hold(run.id)
            if self.row_seconds:
                time.sleep(self.row_seconds)
            if self._is_cancelled(run.id):
                self.tell(RunEnded(finish(run, rows[:index], "cancelled")))
                return
            self.tell(RowsRead(run.id, (row,)))
        if not without:
            self.tell(RunEnded(self._finished(run)))

    def _run_against(self, of: str, run: Run) -> None:
        self._run(run, without=True)
        rows = tuple(ComparisonRow(n, 0.1 * n, min(0.05 * n, 0.69)) for n in range(self.layers + 1))
        compared = Comparison(run.id, "counterfactual", of, run.id, run.position, rows, 0.1, 3)
        self.tell(ComparisonGrew(compared))
        self.tell(RunEnded(self._finished(run)))

    def _finished(self, run: Run) -> Run:
        rows = make_rows(self.layers, self.forms_at, run.question.top_k, self.words)
        return finish(run, rows, passed=self.passed)

    def _hold(self, run_id: str) -> None:
        while not self.go_on.is_set() and (self.deaf or not self._is_cancelled(run_id)):
            self.go_on.wait(0.01)

    def _is_cancelled(self, run_id: str) -> bool:
        return self.cancelled.is_set() or run_id in self.forgotten

    def _decode(self, run_id: str, request_id: str, request: AnswerRequest) -> None:
        from tests.tui.answer_stage import answer_part, answer_reading, said_with

        said = said_with(self.words) if self.words is not None else {}
        made = answer_reading(request, self.layers, **said)
        for step in range(made.tokens.shape[0]):
            while self.holds_answers and step == 3 and request_id not in self.cancelled_readings:
                time.sleep(0.005)
            if request_id in self.cancelled_readings or self.cancelled.is_set():
                self.tell(ReadingDropped(run_id, request_id))
                return
            if self.token_seconds:
                time.sleep(self.token_seconds)
            self.tell(ReadingGrew(run_id, request_id, answer_part(made, step)))
        if request.settings.samples and request.draws > 1:
            part = answer_part(made, made.tokens.shape[0], request.draws // 2)
            self.tell(ReadingGrew(run_id, request_id, part))
        while self.holds_draws and request_id not in self.cancelled_readings:
            time.sleep(0.005)
        if request_id in self.cancelled_readings:  # as the method, it keeps what has been drawn
            fewer = replace(request, draws=max(request.draws // 2 + 1, 1))
            made = answer_reading(fewer, self.layers, **said)
        self.tell(ReadingMade(run_id, request_id, made))
