"""Reading more from the kept stream gives what the pass itself would have given."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

import samples
from engine import Lens
from engine.anatomy.logit_map import errors_and_limits
from engine.asking.asking import Asking
from engine.errors import BadInput, Cancelled
from engine.lens import row_reader
from engine.lens.kept import KeptStream
from engine.lens.row_reader import Wanted
from engine.lens.streaming import StreamedPass
from engine.models.loading import LoadedModel
from engine.records import Picture, Question, Tracked
from tests.families import FAMILIES

Opened = Callable[[str], LoadedModel]


def finished(lens: Lens, inputs: dict[str, Any], **settings: Any) -> StreamedPass:
    """A pass that has been iterated to its end."""
    streamed = lens.start(inputs, **settings)
    for _ in streamed:
        pass
    return streamed


def by_the_user(tracked: tuple[Tracked, ...]) -> list[tuple[Any, ...]]:
    return [(each.id, each.text, each.probability, each.logit, each.rank) for each in tracked]


@pytest.fixture
def shape_question() -> Question:
    return Question(prompt="Shape:", picture=Picture(path=str(samples.DEFAULT_PICTURE)))


def test_tokens_read_later_are_those_of_a_run_that_tracked_them(
    bundled: LoadedModel, shape_question: Question
) -> None:
    ids = (5, 17, 3, 5)
    asking = Asking(bundled, shape_question)
    run = asking.run()
    kept = asking.kept
    assert kept is not None and not kept.replays
    later = kept.track(ids)
    assert [each.id for each in later] == [5, 17, 3]
    assert {each.why for each in later} == {"user"}
    assert all(len(each.rank) == run.layers + 1 for each in later)
    asked = Asking(bundled, shape_question, None, ids).run()
    wanted = [each for token in (5, 17, 3) for each in asked.tracked if each.id == token]
    assert by_the_user(later) == by_the_user(tuple(wanted))
    own = [each.id for each in run.tracked]
    assert by_the_user(kept.track(own)) == by_the_user(run.tracked)


def test_a_deeper_row_is_that_of_a_run_that_asked_for_more(
    bundled: LoadedModel, shape_question: Question
) -> None:
    asking = Asking(bundled, shape_question)
    run = asking.run()
    assert asking.kept is not None
    more = Asking(bundled, Question(shape_question.prompt, shape_question.picture, top_k=40)).run()
    for row, deep in enumerate(more.rows):
        assert asking.kept.deepen(row, 40) == deep
        assert asking.kept.deepen(row, len(run.rows[row].top)) == run.rows[row]
    vocabulary = asking.kept.model_logits.shape[-1]
    assert len(asking.kept.deepen(0, 10**6).top) == vocabulary
    assert len(asking.kept.deepen(0, 0).top) == 1


@pytest.mark.parametrize(
    ("name", "norm"),
    [
        ("gemma3n", True),
        ("gemma3n_text", True),
        ("llava", True),
        ("llava", False),
        ("inkling2", True),
        ("inkling2", False),
        ("idefics", True),
    ],
)
def test_every_kind_of_tail(name: str, norm: bool) -> None:
    tiny = FAMILIES[name]()
    lens = Lens(tiny.model)
    lens.learn(tiny.inputs)
    replays = lens.method == "replay"
    assert replays == name.startswith("gemma3n")
    ids = (3, 90)
    kept = finished(lens, tiny.inputs, top_k=5, norm=norm).keep()
    assert kept.replays == replays
    _others_pass_by(lens, tiny.inputs)
    (wanted,) = finished(lens, tiny.inputs, top_k=20, norm=norm, wanted=[Wanted(track=ids)]).results
    tracked = {each.id: each for each in wanted.tracked}
    assert by_the_user(kept.track(ids)) == by_the_user(tuple(tracked[token] for token in ids))
    assert tuple(kept.deepen(row, 20) for row in range(tiny.layers + 1)) == wanted.rows


def _others_pass_by(lens: Lens, inputs: dict[str, Any]) -> None:
    """Other passes of the same model do not change a kept stream."""
    other = {**inputs, "input_ids": inputs["input_ids"].clone()}
    other["input_ids"][0, -1] = 7
    finished(lens, other)


def test_what_cannot_be_read(bundled: LoadedModel, shape_question: Question) -> None:
    kept = _kept(bundled, shape_question)
    vocabulary, last = kept.model_logits.shape[-1], len(kept.readings) - 1
    for token in (-1, vocabulary, 10**12):
        with pytest.raises(BadInput, match=f"0 to {vocabulary - 1}"):
            kept.track((1, token))
    for row in (-1, last + 1):
        with pytest.raises(BadInput, match=f"0 to {last}"):
            kept.deepen(row, 5)
    with pytest.raises(Cancelled):
        kept.track((1,), stop=lambda: True)
    with pytest.raises(Cancelled):
        kept.deepen(1, 5, stop=lambda: True)
    asked = iter([False] * 3)
    with pytest.raises(Cancelled):  # while texts are decoded, too
        kept.deepen(1, 5, stop=lambda: next(asked, True))
    assert kept.track(()) == ()


def test_the_stream_and_no_more_is_kept(bundled: LoadedModel, shape_question: Question) -> None:
    kept = _kept(bundled, shape_question)
    width = bundled.model.config.get_text_config().hidden_size
    assert sorted(kept.streams) == list(range(len(kept.readings)))
    for row, read in kept.streams.items():
        assert float(read.stream.pow(2).mean().sqrt()) == pytest.approx(kept.readings[row].rms)
        assert read.stream.shape == (1, width)
        assert read.before_addition is None and read.companions == ()
    storages = {each.stream.untyped_storage() for each in kept.streams.values()}
    held = sum({storage.data_ptr(): storage.nbytes() for storage in storages}.values())
    assert held == len(kept.streams) * width * kept.model_logits.element_size()


def test_never_all_rows_at_once(bundled: LoadedModel, shape_question: Question) -> None:
    kept = _kept(bundled, shape_question)
    rows = [row for group in kept.groups for row in group]
    assert rows == list(range(len(kept.readings) - 1))
    assert max(map(len, kept.groups)) < len(rows)


def test_ids_that_the_model_does_not_have_are_not_tracked(opened: Opened) -> None:
    run = Asking(opened("llama"), Question(prompt="What?"), None, (-1, 7, 10**9)).run()
    assert run.status == "done"
    assert [each.id for each in run.tracked if each.why == "user"] in ([7], [])
    assert all(0 <= each.id < 10**6 for each in run.tracked)


def test_nothing_is_kept_of_a_run_that_is_not_done(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = opened("llama")
    cancelled = Asking(loaded, Question(prompt="What?"))
    cancelled.cancel()
    assert cancelled.run().status == "cancelled"
    assert cancelled.kept is None
    failing = Asking(loaded, Question(prompt="What?"))
    monkeypatch.setattr(row_reader, "errors_and_limits", _refused)
    assert failing.run().status == "failed"
    assert failing.kept is None


def _refused(dtype: torch.dtype, computed: torch.Tensor, own: torch.Tensor) -> torch.Tensor:
    return errors_and_limits(dtype, computed + 1, own)


def _kept(loaded: LoadedModel, question: Question) -> KeptStream:
    asking = Asking(loaded, question)
    asking.run()
    assert asking.kept is not None
    return asking.kept
