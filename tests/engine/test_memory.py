"""Memory that runs out, and models that lie on several devices, as far as one machine without a
GPU can show them: the error that torch raises on a full GPU, and accelerate's offloading to main
memory and disk, bitsandbytes on the CPU. Not run on real hardware."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import cpu_offload, disk_offload

import samples
from engine import CannotLoad, Lens, load
from engine.asking.asking import Asking
from engine.errors import Remedy
from engine.events import LoadOptions, ModelFailed, ModelReady, RunEnded
from engine.lens import streaming
from engine.records import Picture, Question
from engine.system.memory import is_out_of_memory
from engine.worker import Worker
from tests.engine.conftest import Ears
from tests.families import FAMILIES

Copied = Callable[[str], Path]
FULL = "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 23.64 GiB"


class FullGPU:
    """Lets one kind of layer fail as on a full GPU, while the layer holds a tensor."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from transformers.models.llama.modeling_llama import LlamaMLP

        self.held: list[weakref.ref[torch.Tensor]] = []
        own = LlamaMLP.forward

        def forward(module: Any, hidden: torch.Tensor) -> Any:
            if not self.full:
                return own(module, hidden)
            activations = torch.zeros(1000)
            self.held.append(weakref.ref(activations))
            raise torch.OutOfMemoryError(FULL)

        self.full = False
        monkeypatch.setattr(LlamaMLP, "forward", forward)

    @property
    def given_back(self) -> bool:
        """Whether nothing that the failing layer made is left."""
        return bool(self.held) and all(tensor() is None for tensor in self.held)


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> FullGPU:
    return FullGPU(monkeypatch)


def test_a_pass_that_runs_out_of_memory_gives_it_back_and_the_next_one_works(
    gpu: FullGPU, worker: Worker, ears: Ears, saved: Copied
) -> None:
    worker.load(LoadOptions(str(saved("llama"))))
    ears.wait_for(ModelReady)
    gpu.full = True
    worker.ask(Question(prompt="What?"))
    ended = ears.wait_for(RunEnded)
    run = ended.run
    assert run.status == "failed"
    assert run.error is not None
    assert run.error.startswith("memory ran out")
    assert {Remedy.HALF_PRECISION, Remedy.QUANTIZE} <= set(ended.remedies)
    assert gpu.given_back
    gpu.full = False
    worker.ask(Question(prompt="What?"))
    assert ears.wait_for(RunEnded).run.status == "done"


def test_memory_is_given_back_while_the_thread_of_the_pass_is_still_busy(
    gpu: FullGPU,
    worker: Worker,
    ears: Ears,
    saved: Copied,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """That thread refers to the pass, and has things to do after it: nothing collects what it lets
    go of only then."""
    worker.load(LoadOptions(str(saved("llama"))))
    ears.wait_for(ModelReady)
    gpu.full, told = True, threading.Event()
    monkeypatch.setattr(streaming, "give_ordinary_tensors", lambda model: told.wait(10))
    worker.ask(Question(prompt="What?"))
    assert ears.wait_for(RunEnded).run.status == "failed"
    given_back = gpu.given_back
    told.set()
    assert given_back


def test_a_model_that_does_not_fit_is_let_go_and_the_next_one_loads(
    gpu: FullGPU, worker: Worker, ears: Ears, saved: Copied, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import LlamaForCausalLM

    made: list[weakref.ref[Any]] = []
    own = LlamaForCausalLM.__init__

    def init(model: Any, *args: Any, **settings: Any) -> None:
        own(model, *args, **settings)
        made.append(weakref.ref(model))

    monkeypatch.setattr(LlamaForCausalLM, "__init__", init)
    gpu.full = True
    worker.load(LoadOptions(str(saved("llama"))))
    failed = ears.wait_for(ModelFailed)
    assert "memory ran out" in failed.error and Remedy.DEVICE_MAP in failed.remedies
    assert gpu.given_back
    assert made and all(model() is None for model in made)
    gpu.full = False
    worker.load(LoadOptions(str(saved("llama"))))
    ears.wait_for(ModelReady)


@pytest.mark.parametrize(
    ("error", "ran_out"),
    [
        (torch.OutOfMemoryError(FULL), True),
        (RuntimeError("CUDA error: out of memory"), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to"), True),
        (MemoryError(), True),
        (RuntimeError("size mismatch"), False),
        (ValueError("out of memory of things past"), False),
    ],
    ids=repr,
)
def test_memory_that_ran_out_is_known(error: Exception, ran_out: bool) -> None:
    assert is_out_of_memory(error) is ran_out
    wrapped = CannotLoad("the model cannot be loaded")
    wrapped.__cause__ = error
    assert is_out_of_memory(wrapped) is ran_out


@pytest.mark.parametrize("family", ["llama", "llava", "qwen2_vl", "gemma3n_text"])
@pytest.mark.parametrize("where", ["cpu", "disk"])
def test_offloaded_weights_give_the_same_rows(family: str, where: str, tmp_path: Path) -> None:
    """accelerate brings each module's weights for its own call only; all of them are on "meta"."""
    whole, tiny = FAMILIES[family](), FAMILIES[family]()
    expected = Lens(whole.model).logits(whole.inputs, [0, -1])
    if where == "cpu":
        model = cpu_offload(tiny.model, execution_device=torch.device("cpu"))
    else:
        model = disk_offload(tiny.model, str(tmp_path), execution_device=torch.device("cpu"))
    assert any(parameter.device.type == "meta" for parameter in model.parameters())
    lens = Lens(model)
    assert torch.equal(lens.logits(tiny.inputs, [0, -1]), expected)
    readings = list(lens.stream(tiny.inputs))
    assert [reading.layer for reading in readings] == list(range(tiny.layers + 1))
    assert readings[-1].top[0].id == int(expected[-1, 0, -1].argmax())


@pytest.mark.parametrize(
    ("device_map", "device"),
    [
        ("auto", "cpu"),
        ({"": "disk"}, "disk"),
        (
            {
                "model.vision_tower": "disk",
                "model.multi_modal_projector": "cpu",
                "model.language_model.embed_tokens": "cpu",
                "model.language_model.rotary_emb": "cpu",
                "model.language_model.layers": "disk",
                "model.language_model.norm": "cpu",
                "lm_head": "cpu",
            },
            "cpu, disk",
        ),
    ],
    ids=["auto", "disk", "both"],
)
def test_a_device_map_loads_and_answers_the_same(
    device_map: str | dict[str, str | int],
    device: str,
    bundled: Any,
    capfd: pytest.CaptureFixture[str],
) -> None:
    question = Question(prompt="Shape:", picture=Picture(path=str(samples.DEFAULT_PICTURE)))
    loaded = load(samples.MODEL, device_map=device_map)
    assert loaded.card.device == device
    run = Asking(loaded, question).run()
    assert run.status == "done"
    expected = Asking(bundled, question).run()
    assert [row.top[0].id for row in run.rows] == [row.top[0].id for row in expected.rows]
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("bits", ["8bit", "4bit"])
def test_a_quantised_model_is_proved_and_sees(bits: str, bundled: Any) -> None:
    """bitsandbytes' kernels for CPUs; the ones for GPUs are not run here."""
    question = Question(prompt="Shape:", picture=Picture(path=str(samples.DEFAULT_PICTURE)))
    loaded = load(samples.MODEL, device="cpu", quantize=bits)
    layer = loaded.lens.layers[0].mlp.up_proj  # type: ignore[union-attr]
    assert type(layer).__module__.startswith("bitsandbytes")
    run = Asking(loaded, question).run()
    assert run.status == "done" and run.proof is not None and run.proof.passed
    assert run.rows[-1].top[0].id == Asking(bundled, question).run().rows[-1].top[0].id
