"""A worker with fixed data, in a daemon thread like the real one."""

from __future__ import annotations

import hashlib
import queue
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial

from msgspec.structs import replace

from engine.events import (
    AnswerGrew,
    ComparisonGrew,
    Event,
    LoadOptions,
    ModelFailed,
    ModelLoading,
    ModelReady,
    ReadingMade,
    RowsRead,
    RunEnded,
    RunStarted,
    Spelling,
    SpellingsFound,
)
from engine.methods.contrast import ContrastReading, ContrastRequest, ContrastRow
from engine.methods.debias import DebiasedAnswer, DebiasReading, DebiasRequest
from engine.methods.deepen import DeepenReading, DeepenRequest
from engine.methods.seen import SeenReading, SeenRequest
from engine.methods.track import TrackReading, TrackRequest
from engine.records import (
    AnswerReading,
    Comparison,
    ComparisonRow,
    Counterfactual,
    LayerReading,
    ModelCard,
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


class FakeWorker:
    """Answers every question with the same rows.

    `hold_at` stops the pass before that row until `go_on` is set, or for ever: only a cancel is
    looked at. `words` replaces the tokens.
    """

    def __init__(
        self,
        tell: Callable[[Event], None],
        *,
        layers: int = 10,
        forms_at: int = 5,
        hold_at: int | None = None,
        row_seconds: float = 0.0,
        name: str = "run",
        hold_loading: bool = False,
        failing_loads: int = 0,
        passed: bool = True,
        words: list[str] | None = None,
        takes_pictures: bool = True,
        deaf: bool = False,
    ) -> None:
        self.tell = tell
        self.layers, self.forms_at, self.hold_at = layers, forms_at, hold_at
        self.row_seconds, self.name = row_seconds, name
        self.passed, self.words, self.takes_pictures = passed, words, takes_pictures
        self.go_on, self.loaded = threading.Event(), threading.Event()
        if not hold_loading:
            self.loaded.set()
        self.deaf, self.failing_loads = deaf, failing_loads
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
        self.continued: list[str] = []
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
        self._jobs.put(lambda: self._run(make_run(run_id, question, self.layers)))
        return run_id

    def continue_answer(self, run_id: str, max_tokens: int = 20) -> None:
        self.continued.append(run_id)
        self._jobs.put(lambda: self._continue(run_id))

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
        reading = self._reading(request)
        self._unanswered.append(lambda: self.tell(ReadingMade(run_id, request_id, reading)))
        if not self.holds_readings:
            self.answer_reads()
        return request_id

    def answer_reads(self) -> None:
        for answer in self._unanswered:
            self._jobs.put(answer)
        self._unanswered = []

    def cancel_reading(self, request_id: str) -> None:
        self.cancelled_readings.append(request_id)

    def _reading(self, request: Request) -> Reading:
        n = self.layers + 1
        match request:
            case TrackRequest():
                return TrackReading(request=request, tracked=tracked_tokens(request.ids, n))
            case DeepenRequest():
                rows = make_rows(self.layers, self.forms_at, request.count, self.words)
                return DeepenReading(request=request, row=rows[request.layer])
            case SeenRequest():
                return seen_reading()
            case ContrastRequest():
                self.contrasts.append((request.a, request.b))
                return contrasted(request, make_rows(self.layers, self.forms_at))
            case DebiasRequest():
                return debiased(request)
        raise AssertionError(request)

    def ask_against(self, of: str, counterfactuals: Sequence[Counterfactual]) -> tuple[str, ...]:
        question = next(q for q, known in self.asked if known == of)
        ids = []
        for counterfactual in counterfactuals:
            self.questions.append(replace(question, counterfactual=counterfactual))
            run_id = hashlib.sha256(f"{self.name} {len(self.questions)}".encode()).hexdigest()[:16]
            run = make_run(run_id, self.questions[-1], self.layers)
            self._jobs.put(partial(self._run_against, of, run))
            ids.append(run_id)
        return tuple(ids)

    def cancel(self) -> None:
        self.cancels += 1
        self.cancelled.set()

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
        self.tell(ModelReady(CARD, self.layers, self.takes_pictures, True, "tail", 0.5, 16))

    def _run(self, run: Run, without: bool = False) -> None:
        self.tell(RunStarted(run))
        rows = make_rows(self.layers, self.forms_at, run.question.top_k, self.words)
        for index, row in enumerate(rows):
            if index == self.hold_at:
                self._hold()
            if self.row_seconds:
                time.sleep(self.row_seconds)
            if self.cancelled.is_set():
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

    def _hold(self) -> None:
        while not self.go_on.is_set() and (self.deaf or not self.cancelled.is_set()):
            self.go_on.wait(0.01)

    def _continue(self, run_id: str) -> None:
        for piece in (" cylinder", " of", " glass", "\x1b[31m"):
            if self.cancelled.is_set():
                break
            self.tell(AnswerGrew(run_id, piece, False))
        self.tell(AnswerGrew(run_id, "", True))
