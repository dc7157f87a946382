"""Loads a model in a process that may not have imported torch yet, which this module does not."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.events import LoadOptions
from engine.system.libraries import import_libraries
from engine.system.phases import phase, timed
from engine.system.working_folder import refuse_to_import_without_working_folder

if TYPE_CHECKING:
    from engine.models.hub import Progress
    from engine.models.loading import LoadedModel


def import_and_load(
    options: LoadOptions, progress: Progress = lambda stage, fraction: None
) -> LoadedModel:
    """Import torch and transformers, then load the model as `load_with` does, and raise what it
    raises; the import counts in the model's `seconds`."""
    with timed():
        progress("importing torch and transformers", None)
        refuse_to_import_without_working_folder()
        with phase("importing"):
            import_libraries()
            from engine.models.loading import load_with
        return load_with(options, progress)
