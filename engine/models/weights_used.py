"""Whether the weights of a checkpoint are the weights that run; what is not refused is noted.

transformers tells what it could not place in a report on its log, and goes on: weights that are
missing get random numbers, weights without a place are passed over.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from engine.errors import CannotLoad
from engine.models.headers import DTYPES, Stored, own_dtype
from engine.models.weight_files import WeightFiles

_SCALES = re.compile(
    r"\A(weight_?)?(scale|scales|scale_inv|scale_2|zero_?points?|zeros?|qzeros|qweight|absmax"
    r"|quant_map|quant_state.*|nested_absmax|nested_quant_map|g_idx|SCB|biases|codebooks?|input_scale"
    r"|packed|shape|global_scale|offset|amax)\Z",
    re.IGNORECASE,
)
"""Last parts of the names under which quantised checkpoints keep what turns their weights into
numbers."""

_WHOLE_NUMBERS = 2
"""Sides from which on a weight of whole numbers is packed; with fewer, it is a counter."""


def refuse_incomplete(model: Any, loading: Mapping[str, Any]) -> None:
    """Raise CannotLoad where weights are missing or of another shape: transformers fills them with
    random numbers, on which a lens would mean nothing.

    A weight that is tied to one in the checkpoint is not missing.
    """
    missing = {str(key) for key in loading.get("missing_keys", ())}
    named = dict(model.named_parameters(remove_duplicate=False))
    there = {id(parameter) for key, parameter in named.items() if key not in missing}
    missing = {key for key in missing if key not in named or id(named[key]) not in there}
    if missing:
        first = in_order(missing)[0]
        raise CannotLoad(
            f"{len(missing)} of the model's weights are missing in the checkpoint (first: {first})"
        )
    other = {
        str(key): (_sides(saved), _sides(own)) for key, saved, own in loading["mismatched_keys"]
    }
    if other:
        first = in_order(other)[0]
        saved, own = other[first]
        raise CannotLoad(
            f"{len(other)} of the model's weights are of another shape (first: {first}, {saved} in "
            f"the file, {own} by config.json)"
        )


def refuse_packed(
    model: Any, loading: Mapping[str, Any], stored: Iterable[Stored], config: Mapping[str, Any]
) -> None:
    """Raise CannotLoad where weights are stored in a way that only scales beside them turn into
    numbers, and nothing would apply these.

    Without a quantisation that transformers knows, it reads the packed numbers as they are.
    """
    known = getattr(model, "hf_quantizer", None) is not None
    parameters = {name for name, _ in model.named_parameters(remove_duplicate=False)}
    scales = []
    for key in map(str, loading.get("unexpected_keys", ())):
        place, _, last = key.rpartition(".")
        of_weight = not known or last.lower().startswith("weight")
        stem = re.sub(r"_?(scale.*|zero.*|absmax.*|quant.*)\Z", "", key, flags=re.IGNORECASE)
        has_weight = any(name in parameters for name in (f"{place}.weight", place, stem))
        if of_weight and has_weight and _SCALES.match(last):
            scales.append(key)
    if scales:
        raise CannotLoad(
            f"the weights are quantised in a way that {_named_way(config)}: {len(scales)} scales "
            f"in the checkpoint would not be applied (first: {in_order(scales)[0]})"
        )
    whole = [
        tensor
        for tensor in stored
        if tensor.is_whole_numbers and len(tensor.shape) >= _WHOLE_NUMBERS
    ]
    if known or not whole:
        return
    targets = renamed(model, [tensor.name for tensor in whole])
    floating = {
        name
        for name, parameter in model.named_parameters(remove_duplicate=False)
        if parameter.is_floating_point()
    }
    packed = [tensor for tensor in whole if targets.get(tensor.name) in floating]
    if packed:
        raise CannotLoad(
            f"{len(packed)} weights are stored as whole numbers, {packed[0].format} (first: "
            f"{packed[0].name}): they are quantised in a way that {_named_way(config)}"
        )


def refuse_unknown_quantisation(config: Mapping[str, Any]) -> None:
    """Raise CannotLoad where config.json names a quantisation that transformers does not know:
    transformers would pass over it."""
    from transformers.quantizers.auto import AUTO_QUANTIZATION_CONFIG_MAPPING

    found = config.get("quantization_config")
    if not isinstance(found, Mapping) or found.get("load_in_4bit") or found.get("load_in_8bit"):
        return
    method = found.get("quant_method")
    if str(method) not in set(map(str, AUTO_QUANTIZATION_CONFIG_MAPPING)):
        named = f"quantised by {method}" if method else "quantised, but not by which method"
        raise CannotLoad(
            f"config.json says that the weights are {named}, which transformers does not know: use "
            "the checkpoint that they were made from"
        )


def refuse_doubled(model: Any, stored: Sequence[Stored]) -> None:
    """Raise CannotLoad where a weight is in the checkpoint twice, with different numbers: which of
    them transformers takes depends on their names."""
    targets = renamed(model, [tensor.name for tensor in stored])
    places: dict[str, list[Stored]] = defaultdict(list)
    for tensor in stored:
        target = targets.get(tensor.name)
        if target is not None:
            places[target].append(tensor)
    doubled = [each for each in places.values() if len(each) > 1 and not _all_equal(each)]
    if doubled:
        one, two = doubled[0][:2]
        where = (
            f"{one.name} in {one.file.name} and {two.file.name}"
            if one.name == two.name
            else f"{one.name} and {two.name}"
        )
        raise CannotLoad(
            f"{len(doubled)} of the model's weights are in the checkpoint twice, with different "
            f"numbers (first: {where})"
        )


def unused_note(model: Any, loading: Mapping[str, Any], files: WeightFiles) -> str | None:
    """How many weights of the checkpoint belong to no part of the model, in one line; None where
    all do, but for those that transformers lists to be ignored."""
    unused = in_order(map(str, loading.get("unexpected_keys", ())))
    if not unused:
        return None
    read = len({id(each) for each in model.parameters()})
    count = "1 weight" if len(unused) == 1 else f"{len(unused)} weights"
    return (
        f"{count} of {files.source} {'is' if len(unused) == 1 else 'are'} not used: no place in "
        f"{type(model).__name__} (first: {unused[0]}); the model's own {read} were read"
    )


def narrowed_note(stored: Iterable[Stored], dtype: Any, wanted: str) -> str | None:
    """Where the model computes in fewer bits than its weights have, and the user did not say so."""
    saved = own_dtype(stored)
    runs = str(dtype).removeprefix("torch.")
    bits = {name: int("".join(filter(str.isdigit, name))) for name in DTYPES.values()}
    if wanted != "auto" or saved is None or runs not in bits or bits[saved] <= bits[runs]:
        return None
    return f"the weights are saved as {saved}, and run as {runs}, which config.json names"


def refuse_other_class(
    model_class: Any, config: Any, stored: Sequence[Stored], trust_remote_code: bool
) -> None:
    """Raise CannotLoad for a checkpoint of a class that transformers does not have, of which less
    than half fits the class that would be run instead. Nothing is allocated.

    Loading it would first fill a model of that size with random numbers.
    """
    import torch
    import transformers

    named = config.architectures or ()
    if not named or not stored or any(hasattr(transformers, name) for name in named):
        return
    with torch.device("meta"):
        model = model_class.from_config(config, trust_remote_code=trust_remote_code)
    fit = len(renamed(model, [tensor.name for tensor in stored], merged=True))
    if fit < len(stored) / 2:
        raise CannotLoad(
            f"config.json names the class {named[0]}, which transformers does not have, and "
            f"{len(stored) - fit} of its {len(stored)} weights have no place in "
            f"{type(model).__name__}: a checkpoint converted for transformers is needed"
        )


def renamed(model: Any, names: Sequence[str], merged: bool = False) -> dict[str, str]:
    """From names in a checkpoint to the parameters that transformers puts them into. Names without
    a place are left out, and those that are merged into one with others (experts) unless
    `merged`."""
    from transformers.conversion_mapping import get_model_conversion_mapping
    from transformers.core_model_loading import WeightConverter, WeightRenaming, rename_source_key

    mapping = get_model_conversion_mapping(model, None, getattr(model, "hf_quantizer", None)) or []
    renamings = [each for each in mapping if isinstance(each, WeightRenaming)]
    converters = [each for each in mapping if isinstance(each, WeightConverter)]
    own = dict(model.named_parameters(remove_duplicate=False))
    prefix = model.base_model_prefix
    found: dict[str, str] = {}
    for name in names:
        target, pattern = rename_source_key(name, renamings, converters, prefix, own)
        if target not in own and name in own:
            target, pattern = rename_source_key(name, [], [], prefix, own)
        if (merged or pattern is None) and target in own:
            found[name] = target
    return found


def in_order(keys: Iterable[str]) -> list[str]:
    """Names sorted as people count: layer 2 before layer 10."""
    return sorted(
        keys,
        key=lambda key: [
            (0, int(part), "") if part.isdigit() else (1, 0, part)
            for part in re.split(r"(\d+)", key)
        ],
    )


def _all_equal(tensors: Sequence[Stored]) -> bool:
    import torch
    from safetensors import safe_open

    values = []
    for tensor in tensors:
        with safe_open(tensor.file, framework="pt") as content:
            values.append(content.get_tensor(tensor.name))
    return all(torch.equal(values[0], value) for value in values[1:])


def _named_way(config: Mapping[str, Any]) -> str:
    found = config.get("quantization_config")
    method = found.get("quant_method") if isinstance(found, Mapping) else None
    return f"{method} does not read" if method else "config.json does not name"


def _sides(shape: Iterable[int]) -> str:
    return "x".join(map(str, shape)) or "one number"
