"""Questions that go on from what earlier ones about the same picture have left: their rows are
those of a plain pass, or nothing is reused."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import samples
from engine import Lens
from engine.asking.asking import Asking
from engine.counterfactuals.grammar import parse_against
from engine.errors import Cancelled
from engine.events import LoadOptions, ModelReady, ReadingMade, RowsRead, RunEnded, Trouble
from engine.lens import reuse, reuse_kinds
from engine.lens.streaming import StreamedPass
from engine.lens.streams import Streams
from engine.methods import visit
from engine.methods.asked_run import AskedRun
from engine.methods.registry import method_names, method_of, tables_of
from engine.methods.requests import request_of
from engine.models.loading import LoadedModel
from engine.records import Counterfactual, Picture, Question, Run
from engine.tables import Candidate, Place
from engine.worker import Worker
from tests.conftest import hooks_of
from tests.engine.conftest import Ears
from tests.engine.test_methods import SETTINGS
from tests.families import FAMILIES, Tiny

NEAR = 1e-5
"""Of the largest logit, in float32."""
FEW = {"llama", "llava", "qwen2_vl", "gemma3", "qwen3_5", "paligemma"}
"""Families that differ in kind: text, a plain picture, positions that depend on the picture,
sliding windows, layers with a running state, a picture that sees the prompt. The others are asked
more."""
QUICK = {"qwen3_5"}

ENCODER = "an encoder reads the whole prompt at once"
REPLAY = "its rows are read by running the model again"
NO_CACHE = "the model returns no keys and values that can be kept"
OTHERS_FIRST = "the model puts other positions before those of its tokens"
AHEAD = "the beginning of its sequence depends on what follows"
DIFFER = "rows differ by"
NOT_CONTINUED = {
    "bart": ENCODER,
    "blip": NO_CACHE,
    "blip-2": NO_CACHE,
    "blip-2-t5": ENCODER,
    "diffusion_gemma": OTHERS_FIRST,
    "dots3_note": AHEAD,
    "florence2": ENCODER,
    "gemma3n": REPLAY,
    "gemma3n_text": REPLAY,
    "git": OTHERS_FIRST,
    "glm5_next": AHEAD,
    "granite4_vision": NO_CACHE,
    "instructblip": NO_CACHE,
    "instructblipvideo": NO_CACHE,
    "mllama": DIFFER,
    "paligemma": AHEAD,
    "t5": ENCODER,
    "t5gemma2": ENCODER,
    "udop": ENCODER,
    "unlimited_ocr": DIFFER,
}
"""Families whose keys and values are not reused -> how the reason begins."""
COMPUTED = {"bart", "blip", "dots3_note", "gemma3n", "gemma3n_text", "t5"}
"""Those of them in which nothing is reused."""
WITHOUT_IDS = {
    "pi0",
    "pix2struct",
    "pp_formulanet",
    "vision-encoder-decoder",
    "vision-encoder-decoder-bert",
}

TAILS = ([7, 8], [*range(5, 15)], [12, 8, 9], [7, 8], [*range(20, 28)], [*range(5, 19)], [9, 9])
FEW_TAILS = TAILS[:4]


def asked_about(inputs: dict[str, Any], tail: Sequence[int], keep: int) -> dict[str, Any]:
    """The same inputs with other tokens after the first `keep`."""
    ids = inputs["input_ids"]
    made = dict(inputs)
    for name, value in inputs.items():
        along = (
            isinstance(value, Tensor) and value.shape[:2] == ids.shape and name != "pixel_values"
        )
        if along:
            end = value[:, -1:].expand(1, len(tail), *value.shape[2:])
            new = torch.tensor([[*tail]]) if name == "input_ids" else end
            made[name] = torch.cat([value[:, :keep], new.to(value)], 1)
    return made


def with_another_picture(inputs: dict[str, Any]) -> dict[str, Any]:
    """The same shapes and ids, with other pixels."""
    made = dict(inputs)
    for name, value in inputs.items():
        if isinstance(value, Tensor) and value.is_floating_point():
            first = 2 if name == "flattened_patches" else 0  # the row and the column of a patch
            pixels = value[..., first:].flip(-1) * 0.7
            made[name] = torch.cat([value[..., :first], pixels], -1)
    return made


def streamed(lens: Lens, inputs: dict[str, Any], picture_end: int) -> StreamedPass:
    """A pass that has ended."""
    passed = lens.start(inputs, everywhere=True, reuse_from=picture_end)
    assert list(passed)
    assert passed.results[0].proof.passed
    return passed


def off(found: Tensor, expected: Tensor) -> float:
    """The largest difference in any row, as a share of the row's largest logit."""
    gaps = torch.where(found == expected, 0.0, (found - expected).abs()).flatten(1).amax(-1)
    sizes = expected.masked_fill(expected.abs() > 1e30, 0.0).abs().flatten(1).amax(-1)
    return float((gaps / sizes.clamp_min(1.0)).max())


def differs_from_plain(lens: Lens, passed: StreamedPass, inputs: dict[str, Any]) -> float:
    """How far the rows at the last position are from those of a plain pass."""
    kept = passed.keep()
    groups = [*kept.groups, (len(kept.readings) - 1,)]
    rows = torch.cat([kept._logits(group, lambda: False) for group in groups])
    return off(rows, lens.logits(inputs)[:, 0, 0])


def differs_everywhere(lens: Lens, passed: StreamedPass, inputs: dict[str, Any]) -> float:
    """How far the streams and logits at all positions are from those of a plain pass."""
    found, expected = passed.keep_everywhere(), lens.streams(inputs)
    assert isinstance(found, Streams)
    assert found.positions == expected.positions
    rows = zip(found.rows, expected.rows, strict=True)
    gaps = [off(one.stream[None].float(), two.stream[None].float()) for one, two in rows]
    return max(*gaps, off(found.own[None].float(), expected.own[None].float()))


@pytest.fixture(
    params=[
        pytest.param(name, marks=() if name in QUICK else pytest.mark.slow)
        for name in sorted(FAMILIES.keys() - WITHOUT_IDS)
    ]
)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_all_rows_are_those_of_a_plain_pass(name: str) -> None:
    """Two pictures of one shape in turn, questions that grow, shrink and come again."""
    tiny = FAMILIES[name]()
    lens = Lens(tiny.model)
    end = tiny.inputs["input_ids"].shape[1] - 2
    pictures = (tiny.inputs, with_another_picture(tiny.inputs))
    reused: set[tuple[str, bool]] = set()
    for tail in FEW_TAILS if name in FEW else TAILS:
        for picture in pictures:
            inputs = asked_about(picture, tail, end)
            passed = streamed(lens, inputs, end)
            made = passed.results[0].made
            reused.add((made.vision, made.prefix > 0))
            assert made.prefix == 0 or end <= made.prefix < inputs["input_ids"].shape[1]
            assert differs_from_plain(lens, passed, inputs) <= NEAR
    if made.prefix:
        assert differs_everywhere(lens, passed, inputs) <= NEAR
    (kind,) = lens.reuse._kinds
    if name in NOT_CONTINUED:
        # Where the beginning changes with what follows, that may show in the rows alone.
        reasons = {NOT_CONTINUED[name], *([DIFFER] if NOT_CONTINUED[name] == AHEAD else [])}
        assert str(lens.reuse.refusal(kind, "prefix")).startswith(tuple(reasons))
        assert str(made.reason).startswith(tuple(reasons))
        assert made.prefix == 0
        assert (("reused", False) in reused) == (name not in COMPUTED)
    else:
        assert lens.reuse.is_proved(kind, "prefix")
        has_others = any(key not in ("input_ids", "attention_mask") for key in tiny.inputs)
        assert (made.vision == "reused") or not has_others or "mm_token_type_ids" in tiny.inputs
        assert made.reason is None
        assert any(prefix for _, prefix in reused)
    assert hooks_of(tiny.model) == 0


# The bundled model, asked as in the explorer


@dataclass
class Explorer:
    """Asks the bundled model, with and without reuse."""

    loaded: LoadedModel

    def __call__(self, prompt: str, picture: Path | None, **others: Any) -> AskedRun:
        shown = None if picture is None else Picture(str(picture))
        asking = Asking(self.loaded, Question(prompt, picture=shown, **others), reuse=True)
        return AskedRun(asking, asking.run())

    def plainly(self, run: Run) -> Run:
        """The run of the same question without reuse."""
        question = run.question
        return Asking(self.loaded, Question(
            question.prompt, picture=question.picture, system=question.system,
            prefix=question.prefix, counterfactual=question.counterfactual,
        )).run()  # fmt: skip

    def check(self, run: Run) -> Run:
        """The run, which must be what a plain one is."""
        plain = self.plainly(run)
        assert run.status == plain.status == "done"
        for row, other in zip(run.rows, plain.rows, strict=True):
            assert row.rms == pytest.approx(other.rms, rel=1e-4)
            assert row.kl_to_last == pytest.approx(other.kl_to_last, abs=1e-4)
            shares = {token.id: token.probability for token in other.top}
            for token in row.top[:3]:
                assert token.probability == pytest.approx(shares.get(token.id, 0.0), abs=1e-5)
        return run


@pytest.fixture
def ask(bundled: LoadedModel) -> Explorer:
    bundled.lens.reuse.drop()
    bundled.lens.reuse._kinds.clear()
    return Explorer(bundled)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two pictures of one shape."""
    folder, made = tmp_path_factory.mktemp("pictures"), []
    for colour in ("red", "green"):
        made.append(folder / f"{colour}.png")
        Image.new("RGB", (64, 64), colour).save(made[-1])
    return made


def proved(ask: Explorer, *pictures: Path | None) -> None:
    """Ask about each picture until its kind of inputs is proved and its beginning is kept."""
    for picture in pictures:
        for prompt in ("Color, in one word, of what is here:", "Size, in one word, of it:"):
            ask(prompt, picture)


def test_runs_say_how_they_were_made(ask: Explorer, pictures: list[Path]) -> None:
    first = ask("Color of the main object:", pictures[0]).run
    assert (first.made.vision, first.made.prefix, first.made.reason) == ("computed", 0, None)
    second = ask("Shape of the main object:", pictures[0]).run
    assert (second.made.vision, second.made.prefix) == ("computed", 0)
    assert second.made.reason == reuse.PROVING
    third = ask.check(ask("Shape of the main thing:", pictures[0]).run)
    images = max(i for i, token in enumerate(third.tokens) if token.kind == "image")
    assert third.made.vision == "reused"
    assert images < third.made.prefix < len(third.tokens)
    assert third.made.reason is None
    plain = ask.plainly(third)
    assert (plain.made.vision, plain.made.prefix) == ("computed", 0)


def test_a_beginning_never_serves_another_picture(ask: Explorer, pictures: list[Path]) -> None:
    """Pictures of one shape in turn, a prompt without a picture and a deleted one between."""
    proved(ask, *pictures, None)
    prefixes = []
    for picture in (*pictures, None, pictures[0]):
        run = ask.check(ask("Color of the object:", picture).run)
        prefixes.append(run.made.prefix)
    deleted = ask("Color:", pictures[0], counterfactual=Counterfactual("none", {}, 0)).run
    ask.check(deleted)
    prefixes.append(ask.check(ask("Color of it:", pictures[0]).run).made.prefix)
    assert all(prefixes)


@pytest.mark.slow
@pytest.mark.parametrize(
    "change",
    [
        {"system": "Be brief."},
        {"prompt": "Colour, in a word, of what is there:"},
        {"prompt": "?"},
        {"prefix": "It is"},
    ],
    ids=["start", "middle", "all", "end"],
)
def test_an_edit_anywhere_gives_what_a_cold_run_gives(
    change: dict[str, Any], ask: Explorer, pictures: list[Path]
) -> None:
    proved(ask, pictures[0])
    question = {"prompt": "Color, in a word, of what is there:", **change}
    run = ask.check(ask(question.pop("prompt"), pictures[0], **question).run)
    if "system" in change:
        assert run.made.prefix == 0
        assert run.made.reason
        again = ask(run.question.prompt, pictures[0], system="Be brief!").run
        assert again.made.vision == "reused"
        ask.check(again)
    else:
        assert run.made.prefix > 0


def alike(cell: object, expected: object) -> None:
    """Hold one cell of a table to another: up to rounding where they are numbers."""
    if isinstance(cell, Candidate) and isinstance(expected, Candidate):
        assert cell.token == expected.token
        cell, expected = cell.probability, expected.probability
    if isinstance(cell, Place) and isinstance(expected, Place):
        assert cell.rank == expected.rank
        cell, expected = cell.probability, expected.probability
    if isinstance(cell, float) and isinstance(expected, float):
        assert cell == pytest.approx(expected, abs=2e-4, rel=2e-3)
    else:
        assert cell == expected


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name == "grid" else pytest.mark.slow)
        for name in method_names()
    ],
)
def test_methods_read_the_same_from_it(name: str, ask: Explorer) -> None:
    proved(ask, samples.DEFAULT_PICTURE)
    reused = ask("Shape of the main object:", samples.DEFAULT_PICTURE)
    assert reused.run.made.prefix > 0
    asking = Asking(ask.loaded, Question(
        "Shape of the main object:", picture=Picture(str(samples.DEFAULT_PICTURE))
    ))  # fmt: skip
    plain = AskedRun(asking, asking.run())
    method = method_of(name)
    request = request_of(method, SETTINGS.get(name, {}))
    readings = [each.read(method, request) for each in (reused, plain)]
    assert all(each.proof is None or each.proof.passed for each in readings)
    one, two = ([table.rows for table in tables_of(each)] for each in readings)
    assert len(one) == len(two)
    for lines, others in zip(one, two, strict=True):
        assert len(lines) == len(others)
        for line, other in zip(lines, others, strict=True):
            for cell, expected in zip(line, other, strict=True):
                alike(cell, expected)


# Cancelling, failing, and memory


def leave(tiny: Tiny, lens: Lens) -> tuple[dict[str, Any], int]:
    """Ask until there is a beginning to go on from; another question, and its picture's end."""
    end = tiny.inputs["input_ids"].shape[1] - 2
    for tail in ([7, 8, 9], [9, 8, 7]):
        streamed(lens, asked_about(tiny.inputs, tail, end), end)
    return asked_about(tiny.inputs, [5, 6, 7, 8], end), end


def test_a_pass_that_is_cancelled_leaves_everything_as_it_was() -> None:
    tiny = FAMILIES["qwen2_vl"]()
    lens = Lens(tiny.model)
    inputs, end = leave(tiny, lens)
    streamed(lens, {name: inputs[name] for name in ("input_ids", "attention_mask")} | {
        "input_ids": torch.arange(5, 15)[None], "attention_mask": torch.ones(1, 10).long()
    }, 0)  # fmt: skip
    before = tiny.model.model.rope_deltas
    kept = dict(lens.reuse._entries)
    passed = lens.start(inputs, everywhere=True, reuse_from=end)
    with pytest.raises(Cancelled):
        for _ in passed:
            passed.cancel()
    passed.close()
    assert tiny.model.model.rope_deltas is before
    assert dict(lens.reuse._entries) == kept
    again = streamed(lens, inputs, end)
    assert again.results[0].made.prefix > 0
    assert tiny.model.model.rope_deltas is before
    assert differs_from_plain(lens, again, inputs) <= NEAR


def test_a_pass_that_runs_out_of_memory_runs_again_without_what_was_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tiny = FAMILIES["llava"]()
    lens = Lens(tiny.model)
    layer, full = lens.learn(tiny.inputs).layers[2], [False]
    own = layer.forward

    def forward(*args: Any, **kwargs: Any) -> Any:
        if full[0] and len(lens.reuse):
            raise torch.OutOfMemoryError("CUDA out of memory")
        return own(*args, **kwargs)

    monkeypatch.setattr(layer, "forward", forward)
    inputs, end = leave(tiny, lens)
    full[0] = True
    passed = lens.start(inputs, everywhere=True, reuse_from=end)
    rows = [row.layer for (group,) in passed for row in group]
    assert rows == list(range(len(lens.layers) + 1))
    made = passed.results[0].made
    assert (made.vision, made.prefix, made.reason) == ("computed", 0, reuse.MEMORY)
    assert len(lens.reuse) == 0
    assert differs_from_plain(lens, passed, inputs) <= NEAR
    assert differs_everywhere(lens, passed, inputs) <= NEAR
    full[0] = False
    assert streamed(lens, inputs, end).results[0].made.prefix == 0
    assert streamed(lens, asked_about(inputs, [9, 9, 9], end), end).results[0].made.prefix > 0


def spoil(lens: Lens) -> None:
    """Change the keys that are kept."""
    for entry in lens.reuse._entries.values():
        assert entry.beginning is not None
        for layer in entry.beginning.cache.layers:
            layer.keys = layer.keys.flip(-2)


def test_a_beginning_that_has_become_another_is_found_and_not_used_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reuse, "PROVED_AGAIN", 2)
    tiny = FAMILIES["llava"]()
    lens = Lens(tiny.model)
    inputs, end = leave(tiny, lens)
    assert streamed(lens, inputs, end).results[0].made.prefix > 0
    spoil(lens)
    passed = lens.start(inputs, everywhere=True, reuse_from=end)
    assert list(passed)
    (result,) = passed.results
    assert not result.proof.passed
    assert str(result.made.reason).startswith(DIFFER)
    after = streamed(lens, inputs, end)
    assert after.results[0].made.prefix == 0
    assert str(after.results[0].made.reason).startswith(DIFFER)
    assert differs_from_plain(lens, after, inputs) <= NEAR


@pytest.mark.slow
def test_a_proof_now_and_then_lets_a_good_beginning_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reuse, "PROVED_AGAIN", 2)
    tiny = FAMILIES["llava"]()
    lens = Lens(tiny.model)
    plain: list[int] = []
    embedding = tiny.model.get_input_embeddings()
    hook = embedding.register_forward_hook(lambda module, args, out: plain.append(args[0].shape[1]))
    inputs, end = leave(tiny, lens)
    plain.clear()
    for _ in range(4):
        assert streamed(lens, inputs, end).results[0].made.prefix > 0
    hook.remove()
    whole = inputs["input_ids"].shape[1]
    assert [length == whole for length in plain] == [False, False, True, False, False, True]


def test_what_fails_while_it_is_proved_is_not_reused(monkeypatch: pytest.MonkeyPatch) -> None:
    tiny = FAMILIES["llama"]()
    lens = Lens(tiny.model)
    own = tiny.model.forward

    def forward(*args: Any, **kwargs: Any) -> Any:
        if kwargs.get("past_key_values") is not None:
            raise ValueError("no cache, please")
        return own(*args, **kwargs)

    monkeypatch.setattr(tiny.model, "forward", forward)
    inputs, end = leave(tiny, lens)
    made = streamed(lens, inputs, end).results[0].made
    assert made.prefix == 0
    assert made.reason is not None
    assert "no cache, please" in made.reason


def test_masked_tokens_are_not_gone_on_from() -> None:
    tiny = FAMILIES["llama"]()
    lens = Lens(tiny.model)
    inputs, _ = leave(tiny, lens)
    inputs["attention_mask"][0, 0] = 0
    passed = streamed(lens, inputs, 0)
    assert passed.results[0].made.reason == reuse_kinds.PADDED
    assert differs_from_plain(lens, passed, inputs) <= NEAR


@contextmanager
def scaled(layer: nn.Module) -> Iterator[None]:
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.mul_(1.3)
    yield


@contextmanager
def replaced(layer: nn.Module) -> Iterator[None]:
    for parameter in layer.parameters():
        parameter.data = parameter.data * 1.3
    yield


@contextmanager
def steered(layer: nn.Module) -> Iterator[None]:
    def add(module: nn.Module, args: Any, output: Any) -> Any:
        return (output[0] + 1.0, *output[1:]) if isinstance(output, tuple) else output + 1.0

    with layer.register_forward_hook(add):
        yield


@contextmanager
def patched(layer: Any) -> Iterator[None]:
    own = layer.mlp.forward
    layer.mlp.forward = lambda *args: own(*args) * 2.0
    yield
    layer.mlp.forward = own


@pytest.mark.parametrize(
    "changed",
    [
        scaled,
        steered,
        *(pytest.param(each, marks=pytest.mark.slow) for each in (replaced, patched)),
    ],
)
def test_nothing_is_used_of_a_model_that_has_been_changed(
    changed: Callable[[nn.Module], AbstractContextManager[None]],
) -> None:
    tiny = FAMILIES["llama"]()
    lens = Lens(tiny.model)
    inputs, end = leave(tiny, lens)
    assert streamed(lens, inputs, end).results[0].made.prefix > 0
    with changed(lens.layers[0]):
        passed = streamed(lens, asked_about(inputs, [5, 6, 9], end), end)
        assert passed.results[0].made.prefix == 0
        assert differs_from_plain(lens, passed, asked_about(inputs, [5, 6, 9], end)) <= NEAR
        # It is proved again, and reused again.
        streamed(lens, inputs, end)
        again = streamed(lens, inputs, end)
        assert again.results[0].made.prefix > 0
        assert differs_from_plain(lens, again, inputs) <= NEAR


def test_what_a_changed_model_is_found_with_during_a_pass_is_not_kept() -> None:
    tiny = FAMILIES["llama"]()
    lens = Lens(tiny.model)
    lens.learn(tiny.inputs)
    passed = lens.start(tiny.inputs, everywhere=True, reuse_from=0)
    with steered(lens.layers[0]):
        assert list(passed)
    assert len(lens.reuse) == 0


@pytest.mark.parametrize(
    "learned",
    [
        pytest.param(False, id="fresh", marks=pytest.mark.slow),
        pytest.param(True, id="learned with a picture"),
    ],
)
@pytest.mark.parametrize(
    "name",
    [
        "qwen2_vl",
        *(
            pytest.param(each, marks=pytest.mark.slow)
            for each in ("qwen2_5_vl", "glm4v", "qwen3_vl")
        ),
    ],
)
def test_a_text_does_not_count_its_positions_as_a_picture_does(name: str, learned: bool) -> None:
    tiny = FAMILIES[name]()
    lens = Lens(tiny.model)
    if learned:
        lens.learn(tiny.inputs)
    ids = torch.arange(5, 15)[None]
    text = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    questions = [asked_about(text, [tail, 6, 7], 7) for tail in (5, 8, 9, 11)]
    for inputs in questions[:3]:
        passed = streamed(lens, inputs, 0)
    assert passed.results[0].made.prefix == 7
    streamed(lens, tiny.inputs, tiny.inputs["input_ids"].shape[1] - 2)
    again = streamed(lens, questions[3], 0)
    assert again.results[0].made.prefix == 7
    assert differs_from_plain(lens, again, questions[3]) <= NEAR


def test_inputs_are_told_apart_by_all_values_that_they_hold() -> None:
    ids = torch.arange(8)[None]
    pixels = torch.zeros(3, 64, 64)
    other = pixels.clone()
    other[1, 30, 30] = 1e-6

    def asked(value: Any) -> reuse.Asked:
        inputs = {"input_ids": ids, "pixel_values": value}
        return reuse.Asked.of(inputs, frozenset(inputs), 0)

    for wrap in (lambda x: x, lambda x: [x], lambda x: {"a": (x, 1)}, lambda x: [x.numpy()]):
        one, same, two = asked(wrap(pixels)), asked(wrap(pixels.clone())), asked(wrap(other))
        assert one.key == same.key != two.key
        assert one.has_others
        assert one.refusal is None
    assert asked([pixels, other]).key != asked([other, pixels]).key
    assert asked([[pixels], pixels]).key != asked([[pixels, pixels]]).key
    assert not asked([1, "a", None]).has_others
    assert str(asked([object()]).refusal).startswith(reuse_kinds.UNKNOWN)


def test_a_window_that_is_first_filled_is_proved_anew() -> None:
    kind = reuse_kinds.Kind(
        windows=frozenset(reuse_kinds.windows_in({"a": [{"sliding_window": 12}]}))
    )
    kind.proved.add("prefix")
    kind.proved_with(10, 5)
    assert kind.covers("prefix", 12, 5)
    assert not kind.covers("prefix", 13, 5)
    kind.proved_with(13, 5)
    assert kind.covers("prefix", 20, 5)


@pytest.mark.slow
def test_what_was_used_longest_ago_goes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    tiny = FAMILIES["llava"]()
    lens = Lens(tiny.model)
    end = tiny.inputs["input_ids"].shape[1] - 2

    def ask_about(picture: int) -> None:
        inputs = {**tiny.inputs, "pixel_values": tiny.inputs["pixel_values"] + 0.1 * picture}
        streamed(lens, inputs, end)

    for picture in range(8):
        ask_about(picture)
    assert len(lens.reuse) == 8
    first, second, *_ = lens.reuse._entries
    ask_about(0)
    ask_about(8)
    assert len(lens.reuse) == 8
    assert first in lens.reuse._entries
    assert second not in lens.reuse._entries
    size = lens.reuse.nbytes // 8
    assert size > 10_000
    room = 4 * 3 * size - 8 * size
    monkeypatch.setattr(reuse, "free_memory", lambda device: room + size // 2)
    ask_about(9)
    assert len(lens.reuse) == 3
    monkeypatch.setattr(reuse, "free_memory", lambda device: 0)
    ask_about(10)
    assert len(lens.reuse) == 1
    assert lens.reuse.drop()
    assert lens.reuse.nbytes == 0
    assert not lens.reuse.drop()


@pytest.mark.slow
def test_the_worker_goes_on_from_earlier_questions(worker: Worker, ears: Ears) -> None:
    worker.load(LoadOptions(str(samples.MODEL)))
    ears.wait_for(ModelReady)
    picture = Picture(str(samples.DEFAULT_PICTURE))
    runs = []
    for prompt in ("Color:", "Shape:", "Size:"):
        worker.ask(Question(prompt, picture=picture))
        runs.append(ears.wait_for(RunEnded).run)
    assert [run.made.prefix > 0 for run in runs] == [False, False, True]
    loaded = worker._loaded
    assert loaded is not None
    assert len(loaded.lens.reuse) == 1
    # The rows of a cancelled question stay as they are, and the next one goes on.
    ears.react = lambda event: worker.cancel() if isinstance(event, RowsRead) else None
    worker.ask(Question("Material:", picture=picture))
    assert ears.wait_for(RunEnded).run.status in ("cancelled", "done")
    ears.react = lambda event: None
    worker.ask(Question("Material?", picture=picture))
    assert ears.wait_for(RunEnded).run.made.prefix > 0


def test_a_reading_without_memory_starts_anew_once(
    worker: Worker, ears: Ears, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker.load(LoadOptions(str(samples.MODEL)))
    ears.wait_for(ModelReady)
    loaded = worker._loaded
    assert loaded is not None
    lens, always, tried = loaded.lens, [False], []
    own = visit.Visit.read

    def read(self: Any, *args: Any) -> Any:
        tried.append(len(lens.reuse))
        if always[0] or len(lens.reuse):
            raise torch.OutOfMemoryError("CUDA out of memory")
        yield from own(self, *args)

    monkeypatch.setattr(visit.Visit, "read", read)
    worker.ask(Question("Color:", picture=Picture(str(samples.DEFAULT_PICTURE))))
    run = ears.wait_for(RunEnded).run
    request = request_of(method_of("visit"), SETTINGS["visit"])
    worker.read(run.id, request)
    assert isinstance(ears.wait_for(ReadingMade).reading, visit.VisitReading)
    assert tried == [1, 0]
    always[0] = True
    worker.ask(Question("Shape:", picture=Picture(str(samples.DEFAULT_PICTURE))))
    worker.read(ears.wait_for(RunEnded).run.id, request)
    assert "memory ran out" in ears.wait_for(Trouble).error
    assert tried == [1, 0, 1, 0]


@pytest.mark.slow
def test_presets_go_on_from_their_last_passes(ask: Explorer) -> None:
    for prompt in ("Color:", "Shape:", "Size:"):
        asked = ask(prompt, samples.DEFAULT_PICTURE)
        asked.ask_against(parse_against("black,white"))
    assert [run.made.prefix > 0 for run in asked.others] == [True, True]
    ask.check(asked.others[0])


@pytest.mark.slow
def test_two_hundred_random_edits_end_at_what_a_cold_run_gives(
    ask: Explorer, pictures: list[Path]
) -> None:
    drawn = random.Random(0)
    text = "Color of the main object:"
    made = []
    for edit in range(200):
        place = drawn.randrange(len(text) + 1)
        if drawn.random() < 0.5 and len(text) > 1:
            text = text[:place] + text[place + 1 + drawn.randrange(4) :] or "?"
        else:
            text = text[:place] + drawn.choice([" the", "s", " red", "?", "x", " "]) + text[place:]
        if not text.strip():
            text = "?"
        run = ask(text, pictures[drawn.random() < 0.1]).run
        made.append(run.made)
        if edit % 20 == 19:
            ask.check(run)
    assert sum(each.prefix > 0 for each in made) > 150


def test_a_family_whose_question_is_no_token_ids_is_left_alone() -> None:
    tiny = FAMILIES["pix2struct"]()
    lens = Lens(tiny.model)
    for _ in range(3):
        made = streamed(lens, tiny.inputs, 0).results[0].made
        assert made.prefix == 0
