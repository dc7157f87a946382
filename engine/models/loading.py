"""Loads a model and its processor from a folder or the hub, and proves the lens on it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from engine.errors import (
    LESS_MEMORY,
    BadInput,
    Cancelled,
    CannotLoad,
    CannotRead,
    Remedy,
    one_line,
)
from engine.events import LoadOptions
from engine.lens.lens import Lens
from engine.models.checkpoints import model_folder
from engine.models.folder_bounds import refuse_unbounded_folder
from engine.models.hub import Progress, explain_hub, fetch_weights, settings_folder
from engine.models.placement import (
    device_for,
    devices_of,
    dtype_for,
    parameter_count,
    placement_for,
)
from engine.prompts.preparing import prepare
from engine.prompts.processors import load_processor, takes_pictures, tokenizer_of
from engine.prompts.templates import has_chat_template
from engine.prompts.token_texts import refuse_other_vocabulary, remember_tokenizer
from engine.records import ModelCard, Question
from engine.system.library_errors import (
    has_no_safetensors,
    needs_remote_code,
    needs_torchvision,
)
from engine.system.memory import is_out_of_memory
from engine.system.panics import panics_as_errors
from engine.system.quiet import quiet, weights_progress

PROBE_SIDE = 56
"""The side, in pixels, of the grey picture on which a model is learned and proved."""


@dataclass(frozen=True)
class LoadedModel:
    """A model, its processor (or tokenizer), and its lens, which is learned and proved."""

    model: Any
    processor: Any
    name: str
    card: ModelCard
    lens: Lens
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def takes_pictures(self) -> bool:
        """Whether a picture can be part of a question."""
        return takes_pictures(self.processor)

    @property
    def has_chat_template(self) -> bool:
        """Whether questions can be asked as a chat; without a template they are asked raw."""
        return has_chat_template(self.processor)


def load_with(
    options: LoadOptions, progress: Progress = lambda stage, fraction: None
) -> LoadedModel:
    """Load a model, learn its anatomy on a small question, and prove its lens.

    Raises CannotLoad (missing, damaged, refused), CannotRead (the stream cannot be read
    faithfully). Both say what is wrong and what to do; `remedies` of the error name the actions.
    """
    began = time.perf_counter()
    progress("importing torch and transformers", None)
    import transformers  # noqa: F401

    with quiet(), _explained(options), panics_as_errors():
        progress(f"opening {options.model}", None)
        model, processor, revision = _model_and_processor(options, progress)
        loaded_at = time.perf_counter()
        progress("learning and proving the lens", None)
        lens = _proved_lens(model, processor)
    return LoadedModel(
        model=model,
        processor=processor,
        name=options.model,
        card=ModelCard(
            name=options.model,
            revision=revision,
            class_name=type(model).__name__,
            dtype=str(model.dtype).removeprefix("torch."),
            device=devices_of(model),
        ),
        lens=lens,
        seconds={"load": loaded_at - began, "learn": time.perf_counter() - loaded_at},
    )


def _model_and_processor(options: LoadOptions, progress: Progress) -> tuple[Any, Any, str | None]:
    """The model, its processor, and the commit it was downloaded from, if it was."""
    local = model_folder(options)
    folder = local or settings_folder(options)
    refuse_unbounded_folder(folder, options.model)
    hub: dict[str, Any] = {"trust_remote_code": options.trust_remote_code}
    if local is not None or not options.trust_remote_code:
        # All files are here; only a model's own code may be elsewhere.
        hub["local_files_only"] = True
    if options.cache_dir:
        hub["cache_dir"] = options.cache_dir
    source = str(folder)
    config, model_class = _config_and_class(source, hub)
    device = device_for(options.device)
    parameters = partial(parameter_count, config, model_class, options.trust_remote_code)
    dtype = dtype_for(options.dtype, config, device, parameters)
    if local is None:
        fetch_weights(options, folder, progress)
    placement = placement_for(options, device, lambda: parameters() * dtype.itemsize)
    progress("loading the weights", None)
    with weights_progress(progress):
        model, loading = model_class.from_pretrained(
            source,
            dtype=dtype,
            use_safetensors=None if options.allow_pickle else True,
            output_loading_info=True,
            **placement,
            **hub,
        )
    _refuse_incomplete(model, loading, options.model)
    if "device_map" not in placement:
        progress(f"moving the weights to {device}", None)
        model.to(device)
    model.eval()
    progress("loading the processor", None)
    processor = load_processor(source, config, **hub)
    refuse_other_vocabulary(model, tokenizer_of(processor))
    remember_tokenizer(model, tokenizer_of(processor))
    return model, processor, folder.name if local is None else options.revision


def _proved_lens(model: Any, processor: Any) -> Lens:
    lens = Lens(model)
    try:
        lens.learn(probe_inputs(model, processor))
    except BadInput as error:
        reason = f"the model cannot be asked a first question: {error}"
        raise CannotRead(reason, *error.remedies) from error
    return lens


def _config_and_class(source: str, hub: dict[str, Any]) -> tuple[Any, Any]:
    from transformers import (
        AutoConfig,
        AutoModelForCausalLM,
        AutoModelForImageTextToText,
        AutoModelForSeq2SeqLM,
    )

    config = AutoConfig.from_pretrained(source, **hub)
    _refuse_other_heads(config, source)
    text = [AutoModelForCausalLM, AutoModelForSeq2SeqLM]
    if getattr(config, "is_encoder_decoder", False):
        text.reverse()  # BART and others have a decoder-only class, too, which no checkpoint uses
    for auto in (AutoModelForImageTextToText, *text):
        remote = getattr(config, "auto_map", None) or {}
        if type(config) in auto._model_mapping or auto.__name__ in remote:
            return config, auto
    raise CannotRead(
        f"{source}: a {config.model_type} model has no vocabulary head; "
        "the lens needs a model that writes text"
    )


def _refuse_other_heads(config: Any, source: str) -> None:
    """Raise CannotRead for a checkpoint of a model that does not write text.

    A classifier's with tied embeddings would load as an untrained language model: transformers
    would take its embedding for the missing head.
    """
    import transformers

    for name in config.architectures or ():
        saved = getattr(transformers, name, None)
        if saved is not None and not issubclass(saved, transformers.GenerationMixin):
            raise CannotRead(
                f"{source}: a {name} has no vocabulary head; "
                "the lens needs a model that writes text"
            )


def _refuse_incomplete(model: Any, loading: dict[str, Any], name: str) -> None:
    """Raise CannotLoad where weights are missing: transformers fills them with random numbers, on
    which a lens would mean nothing.

    A weight that is tied to one in the checkpoint is not missing.
    """
    missing = {str(key) for key in loading.get("missing_keys", ())}
    named = dict(model.named_parameters(remove_duplicate=False))
    there = {id(parameter) for key, parameter in named.items() if key not in missing}
    missing = {key for key in missing if key not in named or id(named[key]) not in there}
    other = {str(key) for key in loading.get("mismatched_keys", ())}
    for keys, what in ((sorted(missing), "missing"), (sorted(other), "of another shape")):
        if keys:
            raise CannotLoad(
                f"{name}: {len(keys)} of the model's weights are {what} in the checkpoint "
                f"(first: {keys[0]})"
            )


def probe_inputs(model: Any, processor: Any) -> dict[str, Any]:
    """The inputs, a batch of one, for a short question about a small grey picture."""
    question = Question(prompt="What is this?")
    image = None
    if takes_pictures(processor):
        from PIL import Image

        image = Image.new("RGB", (PROBE_SIDE, PROBE_SIDE), (127, 127, 127))
    return prepare(model, processor, question, image).inputs


@contextlib.contextmanager
def _explained(options: LoadOptions) -> Iterator[None]:
    """Turn what libraries raise while loading into CannotLoad: one line with its remedies."""
    try:
        yield
    except (CannotLoad, CannotRead) as error:
        if options.model in str(error):
            raise
        raise type(error)(f"{options.model}: {error}", *error.remedies) from error
    except Cancelled:
        raise
    except Exception as error:
        known = _explained_error(error)
        raise CannotLoad(f"{options.model}: {known}", *known.remedies) from error


def _explained_error(error: Exception) -> CannotLoad:
    if needs_remote_code(error):
        return CannotLoad(
            "the model needs its own code to run; allow that if you trust it", Remedy.TRUST_CODE
        )
    if is_out_of_memory(error):
        return CannotLoad(
            "memory ran out while loading; try a 16-bit dtype, quantised weights or several "
            "devices",
            *LESS_MEMORY,
        )
    if needs_torchvision(error):
        return CannotLoad("the model's image processor needs torchvision: pip install torchvision")
    if has_no_safetensors(error):
        return CannotLoad(
            "no safetensors weights; allow its pickled ones if you trust them", Remedy.ALLOW_PICKLE
        )
    return explain_hub(error) or CannotLoad(one_line(error))
