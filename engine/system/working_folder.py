"""What happens once the folder in which the program was started has been removed."""

from __future__ import annotations

import sys
from pathlib import Path

from engine.errors import CannotLoad


def working_folder_is_gone() -> bool:
    """Whether the working folder has been removed."""
    try:
        Path.cwd()
    except FileNotFoundError:
        return True
    except OSError:  # a parent that may not be read
        return False
    return False


def refuse_to_import_without_working_folder() -> None:
    """Raise CannotLoad where torch would have to be imported in a folder that has been removed.

    Its MKL ends the whole process there, and transformers cannot be imported. Once both are
    loaded, they need no working folder.
    """
    if "transformers" not in sys.modules and working_folder_is_gone():
        raise CannotLoad(
            "the working folder has been removed, and no model can be loaded without one: "
            "change to a folder that exists, and start lenscope there"
        )
