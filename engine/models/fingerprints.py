"""Digests by which weights are told apart, whatever their checkpoint is called."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import torch
from torch import nn

SAMPLED = 16
"""How many numbers of each parameter go into the digest."""
_NUMBERS = range(SAMPLED)
SAMPLED_BYTES = 16
"""How many bytes are read at each of a few places of every tensor in a file."""
_PLACES = 4
_MOST_HEADER = 10**8
"""Bytes of a header: the limit of safetensors itself."""
_SUFFIXES = (".safetensors", ".bin", ".pt", ".pth")
"""Of files with weights; files of the first kind that is there are looked at."""


def weights_digest(model: nn.Module) -> str:
    """A digest of names, shapes, dtypes and some numbers of all parameters; equal on all devices.

    Of offloaded parameters, only names, shapes and dtypes count: `files_digest` tells them apart.
    """
    named = sorted(model.named_parameters())
    sampled = _sampled_numbers([parameter for _, parameter in named])
    digest = hashlib.sha256()
    for (name, parameter), values in zip(named, sampled, strict=True):
        digest.update(repr((name, tuple(parameter.shape), str(parameter.dtype), values)).encode())
    return digest.hexdigest()


def _sampled_numbers(parameters: Sequence[nn.Parameter]) -> list[list[float]]:
    """Some numbers of each parameter, evenly spread; none of an empty or an offloaded one.

    They are gathered on their device and fetched together: a device is waited for once, whatever
    the number of parameters.
    """
    numbers: list[list[float]] = [[] for _ in parameters]
    on_device: dict[torch.device, list[int]] = {}
    for index, parameter in enumerate(parameters):
        if parameter.device.type != "meta" and parameter.numel():
            on_device.setdefault(parameter.device, []).append(index)
    for device, indices in on_device.items():
        # Integers: float32 cannot represent every index of a large embedding.
        places = torch.tensor(
            [
                [number * (parameters[index].numel() - 1) // (SAMPLED - 1) for number in _NUMBERS]
                for index in indices
            ]
        ).to(device)
        gathered = torch.stack(
            [
                parameters[index].detach().flatten()[chosen].float()
                for index, chosen in zip(indices, places, strict=True)
            ]
        )
        for index, values in zip(indices, gathered.tolist(), strict=True):
            numbers[index] = values
    return numbers


def is_offloaded(model: nn.Module) -> bool:
    """Whether some weights are not in memory, but fetched by accelerate when they are used."""
    return any(parameter.device.type == "meta" for parameter in model.parameters())


def files_digest(folder: Path) -> str:
    """A digest of the files of weights in a checkpoint's folder: their names, sizes and headers,
    and some bytes of every tensor, since two models of one kind have equal headers.

    Empty where there is none. Raises OSError where a file cannot be read.
    """
    digest = hashlib.sha256()
    files = _weight_files(folder)
    for file in files:
        digest.update(repr(file.name).encode())
        handle = os.open(file, os.O_RDONLY | os.O_NONBLOCK)
        try:
            size = os.fstat(handle).st_size
            digest.update(size.to_bytes(8, "little"))
            for start, count in _sampled(handle, size):
                digest.update(os.pread(handle, count, start))
        finally:
            os.close(handle)
    return digest.hexdigest() if files else ""


def _weight_files(folder: Path) -> list[Path]:
    regular = [
        file
        for file in sorted(folder.iterdir())
        if file.suffix in _SUFFIXES and stat.S_ISREG(file.stat().st_mode)
    ]
    kinds = [suffix for suffix in _SUFFIXES if any(file.suffix == suffix for file in regular)]
    return [file for file in regular if file.suffix == kinds[0]] if kinds else []


def _sampled(handle: int, size: int) -> Iterator[tuple[int, int]]:
    """Places and lengths of what is read of a file: the header and some bytes of each tensor; of a
    file without such a header, bytes all over it."""
    header = int.from_bytes(os.pread(handle, 8, 0), "little")
    spans: list[tuple[int, int]] = []
    if header <= min(_MOST_HEADER, size - 8):
        yield 0, 8 + header
        try:
            tensors = msgspec.json.decode(os.pread(handle, header, 8), type=dict[str, _Entry])
            spans = [entry.data_offsets for entry in tensors.values() if entry.data_offsets]
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            spans = []
        data = 8 + header
        spans = [(data + begin, data + end) for begin, end in spans if 0 <= begin <= end]
    if not spans:
        step = max(1, size // 1024)
        spans = [(start, min(start + step, size)) for start in range(0, size, step)]
    for begin, end in sorted(spans):
        room = max(0, min(end, size) - begin - SAMPLED_BYTES)
        for place in range(_PLACES):
            yield begin + place * room // (_PLACES - 1), SAMPLED_BYTES


class _Entry(msgspec.Struct):
    """A tensor in the header of a safetensors file; its metadata have no place."""

    data_offsets: tuple[int, int] | None = None
