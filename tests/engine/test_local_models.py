"""Which models are on this machine, from caches made as the hub's client makes them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import samples
from engine.models.local_models import LARGEST_CONFIG, folder_model, local_models

CONFIG = {"architectures": ["LlavaForConditionalGeneration"], "model_type": "llava"}
COMMIT = "0123456789abcdef0123456789abcdef01234567"


def cached(
    cache: Path,
    name: str,
    files: dict[str, Any],
    commit: str = COMMIT,
    ref: str | None = "main",
    used: float = 1_700_000_000.0,
    kind: str = "models",
) -> Path:
    """A repository in the cache: blobs, refs, and a snapshot of links. Its snapshot."""
    folder = cache / f"{kind}--{name.replace('/', '--')}"
    snapshot = folder / "snapshots" / commit
    for each in (folder / "blobs", folder / "refs", snapshot):
        each.mkdir(parents=True, exist_ok=True)
    if ref is not None:
        (folder / "refs" / ref).write_text(commit, encoding="utf-8")
    for path, content in files.items():
        blob = folder / "blobs" / f"{commit[:6]}-{path}"
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        blob.write_bytes(data)
        os.utime(blob, (used, used))
        (snapshot / path).symlink_to(Path("..", "..", "blobs", blob.name))
    return snapshot


def test_what_is_told_of_a_model(tmp_path: Path) -> None:
    weights = b"w" * 1000
    snapshot = cached(tmp_path, "org/one", {"config.json": CONFIG, "model.safetensors": weights})
    (model,) = local_models(str(tmp_path))
    assert model.name == "org/one"
    assert Path(model.folder) == snapshot.resolve()
    assert model.bytes == 1000 + len(json.dumps(CONFIG))
    assert model.last_used == "2023-11-14T22:13:20Z"
    assert model.complete
    assert model.architecture == "LlavaForConditionalGeneration"


def test_the_last_used_is_first_and_other_repositories_are_none(tmp_path: Path) -> None:
    files = {"config.json": CONFIG, "model.safetensors": b"w"}
    for name, used in (("org/old", 1e9), ("org/new", 1.7e9), ("gpt2", 1.5e9)):
        cached(tmp_path, name, files, used=used)
    cached(tmp_path, "org/data", files, kind="datasets")
    assert [model.name for model in local_models(str(tmp_path))] == ["org/new", "gpt2", "org/old"]


def test_the_revision_that_main_means(tmp_path: Path) -> None:
    files = {"config.json": CONFIG, "model.safetensors": b"w"}
    main = cached(tmp_path, "org/one", files)
    cached(tmp_path, "org/one", files, commit="f" * 40, ref="other", used=1.8e9)
    assert [Path(model.folder).name for model in local_models(str(tmp_path))] == [main.name]


@pytest.mark.parametrize(
    ("files", "complete"),
    [
        ({"model.safetensors": b"w"}, False),
        ({"config.json": CONFIG}, False),
        ({"config.json": CONFIG, "pytorch_model.bin": b"w"}, False),
        ({"config.json": b"{", "model.safetensors": b"w"}, False),
        (
            {
                "config.json": CONFIG,
                "model.safetensors.index.json": {"weight_map": {"a": "1.st", "b": "2.st"}},
                "1.st": b"w",
                "2.st": b"w",
            },
            True,
        ),
        (
            {
                "config.json": CONFIG,
                "model.safetensors.index.json": {"weight_map": {"a": "1.st", "b": "2.st"}},
                "1.st": b"w",
            },
            False,
        ),
        ({"config.json": CONFIG, "model.safetensors.index.json": {"weight_map": {}}}, False),
        ({"config.json": CONFIG, "model.safetensors.index.json": [1]}, False),
        ({"config.json": CONFIG, "model.safetensors.index.json": {"weight_map": {"a": 1}}}, False),
        (
            {"config.json": CONFIG, "model.safetensors.index.json": {"weight_map": {"a": "\0"}}},
            False,
        ),
    ],
)
def test_whether_it_is_complete(tmp_path: Path, files: dict[str, Any], complete: bool) -> None:
    cached(tmp_path, "org/one", files)
    (model,) = local_models(str(tmp_path))
    assert model.complete is complete


@pytest.mark.parametrize(
    ("config", "architecture"),
    [
        ({"model_type": "llava"}, "llava"),
        ({"architectures": [], "model_type": "llava"}, "llava"),
        ({"architectures": [3, "Two"]}, "Two"),
        ({"architectures": "One"}, None),
        ({"architectures": None, "model_type": {}}, None),
        ([], None),
        (b"[" * 100_000, None),
        (b"\xff\xfe", None),
        (b'{"model_type": "' + b"x" * LARGEST_CONFIG + b'"}', None),
    ],
)
def test_whatever_its_config_says(
    tmp_path: Path, config: dict[str, Any] | bytes, architecture: str | None
) -> None:
    cached(tmp_path, "org/one", {"config.json": config, "model.safetensors": b"w"})
    (model,) = local_models(str(tmp_path))
    assert model.architecture == architecture


def test_a_blob_that_is_gone(tmp_path: Path) -> None:
    snapshot = cached(tmp_path, "org/one", {"config.json": CONFIG, "model.safetensors": b"w"})
    (snapshot / "model.safetensors").resolve().unlink()
    assert not any(model.complete for model in local_models(str(tmp_path)))


def test_no_cache_or_a_damaged_one(tmp_path: Path) -> None:
    assert local_models(str(tmp_path / "missing")) == ()
    assert local_models(str(tmp_path)) == ()
    (tmp_path / "models--org--empty").mkdir()
    (tmp_path / "models--").mkdir()
    (tmp_path / "noise").write_text("?", encoding="utf-8")
    assert local_models(str(tmp_path)) == ()
    assert local_models(str(tmp_path / "noise")) == ()
    cached(tmp_path, "org/one", {"config.json": CONFIG})
    assert [model.name for model in local_models(str(tmp_path))] == ["org/one"]


def test_the_cache_that_the_environment_names(
    tmp_path: Path,
) -> None:
    cached(tmp_path, "org/one", {"config.json": CONFIG, "model.safetensors": b"w"})
    code = (
        "import sys\n"
        "from engine.models.local_models import local_models\n"
        "print([model.name for model in local_models()])\n"
        "print(sorted({'torch', 'transformers'} & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "HF_HUB_CACHE": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines() == ["['org/one']", "[]"]


def test_a_folder(tmp_path: Path) -> None:
    model = folder_model(samples.MODEL)
    assert model is not None
    assert model.complete
    assert model.architecture == "LlavaForConditionalGeneration"
    assert model.bytes == sum(
        each.stat().st_size for each in Path(samples.MODEL).iterdir() if each.is_file()
    )
    assert folder_model(tmp_path) is None
    assert folder_model(tmp_path / "missing") is None
    assert folder_model("\0") is None
    assert folder_model("~nobody-of-that-name/model") is None
    (tmp_path / "config.json").write_text("{}", encoding="utf-8")
    empty = folder_model(str(tmp_path))
    assert empty is not None
    assert (empty.complete, empty.architecture, empty.bytes) == (False, None, 2)
