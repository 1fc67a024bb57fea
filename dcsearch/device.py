"""Device: where tensors live and are computed."""

import torch

from dcsearch.errors import Cure, UsageError


def choose_device(device: str) -> torch.device:
    """The torch device for "auto" (CUDA where there is one), "cpu" or "cuda".

    Raises:
        UsageError: CUDA was asked for and is not there, or the name is none of the three.
    """
    if device not in ("auto", "cpu", "cuda"):
        raise UsageError(f"no device {device!r}; choose auto, cpu or cuda")
    if device == "cuda" and not torch.cuda.is_available():
        raise UsageError("no CUDA device is available", Cure.USE_CPU)
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(device)


def has_bfloat16(device: torch.device) -> bool:
    """Whether the device multiplies bfloat16 numbers faster than others."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    supported = getattr(torch.cpu, "_is_avx512_bf16_supported", None)  # not public, may go
    return bool(supported is not None and supported())
