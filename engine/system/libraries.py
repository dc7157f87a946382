"""Imports torch and transformers so that the program's other threads keep running meanwhile."""

from __future__ import annotations

import ctypes
import gc
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path

_USED = ("AutoModelForImageTextToText", "AutoProcessor", "AutoTokenizer", "GenerationMixin")
"""Names of transformers that are imported on first use, and used with every model."""


def import_libraries() -> None:
    """Import torch and transformers, with what every model and processor needs of them.

    An import holds the interpreter, and thereby stalls the explorer's screen, for as long as one
    call of C code takes. Two of them are long: loading torch's shared libraries, and the garbage
    collector's passes over the million objects that the modules consist of. So the libraries are
    loaded beforehand by a call that lets the interpreter go, and the collector rests meanwhile;
    afterwards it leaves the modules alone, which also spares every later pass 0.3 s.

    On two busy cores the longest stall was 187 ms instead of 762, and the import took 18.1 s of
    processor time instead of 23.8 (medians of `python -m tests.import_benchmark`). Shorter turns of
    the interpreter (`sys.setswitchinterval`) changed neither.
    """
    if "transformers.modeling_utils" in sys.modules:
        return
    collecting = gc.isenabled()
    gc.disable()
    try:
        _load_shared_libraries()
        import transformers

        with _without_scipy():
            import transformers.modeling_utils

            for name in _USED:
                getattr(transformers, name)  # which imports it
    finally:
        gc.freeze()
        if collecting:
            gc.enable()


@contextmanager
def _without_scipy() -> Iterator[None]:
    """Let transformers believe that scipy and scikit-learn are not installed, which take a tenth of
    the whole import or more: it needs them for the losses of object detectors and for assisted
    generation, and nothing here trains or drafts."""
    from transformers import utils

    asked = ("is_scipy_available", "is_sklearn_available")
    answers = {name: getattr(utils, name) for name in asked if hasattr(utils, name)}
    for name in answers:
        setattr(utils, name, lambda: False)
    try:
        yield
    finally:
        for name, answer in answers.items():
            setattr(utils, name, answer)


def _load_shared_libraries() -> None:
    """Load torch's shared libraries without holding the interpreter, where this is safe; `import
    torch` loads the others, and reports what is wrong with any."""
    spec = None if "torch" in sys.modules else find_spec("torch")
    if sys.platform != "linux" or spec is None or spec.origin is None:
        return
    folder = Path(spec.origin).parent / "lib"
    if (folder / "libtorch_cuda.so").exists() and "LD_LIBRARY_PATH" in os.environ:
        return  # torch first loads some of CUDA's itself, lest others on that path are taken
    with suppress(AttributeError):
        # A foreign function runs without the interpreter's lock; `ctypes.CDLL(path)` keeps it.
        load = ctypes.CDLL(None).dlopen
        load.argtypes, load.restype = (ctypes.c_char_p, ctypes.c_int), ctypes.c_void_p
        # In torch's own order: the first makes what the second depends on visible to all.
        for name, scope in (("libtorch_global_deps.so", os.RTLD_GLOBAL), ("libtorch.so", 0)):
            if not load(os.fsencode(folder / name), os.RTLD_NOW | scope):
                return
