"""What launchers leave in the environment of a process that runs alone."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from engine.errors import BadInput
from engine.sweeps import processes
from engine.sweeps.processes import NUMBERS, PLACE, Process, this_process

REMEDY = "env -u WORLD_SIZE"
MET = {"RANK": "0", "MASTER_ADDR": "localhost", "MASTER_PORT": "29500"}


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """No launcher's variables."""
    for name in (*NUMBERS, *PLACE):
        monkeypatch.delenv(name, raising=False)


def refusal(monkeypatch: pytest.MonkeyPatch, variables: Mapping[str, str]) -> str:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(BadInput) as refused, this_process(on_cpu=True, longest_wait=0.2):
        pass
    line = str(refused.value)
    assert len(line.splitlines()) == 1
    return line


@pytest.mark.parametrize("size", [None, "", "0", "1", " 1 ", "-3"])
def test_one_process_is_alone(monkeypatch: pytest.MonkeyPatch, size: str | None) -> None:
    if size is not None:
        monkeypatch.setenv("WORLD_SIZE", size)
    with this_process(on_cpu=False) as process:
        assert process == Process()


@pytest.mark.parametrize(
    ("variables", "says"),
    [
        ({"WORLD_SIZE": "2"}, "RANK, MASTER_ADDR and MASTER_PORT are not set"),
        ({"WORLD_SIZE": "2", "RANK": "0"}, "MASTER_ADDR and MASTER_PORT are not set"),
        ({"WORLD_SIZE": "2", **MET, "RANK": ""}, "RANK is not set"),
        ({"WORLD_SIZE": "x"}, "WORLD_SIZE=x in the environment is not a whole number"),
        ({"WORLD_SIZE": "2.0"}, "not a whole number"),
        ({"WORLD_SIZE": "2", **MET, "RANK": "2"}, "RANK=2"),
        ({"WORLD_SIZE": "2", **MET, "RANK": "-1"}, "RANK=-1"),
    ],
)
def test_what_was_left_behind_is_named(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], says: str
) -> None:
    line = refusal(monkeypatch, variables)
    assert says in line and REMEDY in line


@pytest.mark.parametrize("name", ["RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_PORT"])
def test_no_number(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    line = refusal(monkeypatch, {"WORLD_SIZE": "2", **MET, name: "x" * 100})
    assert f"{name}=xxx" in line and f"env -u {name}" in line and len(line) < 300


def test_pictures_are_prepared_only_with_a_number_of_processes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert "LOCAL_WORLD_SIZE" in refusal(monkeypatch, {"LOCAL_WORLD_SIZE": "x"})


def test_the_wait_for_the_others_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    ended = threading.Event()
    monkeypatch.setattr(processes._Joining, "run", lambda self: ended.wait(60) and None)
    for name, value in {"WORLD_SIZE": "3", **MET}.items():
        monkeypatch.setenv(name, value)
    told: list[str] = []
    with (
        pytest.raises(BadInput, match=r"the 2 other processes .* did not come to localhost:29500"),
        this_process(on_cpu=True, told=told.append, longest_wait=0.2, silent_wait=0.1),
    ):
        pass
    ended.set()
    assert len(told) == 1 and REMEDY in told[0] and "0 s at most" in told[0]


def test_whatever_joining_raises_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(self: processes._Joining) -> None:
        self.error = SystemError("NCCL\nis not there")

    monkeypatch.setattr(processes._Joining, "run", run)
    line = refusal(monkeypatch, {"WORLD_SIZE": "2", **MET})
    assert "cannot be joined at localhost:29500 (SystemError: NCCL is not there)" in line


@pytest.mark.slow
def test_a_wait_can_be_interrupted() -> None:
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = str(free.getsockname()[1])
    root = Path(__file__).resolve().parents[2]
    process = subprocess.Popen(
        [sys.executable, "-m", "tui", "sweep", "--data", "samples/pictures", "--prompts", "clevr",
         "--out", "/nonexistent/out"],
        cwd=root, env={**os.environ, **MET, "WORLD_SIZE": "2", "MASTER_PORT": port},
        stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    assert process.stderr is not None
    assert "waiting for the other process" in process.stderr.readline()
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130 and "Traceback" not in said
    assert time.monotonic() - began < 50
