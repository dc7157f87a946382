"""What many readings in a row leave behind: no tensors."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from msgspec import structs

from engine.methods.method import Subject, read_whole
from engine.methods.registry import method_of
from engine.methods.requests import request_of
from engine.records import Picture, Question
from tests.conftest import tensors
from tests.engine.test_knockout import subject_of
from tests.engine.test_tracing import with_another_picture
from tests.families.llava import llava


def compared() -> Subject:
    """A run of a tiny model, with a run on another picture."""
    tiny = llava()
    clean = subject_of(tiny)
    corrupt = subject_of(replace(tiny, inputs=with_another_picture(tiny)))
    question = Question("?", picture=Picture(path="photo.png"))
    run = structs.replace(clean.run, question=question)
    return replace(clean, run=run, others={corrupt.run.id: corrupt})


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("tracing", {"rows": (0, 3)}),
        ("tracing", {"what": "mlp", "window": 2, "rows": (1,)}),
        ("neurons", {"ablate": 2}),
        ("parts", {"ablate": 2, "heads": True}),
        ("saliency", {"row": 2, "matrix": True}),
        ("saliency", {"way": "attention"}),
    ],
)
def test_memory_is_flat_over_a_hundred_readings(name: str, settings: dict[str, Any]) -> None:
    subject, method = compared(), method_of(name)
    if name == "saliency":  # where patches are is not asked of a run without a picture
        run = structs.replace(subject.run, question=Question("?"))
        subject = replace(subject, run=run)
    if name == "tracing":
        settings = {"against": next(iter(subject.others)), **settings}
    request = request_of(method, settings)
    counts = []
    for number in range(100):
        reading = read_whole(method, subject, request)
        assert reading.proof is not None and reading.proof.passed
        if number in (9, 99):
            counts.append(tensors())
    assert counts[1] <= counts[0] + 2
