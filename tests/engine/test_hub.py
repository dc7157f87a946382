"""Models from the hub, seen from a hub on this machine: found, missing, gated, slow, cut off, and
with no connection at all. The real hub is out of reach of these tests."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from engine import load
from engine.errors import CannotLoad, CannotRead, LenscopeError, Remedy
from tests.hub_server import COMMIT, Hub, serving

Copied = Callable[[str], Path]
MODEL = "someone/tiny-llama"


@pytest.fixture
def hub(copied: Copied, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub that holds a copy of the tiny Llama."""
    with serving(Hub({MODEL: copied("llama")})) as served:
        point_at(served, monkeypatch)
        yield served


def point_at(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    """What HF_ENDPOINT does before huggingface_hub is imported."""
    from huggingface_hub import constants

    template = hub.url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "ENDPOINT", hub.url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 4096)  # of 10 MB: these models are small


@pytest.fixture
def cache(tmp_path: Path) -> str:
    """An empty cache."""
    return str(tmp_path / "cache")


def refused(cache: str, name: str = MODEL, **options: Any) -> LenscopeError:
    """How a model from the hub is refused: in one line."""
    with pytest.raises((CannotLoad, CannotRead)) as caught:
        load(name, cache_dir=cache, **options)
    line = str(caught.value)
    assert "\n" not in line
    assert line.startswith(f"{name}: ")
    return caught.value


def refusal(cache: str, name: str = MODEL, **options: Any) -> str:
    return str(refused(cache, name, **options))


def forbid_sockets(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Every attempt to connect or to look up a name fails and is written down."""
    attempts: list[Any] = []

    def refuse(*address: Any, **_: Any) -> Any:
        attempts.append(address)
        raise AssertionError("a connection was attempted")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket.socket, "connect_ex", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    return attempts


def go_offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """What HF_HUB_OFFLINE=1 does before huggingface_hub is imported."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


def test_a_model_is_downloaded_and_proved_and_remembers_its_commit(hub: Hub, cache: str) -> None:
    (hub.folders[MODEL] / "README.md").write_text("not needed")
    (hub.folders[MODEL] / "consolidated.safetensors").write_bytes(b"the same weights once more")
    loaded = load(MODEL, cache_dir=cache)
    assert (loaded.card.name, loaded.card.revision) == (MODEL, COMMIT)
    assert loaded.lens.model_parts.proof.passed
    fetched = [asked for asked in hub.asked if asked.startswith("GET /someone")]
    assert not any("README" in asked or "consolidated" in asked for asked in fetched)


def test_a_second_time_no_file_is_fetched(hub: Hub, cache: str) -> None:
    load(MODEL, cache_dir=cache)
    hub.asked.clear()
    load(MODEL, cache_dir=cache)
    assert not any(asked.startswith("GET /someone") for asked in hub.asked)


def test_sharded_weights_and_a_revision(hub: Hub, cache: str, opened: Any) -> None:
    folder = hub.folders[MODEL]
    (folder / "model.safetensors").unlink()
    opened("llama").model.save_pretrained(folder, max_shard_size="20KB")
    assert len(load(MODEL, cache_dir=cache, revision=COMMIT).lens.layers) == 4
    assert Remedy.OTHER_REVISION in refused(cache, revision="no-such-branch").remedies


def test_a_cached_model_opens_offline_without_a_connection(
    hub: Hub, cache: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    load(MODEL, cache_dir=cache)
    go_offline(monkeypatch)
    attempts = forbid_sockets(monkeypatch)
    assert load(MODEL, cache_dir=cache).card.revision == COMMIT
    assert not attempts


@pytest.mark.parametrize("name", ["llama", "llava", "qwen2_vl"])
def test_a_folder_opens_without_a_connection(
    saved: Copied, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    attempts = forbid_sockets(monkeypatch)
    load(saved(name))
    assert not attempts


def test_offline_and_not_in_the_cache(cache: str, monkeypatch: pytest.MonkeyPatch) -> None:
    go_offline(monkeypatch)
    attempts = forbid_sockets(monkeypatch)
    assert "not in the cache" in refusal(cache)
    assert not attempts


def test_a_hub_that_has_gone_away_leaves_the_cache(
    copied: Copied, cache: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(Hub({MODEL: copied("llama")})) as hub:
        point_at(hub, monkeypatch)
        load(MODEL, cache_dir=cache)
    assert load(MODEL, cache_dir=cache).card.revision == COMMIT
    assert "cannot be reached" in refusal(cache, "someone/else")


def test_a_missing_model(hub: Hub, cache: str) -> None:
    line = refusal(cache, "someone/no-such-model")
    assert "not found on the hub" in line
    assert "hf auth login" in line


def test_a_gated_model(hub: Hub, cache: str) -> None:
    hub.gated.add(MODEL)
    line = refusal(cache)
    assert "accept its terms" in line
    assert "hf auth login" in line


def test_pickled_weights_on_the_hub_are_fetched_only_when_trusted(hub: Hub, cache: str) -> None:
    import torch
    from safetensors.torch import load_file

    folder = hub.folders[MODEL]
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    assert Remedy.ALLOW_PICKLE in refused(cache).remedies
    assert not any("GET" in asked and ".bin" in asked for asked in hub.asked)
    assert len(load(MODEL, cache_dir=cache, allow_pickle=True).lens.layers) == 4


def test_a_model_that_cannot_be_read_is_refused_before_its_weights_come(
    hub: Hub, cache: str
) -> None:
    (hub.folders[MODEL] / "config.json").write_text('{"model_type": "clip"}')
    assert "vocabulary head" in refusal(cache)
    assert not any(".safetensors" in asked for asked in hub.asked)


def test_a_disk_without_room(hub: Hub, cache: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import shutil

    usage = shutil.disk_usage(".")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=100_000))
    assert Remedy.OTHER_CACHE in refused(cache).remedies


def test_room_is_needed_only_for_what_will_come(
    hub: Hub, cache: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import shutil

    (hub.folders[MODEL] / "consolidated.safetensors").write_bytes(b"again" * 200_000)
    usage = shutil.disk_usage(".")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=600_000))
    assert len(load(MODEL, cache_dir=cache).lens.layers) == 4


def test_a_download_cut_off_for_good_and_then_taken_up_again(
    hub: Hub, cache: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)  # between the hub library's own tries
    hub.cut_after = 0
    assert "try again" in refusal(cache)
    hub.cut_after = None
    assert len(load(MODEL, cache_dir=cache).lens.layers) == 4


def test_a_download_cut_off_once_goes_on_where_it_stopped(hub: Hub, cache: str) -> None:
    whole = sum(path.stat().st_size for path in hub.folders[MODEL].iterdir())
    hub.cut_after, hub.cuts = 3 * 4096, 1
    assert len(load(MODEL, cache_dir=cache).lens.layers) == 4
    assert hub.cuts == 0
    assert hub.sent < whole + 3 * 4096


def test_a_slow_download_tells_its_progress(hub: Hub, cache: str) -> None:
    hub.seconds_per_chunk = 0.05
    told: list[tuple[str, float | None]] = []
    load(MODEL, cache_dir=cache, progress=lambda stage, fraction: told.append((stage, fraction)))
    fractions = [share for stage, share in told if "downloading" in stage and share is not None]
    assert len(fractions) >= 3
    assert fractions == sorted(fractions)
    assert fractions[0] == 0
    assert all(0 <= share <= 1 for share in fractions)
    assert any("MB/s" in stage for stage, _ in told)
    loading = [share for stage, share in told if stage == "loading the weights"]
    assert any(share is not None for share in loading)


def test_a_slow_download_can_be_cancelled(
    hub: Hub, cache: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from engine.events import Event, LoadOptions, ModelFailed, ModelLoading
    from engine.worker import Worker

    hub.seconds_per_chunk = 0.05
    downloading, over = threading.Event(), threading.Event()
    events: list[Event] = []

    def tell(event: Event) -> None:
        events.append(event)
        if isinstance(event, ModelLoading) and "downloading" in event.stage:
            downloading.set()
        if isinstance(event, ModelFailed):
            over.set()

    worker = Worker(tell)
    worker.start()
    worker.load(LoadOptions(MODEL, cache_dir=cache))
    assert downloading.wait(20)
    worker.cancel()
    assert over.wait(20)
    assert isinstance(events[-1], ModelFailed)
    assert events[-1].error == f"{MODEL}: loading was cancelled"
    worker.stop()


@pytest.mark.slow
def test_the_hubs_environment_variables(hub: Hub, tmp_path: Path) -> None:
    """In a separate process, because the library reads them when it is imported."""
    import os

    environment = os.environ | {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "home")}
    command = [sys.executable, "-m", "tui", "run", "--model", MODEL, "--prompt", "Hello"]
    first = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert first.returncode == 0, first.stderr
    assert (tmp_path / "home" / "hub" / "models--someone--tiny-llama").is_dir()
    hub.asked.clear()
    second = subprocess.run(
        command,
        env=environment | {"HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert second.returncode == 0, second.stderr
    assert second.stdout == first.stdout
    assert not hub.asked
