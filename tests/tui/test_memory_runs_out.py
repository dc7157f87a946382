"""The explorer with a model, when memory runs out in a backward pass."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import samples
from engine.events import LoadOptions
from tests.tui.stage import WITH_PICTURE, explorer, in_loop
from tui.views.saliency.screen import SaliencyScreen


@pytest.mark.slow
@in_loop
async def test_a_backward_pass_that_runs_out_of_memory_is_a_line_and_the_app_lives() -> None:
    startup = {**WITH_PICTURE, "options": LoadOptions(str(samples.MODEL)), "worker": None}
    own, full = torch.autograd.grad, [0]

    def grad(*args: Any, **kwargs: Any) -> Any:
        if kwargs.get("retain_graph"):  # which patches there are is found by gradients, too
            return own(*args, **kwargs)
        full[0] += 1
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    with pytest.MonkeyPatch.context() as patched:
        async with explorer(startup=startup) as stage:
            await stage.until(lambda: stage.app.state.runs, 120)
            await stage.run_done()
            patched.setattr(torch.autograd, "grad", grad)
            await stage.press("8")
            await stage.shows("memory ran out")
            # What passes had left was freed, and it was tried once more.
            assert full[0] == 2
            (screen,) = (
                each for each in stage.app.screen_stack if isinstance(each, SaliencyScreen)
            )
            assert "proof" not in stage.text
            patched.setattr(torch.autograd, "grad", own)
            await stage.press("r")
            await stage.until(lambda: screen._missing is None, 60)
            await stage.shows("gradient x input, pixels", "proof")
            await stage.press("q")
            await stage.until(lambda: not stage.app.has_dialog)
            assert [each.method for each in stage.app.state.runs[0].run.readings][-1] == "saliency"
