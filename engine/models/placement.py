"""Decides where a model goes and in which dtype: devices, device maps, quantisation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from engine.errors import CannotLoad, Remedy
from engine.events import LoadOptions
from engine.system.memory import free_memory

GPU_SHARE = 0.9
"""Share of a GPU's free memory for the weights; accelerate spreads a model that needs more."""


def device_for(wanted: str) -> Any:
    """The torch device that a name means; "auto" is a GPU where there is one.

    Raises CannotLoad where this machine has no such device.
    """
    import torch

    if wanted == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(wanted)
    except RuntimeError:
        raise CannotLoad(
            f"no such kind of device: {wanted}; use auto, cpu, cuda or cuda:1",
            Remedy.OTHER_DEVICE,
        ) from None
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise CannotLoad(
            f"device {wanted}: this machine has {torch.cuda.device_count()} CUDA devices",
            Remedy.OTHER_DEVICE,
        )
    if device.type not in ("cpu", "cuda", "mps", "xpu"):
        raise CannotLoad(f"device {wanted}: a model cannot run there", Remedy.OTHER_DEVICE)
    return device


def dtype_for(
    wanted: str, config: Any, stored: str | None, device: Any, parameters: Callable[[], int]
) -> Any:
    """The torch dtype that a name means for a checkpoint.

    "auto" is the checkpoint's own: what its config says or else that of its weights (`stored`),
    except float16 on a CPU, which computes it slowly or not at
    all: float32 where that fits in half of the free memory, else bfloat16.
    """
    import torch

    if wanted != "auto":
        dtype = getattr(torch, wanted, None)
        if not isinstance(dtype, torch.dtype) or not dtype.is_floating_point:
            raise CannotLoad(
                f"dtype {wanted}: use auto, float32, float16 or bfloat16", Remedy.OTHER_DTYPE
            )
        return dtype
    saved = getattr(config, "dtype", None)
    saved = saved or getattr(config.get_text_config(decoder=True), "dtype", None)
    saved = saved or stored
    saved = getattr(torch, saved, None) if isinstance(saved, str) else saved
    if saved == torch.float16 and device.type == "cpu":
        return torch.float32 if 4 * parameters() <= free_memory() / 2 else torch.bfloat16
    return saved or torch.float32


def placement_for(
    options: LoadOptions, device: Any, weight_bytes: Callable[[], int]
) -> dict[str, Any]:
    """Device map and quantisation, as `from_pretrained` takes them.

    A device other than the CPU is a map, too: each weight is then read from the file straight onto
    it, which saves a copy of the model in main memory and the time of moving it.
    """
    import torch

    placement: dict[str, Any] = {}
    if options.device_map:
        placement["device_map"] = options.device_map
    elif options.device == "auto" and device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        if weight_bytes() > GPU_SHARE * free:
            placement["device_map"] = "auto"
    if options.quantize:
        placement["quantization_config"] = _quantization(options.quantize)
        if options.device == "auto":
            placement.setdefault("device_map", "auto")
    if options.quantize or device.type != "cpu":
        placement.setdefault("device_map", {"": str(device)})
    return placement


def parameter_count(config: Any, model_class: Any, trust_remote_code: bool) -> int:
    """How many parameters a model of this config has; none of them is allocated."""
    import torch

    with torch.device("meta"):
        model = model_class.from_config(config, trust_remote_code=trust_remote_code)
    return sum(parameter.numel() for parameter in model.parameters())


def devices_of(model: Any) -> str:
    """The devices of a model's weights as text; "disk" for those that accelerate loads on use."""
    places = {str(parameter.device) for parameter in model.parameters()}
    if "meta" in places:
        moved = {str(place) for place in getattr(model, "hf_device_map", {}).values()}
        places = (places - {"meta"}) | (moved & {"cpu", "disk"})
    return ", ".join(sorted(places))


def _quantization(bits: str) -> Any:
    from importlib.util import find_spec

    from transformers import BitsAndBytesConfig

    if find_spec("bitsandbytes") is None:
        raise CannotLoad("quantising needs bitsandbytes: pip install 'lenscope[quantized]'")
    return BitsAndBytesConfig(load_in_8bit=bits == "8bit", load_in_4bit=bits == "4bit")
