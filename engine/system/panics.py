"""Panics of libraries written in Rust, which Python sees as no Exception."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from engine.errors import PassFailed, one_line


class LibraryPanicked(PassFailed):
    """Code of a library, such as tokenizers, has hit a fault of its own."""


@contextmanager
def panics_as_errors() -> Iterator[None]:
    """Turn a panic into LibraryPanicked, so that whatever handles errors handles it, too."""
    try:
        yield
    except BaseException as error:
        if not is_panic(error):
            raise
        raise LibraryPanicked(f"a library has failed inside: {one_line(error)}") from None


def is_panic(error: BaseException) -> bool:
    """Whether an error is a panic of Rust code; its class cannot be imported."""
    return type(error).__name__ == "PanicException" and not isinstance(error, Exception)
