"""Loads a model and its processor from a folder or the hub, and proves the lens on it."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from engine.errors import BadInput, CannotRead
from engine.events import LoadOptions
from engine.lens.lens import Lens
from engine.models.adapters import adapters_passed_over, put_on
from engine.models.checkpoints import Checkpoint, local_checkpoint, opened
from engine.models.explaining import explained
from engine.models.fingerprints import files_digest, is_offloaded, weights_digest
from engine.models.headers import own_dtype, stored_in
from engine.models.hub import Progress, fetch_weights, settings_folder
from engine.models.placement import (
    device_for,
    devices_of,
    dtype_for,
    parameter_count,
    placement_for,
)
from engine.models.weights_used import (
    narrowed_note,
    refuse_doubled,
    refuse_incomplete,
    refuse_other_class,
    refuse_packed,
    refuse_unknown_quantisation,
    unused_note,
)
from engine.prompts.preparing import prepare
from engine.prompts.processors import load_processor, takes_pictures, tokenizer_of
from engine.prompts.templates import has_chat_template
from engine.prompts.token_texts import refuse_other_vocabulary, remember_tokenizer
from engine.records import ModelCard, Question
from engine.system.panics import panics_as_errors
from engine.system.phases import phase, timed
from engine.system.quiet import listening, weights_progress

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
    """What each phase of loading took, by its name, in order; then their "total", which includes
    what belongs to none of them."""

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
    place: list[Path] = []
    with (
        timed() as stopwatch,
        explained(options, place),
        listening() as heard,
        panics_as_errors(),
    ):
        progress(f"opening {options.model}", None)
        opened_model = _open(options, place, progress)
        model, processor = opened_model.model, opened_model.processor
        progress("learning and proving the lens", None)
        with phase("learning"):
            lens = _proved_lens(model, processor)
    return LoadedModel(
        model=model,
        processor=processor,
        name=options.model,
        card=ModelCard(
            name=options.model,
            revision=opened_model.revision,
            class_name=type(model).__name__,
            dtype=str(model.dtype).removeprefix("torch."),
            device=devices_of(model),
            notes=tuple(dict.fromkeys((*opened_model.notes, *heard.notes()))),
            adapter=opened_model.adapter,
            weights=opened_model.digest,
        ),
        lens=lens,
        seconds=stopwatch.seconds,
    )


@dataclass(frozen=True)
class _Opened:
    """A model with its processor, and what there is to say about both."""

    model: Any
    processor: Any
    revision: str | None
    """The commit that it was downloaded from, if it was."""
    notes: tuple[str, ...]
    adapter: str | None
    digest: str


def _open(options: LoadOptions, place: list[Path], progress: Progress) -> _Opened:
    with phase("checking"):
        local = local_checkpoint(options)
        checkpoint = local or opened(settings_folder(options), options)
    place.append(checkpoint.folder)
    hub: dict[str, Any] = {"trust_remote_code": options.trust_remote_code}
    if local is not None or not options.trust_remote_code:
        # All files are here; only a model's own code may be elsewhere.
        hub["local_files_only"] = True
    if options.cache_dir:
        hub["cache_dir"] = options.cache_dir
    with phase("checking"):
        config, model_class = _config_and_class(str(checkpoint.folder), hub)
        refuse_unknown_quantisation(checkpoint.config)
        device = device_for(options.device)
    if local is None:
        with phase("fetching"):
            fetch_weights(options, checkpoint.folder, progress)
    model, notes = _weighed(options, checkpoint, config, model_class, device, hub, progress)
    adapter = checkpoint.adapter
    if adapter is not None:
        progress(f"putting on the adapter {adapter.folder.name}", None)
        with phase("adapter"):
            notes = (*put_on(model, adapter, options.allow_pickle), *notes)
    model.eval()
    progress("loading the processor", None)
    with phase("processor"):
        processor, more = load_processor(checkpoint.folder, model, **hub)
        refuse_other_vocabulary(model, tokenizer_of(processor))
        remember_tokenizer(model, tokenizer_of(processor))
    with phase("digest"):
        digest = _digest(model, checkpoint)
    return _Opened(
        model,
        processor,
        revision=checkpoint.folder.name if local is None else options.revision,
        notes=(*checkpoint.notes, *notes, *more),
        adapter=None if adapter is None else str(adapter.folder),
        digest=digest,
    )


def _digest(model: Any, checkpoint: Checkpoint) -> str:
    """A digest of the weights; of the files where some are not in memory, and empty where an
    adapter is not among these."""
    if not is_offloaded(model):
        return weights_digest(model)
    return "" if checkpoint.adapter is not None else files_digest(checkpoint.folder)


def _weighed(
    options: LoadOptions,
    checkpoint: Checkpoint,
    config: Any,
    model_class: Any,
    device: Any,
    hub: dict[str, Any],
    progress: Progress,
) -> tuple[Any, tuple[str, ...]]:
    """The model with its checkpoint's weights on its device, and what there is to say of them."""
    with phase("checking"):
        files = checkpoint.weights(options.allow_pickle)
        stored = stored_in(files.read)
        parameters = partial(parameter_count, config, model_class, options.trust_remote_code)
        dtype = dtype_for(options.dtype, config, own_dtype(stored), device, parameters)
        if getattr(config, "auto_map", None) is None:
            refuse_other_class(model_class, config, stored, options.trust_remote_code)
        placement = placement_for(options, device, lambda: parameters() * dtype.itemsize)
    progress("loading the weights", None)
    with phase("reading"), weights_progress(progress), adapters_passed_over():
        model, loading = model_class.from_pretrained(
            str(checkpoint.folder),
            dtype=dtype,
            use_safetensors=None if options.allow_pickle else True,
            # What does not fit is refused below, with its name and both shapes.
            ignore_mismatched_sizes=True,
            output_loading_info=True,
            **placement,
            **hub,
        )
    with phase("checking"):
        refuse_packed(model, loading, stored, checkpoint.config)
        refuse_incomplete(model, loading)
        refuse_doubled(model, stored)
    notes = (
        files.note,
        unused_note(model, loading, files),
        narrowed_note(stored, model.dtype, options.dtype),
    )
    return model, tuple(note for note in notes if note is not None)


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


def probe_inputs(model: Any, processor: Any) -> dict[str, Any]:
    """The inputs, a batch of one, for a short question about a small grey picture."""
    question = Question(prompt="What is this?")
    image = None
    if takes_pictures(processor):
        from PIL import Image

        image = Image.new("RGB", (PROBE_SIDE, PROBE_SIDE), (127, 127, 127))
    return prepare(model, processor, question, image).inputs
