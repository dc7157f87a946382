"""Passes that are cancelled while what comes before the decoder runs, or is gone back through."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from torch import Tensor, nn

import samples
from engine.asking.asking import Asking
from engine.errors import Cancelled
from engine.lens.lens import Lens
from engine.methods.asked_run import AskedRun
from engine.methods.method import read_whole
from engine.methods.registry import method_of
from engine.methods.requests import request_of
from engine.models.loading import LoadedModel
from engine.passes.forward import Forward
from engine.records import Picture, Question
from tests.conftest import hooks_of
from tests.families.llava import llava

QUESTION = Question("Color of the main object:", picture=Picture(path=str(samples.DEFAULT_PICTURE)))
METHODS: dict[str, dict[str, Any]] = {
    "saliency": {},
    "tracing": {"rows": "0", "sites": "last"},
    "attention": {"layers": "0"},
    "knockout": {"from": "first", "to": "last", "window": 10},
    "neurons": {"layer": 0},
    "parts": {},
}


class Stopping:
    """Is asked whether to stop, and does not say so until it is told to."""

    def __init__(self) -> None:
        self._stopping, self._asked = threading.Event(), threading.Event()

    def __call__(self) -> bool:
        if self._stopping.is_set():
            self._asked.set()
        return self._stopping.is_set()

    def now(self) -> None:
        """Say so from now on, and wait until that has been heard."""
        self._stopping.set()
        assert self._asked.wait(60)


@pytest.fixture(scope="module")
def asked(bundled: LoadedModel) -> AskedRun:
    asking = Asking(bundled, QUESTION)
    return AskedRun(asking, asking.run())


@pytest.fixture
def watched(bundled: LoadedModel) -> Any:
    """f(function of a name and an output): calls it after the MLP of every layer, "tower 0" or
    "decoder 0", until the test ends."""
    model: Any = bundled.model
    handles = []

    def watch(function: Callable[[str, Tensor], None]) -> None:
        towers = {"tower": model.model.vision_tower.encoder, "decoder": model.model.language_model}
        for kind, owner in towers.items():
            for index, layer in enumerate(owner.layers):
                name = f"{kind} {index}"

                def after(module: Any, args: Any, output: Tensor, name: str = name) -> None:
                    function(name, output)

                handles.append(layer.mlp.register_forward_hook(after))

    yield watch
    for handle in handles:
        handle.remove()


def read(asked: AskedRun, name: str, stop: Callable[[], bool] = lambda: False) -> None:
    method = method_of(name)
    request = request_of(method, METHODS[name])
    asked.ask_against(asked.needed(method, request))
    read_whole(method, asked.subject, request, stop)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(each, marks=() if each in ("saliency", "tracing") else pytest.mark.slow)
        for each in METHODS
    ],
)
def test_a_reading_ends_within_a_layer_of_the_vision_tower(
    name: str, asked: AskedRun, watched: Any
) -> None:
    read(asked, name)  # what is learned once is known from now on
    stop = Stopping()
    ran: list[str] = []

    def look(name: str, output: Tensor) -> None:
        ran.append(name)
        if len(ran) == 1:
            stop.now()

    watched(look)
    model: Any = asked.subject.loaded.model
    before = hooks_of(model)
    with pytest.raises(Cancelled):
        read(asked, name, stop)
    # It is told a moment after it has been heard.
    assert ran in (["tower 0"], ["tower 0", "tower 1"])
    assert hooks_of(model) == before


def test_going_back_ends_within_a_layer_of_the_vision_tower(asked: AskedRun, watched: Any) -> None:
    stop = Stopping()
    back: list[str] = []

    def look(name: str, output: Tensor) -> None:
        def gone_back(gradient: Tensor) -> None:
            back.append(name)
            if name == "tower 2":
                stop.now()

        if output.requires_grad:
            output.register_hook(gone_back)

    watched(look)
    with pytest.raises(Cancelled):
        read(asked, "saliency", stop)
    *decoder, last = back
    if last != "tower 2":
        last = decoder.pop()
    assert last == "tower 2"
    assert decoder == [f"decoder {index}" for index in reversed(range(10))]
    model: Any = asked.subject.loaded.model
    assert all(each.requires_grad for each in model.parameters())


@pytest.mark.parametrize("by", ["cancelled", "stop"])
def test_a_plain_pass_ends_before_the_next_layer_of_the_tower(by: str) -> None:
    tiny = llava()
    parts = Lens(tiny.model).learn(tiny.inputs)
    layers = tiny.model.model.vision_tower.encoder.layers
    assert {*layers} <= {*parts.outside} and not {*parts.layers} & {*parts.outside}
    ran: list[nn.Module] = []
    forward = Forward(tiny.model, parts, tiny.inputs, [-1], stop=lambda: by == "stop" and bool(ran))

    def entered(module: nn.Module, *_: Any) -> None:
        ran.append(module)
        if by == "cancelled":
            forward.cancelled.set()

    handles = [layer.mlp.register_forward_hook(entered) for layer in layers]
    with pytest.raises(Cancelled):
        forward.run(lambda row, read: None)
    for handle in handles:
        handle.remove()
    assert ran == [layers[0].mlp]
    assert hooks_of(tiny.model) == 0
