"""What sweeps read by depth: the numbers of single runs, averaged over groups."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from msgspec import UNSET

from engine.models.loading import LoadedModel
from engine.pictures.opening import open_picture
from engine.prompts.preparing import prepare
from engine.records import Question
from engine.sweeps.depth.parts import ANSWER, SUM, TRUTH
from engine.sweeps.records import PartShares, SweepItem
from samples.making.clevr import write_clevr
from tests.sweeps.conftest import Swept, sweeper


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two scenes with four questions each; not to be changed."""
    folder = tmp_path_factory.mktemp("data")
    write_clevr(folder, 2)
    return folder


@pytest.fixture(scope="module")
def parts(bundled: LoadedModel, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Swept:
    """Their parts; not to be changed."""
    return sweeper(tmp_path_factory.mktemp("parts"))(bundled, data, reads=("parts",), batch_size=4)


def shares(item: SweepItem) -> PartShares:
    assert item.readings is not UNSET
    (found,) = item.readings
    assert isinstance(found, PartShares)
    return found


def inputs_of(loaded: LoadedModel, item: SweepItem, data: Path) -> dict[str, Any]:
    assert item.picture is not None
    image = open_picture(data / item.picture.path).image
    return prepare(loaded.model, loaded.processor, Question(prompt=item.prompt), image).inputs


def test_parts_are_those_of_single_runs(bundled: LoadedModel, data: Path, parts: Swept) -> None:
    assert (parts.progress.done, parts.progress.failed) == (8, 0)
    for item in parts.items.values():
        found = shares(item)
        assert found.proof is not None and found.proof.passed and found.reason is None
        own = bundled.lens.parts(inputs_of(bundled, item, data))
        answer, truth = found.sets
        assert (answer.of, truth.of) == (ANSWER, TRUTH)
        best, second = own.logits.topk(2).indices.tolist()
        assert [token.id for token in answer.tokens] == [best, second]
        wanted = (own.share(best) - own.share(second)).tolist()
        named = dict(zip(own.names, wanted, strict=True))
        by_name = {curve.name: curve.values for curve in answer.curves}
        assert {*by_name} == {"attention", "MLP"}
        for name, values in by_name.items():
            alone = [named[f"layer {layer}: {name}"] for layer in range(len(values))]
            assert values == pytest.approx(alone, abs=1e-5)
        for name in ("embedding", "bias"):
            assert answer.numbers[name] == pytest.approx(named[name], abs=1e-5)
        difference = float(own.logits[best] - own.logits[second])
        assert answer.numbers[SUM] == pytest.approx(difference, abs=1e-3)
        assert answer.numbers[SUM] == pytest.approx(sum(wanted), abs=1e-4)


def test_the_truth_is_compared_with_the_best_token_that_is_none_of_its_spellings(
    bundled: LoadedModel, data: Path, parts: Swept
) -> None:
    for item in parts.items.values():
        truth = shares(item).sets[1]
        own = bundled.lens.parts(inputs_of(bundled, item, data))
        one, other = (token.id for token in truth.tokens)
        logits = own.logits.tolist()
        assert one in item.spellings and other not in item.spellings
        assert logits[one] == max(logits[token] for token in item.spellings)
        rest = [value for token, value in enumerate(logits) if token not in item.spellings]
        assert logits[other] == max(rest)
        assert truth.numbers[SUM] == pytest.approx(logits[one] - logits[other], abs=1e-3)
        right = item.rows[-1].top[0].id in item.spellings
        assert (truth.numbers[SUM] > 0) is right  # type: ignore[operator]
