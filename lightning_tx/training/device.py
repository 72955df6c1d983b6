"""What a run trains on."""

from typing import Literal

import torch


def device_of(accelerator: str) -> Literal["cuda", "mps", "cpu"]:
    """The kind of device that a config's accelerator (``auto``, ``cpu``, ``cuda`` or ``mps``) stands for here."""
    if accelerator in ("auto", "cuda") and torch.cuda.is_available():
        return "cuda"
    if accelerator in ("auto", "mps") and torch.backends.mps.is_available():
        return "mps"
    return "cpu"


def device_name(accelerator: str) -> str:
    """``cpu``, ``mps`` or the GPU's own name."""
    device = device_of(accelerator)
    return torch.cuda.get_device_name() if device == "cuda" else device
