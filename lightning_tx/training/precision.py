"""Which precision to train in where the config leaves it open."""

from collections.abc import Iterable
from typing import Any, Literal

import torch

from lightning_tx.training.device import device_of

Precision = Literal[32, "bf16-mixed"]

#: Narrower models spend their time outside of matrix products, where bfloat16 only adds conversions.
MIN_WIDTH = 128


def choose_precision(asked: Any, accelerator: str, d_model: int) -> tuple[Precision, str]:
    """The precision for Lightning, and the reason in words.

    Args:
        asked: ``auto``, ``32`` or ``bf16-mixed``.
        accelerator: what to train on, as the config says.
        d_model: width of the model.

    Returns:
        ``32`` or ``"bf16-mixed"``, and why.
    """
    if asked != "auto":
        return asked, "as asked for"
    obstacle = without_bfloat16(accelerator)
    if obstacle:
        return 32, obstacle
    if d_model < MIN_WIDTH:
        return 32, f"d_model {d_model} is too narrow for bfloat16 to pay"
    return "bf16-mixed", f"{_this(accelerator)} multiplies bfloat16"


def choose_common_precision(models: Iterable[tuple[str, int]]) -> tuple[Precision, str]:
    """What ``auto`` stands for in all runs of a study: bfloat16 only where it would be chosen for each of them.

    Args:
        models: accelerator and width of each run's model; one at least.

    Returns:
        As :func:`choose_precision`.
    """
    choices = [choose_precision("auto", accelerator, d_model) for accelerator, d_model in models]
    return next((choice for choice in choices if choice[0] == 32), choices[0])


def without_bfloat16(accelerator: str) -> str:
    """Why this machine does not multiply bfloat16 natively; empty where it does."""
    device = device_of(accelerator)
    if device == "mps":
        return "on MPS"
    if device == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        native = torch.cpu._is_avx512_bf16_supported()
    return "" if native else f"{_this(accelerator)} multiplies no bfloat16"


def _this(accelerator: str) -> str:
    return "this GPU" if device_of(accelerator) == "cuda" else "this CPU"
