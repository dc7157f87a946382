"""Model folders that ask for too much, or for what is no file of theirs."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from engine.errors import CannotLoad
from engine.events import LoadOptions
from engine.models import folder_bounds
from engine.models.checkpoints import local_checkpoint
from samples import MODEL


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the bundled model by links, as in the cache of the hub."""
    made = tmp_path / "snapshots" / "model"
    made.mkdir(parents=True)
    for file in Path(MODEL).iterdir():
        (made / file.name).symlink_to(file)
    return made


def write(file: Path, content: Any) -> None:
    file.unlink(missing_ok=True)
    file.write_text(json.dumps(content))


def refusal(folder: Path) -> str:
    with pytest.raises(CannotLoad) as refused:
        local_checkpoint(LoadOptions(model=str(folder)))
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_links_to_regular_files_are_good(folder: Path) -> None:
    found = local_checkpoint(LoadOptions(model=str(folder)))
    assert found is not None and found.folder == folder


@pytest.mark.parametrize(
    "name", ["config.json", "tokenizer.json", "chat_template.jinja", "model.safetensors"]
)
def test_pipes_and_devices(folder: Path, name: str) -> None:
    (folder / name).unlink(missing_ok=True)
    os.mkfifo(folder / name)
    assert f"{name} is not a regular file" in refusal(folder)
    (folder / name).unlink()
    (folder / name).symlink_to("/dev/zero")
    assert f"{name} is not a regular file" in refusal(folder)


@pytest.mark.parametrize("shard", ["../model.safetensors", "/etc/passwd", "a/../../b"])
def test_an_index_stays_in_its_folder(folder: Path, shard: str) -> None:
    write(folder / "model.safetensors.index.json", {"weight_map": {"a": shard}})
    assert "outside of the folder" in refusal(folder)


def test_an_index_names_regular_files(folder: Path) -> None:
    os.mkfifo(folder / "part")
    write(folder / "model.safetensors.index.json", {"weight_map": {"a": "part"}})
    assert "part is not a regular file" in refusal(folder)


@pytest.mark.parametrize("index", [{}, [], {"weight_map": []}, {"weight_map": {"a": 3}}])
def test_a_damaged_index_is_told_by_others(folder: Path, index: Any) -> None:
    write(folder / "model.safetensors.index.json", index)
    found = local_checkpoint(LoadOptions(model=str(folder)))
    assert found is not None and found.folder == folder


@pytest.mark.parametrize(
    "path",
    [
        ("num_hidden_layers",),
        ("text_config", "num_hidden_layers"),
        ("vision_config", "depth"),
        ("a", "b", "n_layer"),
        ("encoder_layers",),
    ],
)
@pytest.mark.parametrize("count", [100_000, 10**4000])
def test_more_layers_than_weights(folder: Path, path: tuple[str, ...], count: int) -> None:
    config = json.loads((Path(MODEL) / "config.json").read_text())
    inner = config
    for name in path[:-1]:
        inner = inner.setdefault(name, {})
    inner[path[-1]] = count
    write(folder / "config.json", config)
    assert f"layers ({path[-1]})" in refusal(folder)


def test_many_layers_with_as_many_weights(folder: Path) -> None:
    config = json.loads((Path(MODEL) / "config.json").read_text())
    write(folder / "config.json", {**config, "num_hidden_layers": 3000})
    weights = {f"layer.{each}": "model.safetensors" for each in range(3000)}
    write(folder / "model.safetensors.index.json", {"weight_map": weights})
    found = local_checkpoint(LoadOptions(model=str(folder)))
    assert found is not None and found.folder == folder


def test_files_of_gigabytes(folder: Path) -> None:
    for name, most in folder_bounds._LARGEST.items():
        file = folder / name
        link = file.readlink() if file.is_symlink() else None
        file.unlink(missing_ok=True)
        with file.open("wb") as stream:
            stream.truncate(most + 1)
        assert f"{name} has {most + 1:,} bytes" in refusal(folder)
        file.unlink()
        if link is not None:
            file.symlink_to(link)
