"""Which precision to train in where the config leaves it open."""

from typing import Any

import torch

#: Narrower models spend their time outside of matrix products, where bfloat16 only adds conversions.
MIN_WIDTH = 128


def choose_precision(asked: Any, accelerator: str, d_model: int) -> tuple[Any, str]:
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
    if accelerator in ("auto", "cuda") and torch.cuda.is_available():
        native = torch.cuda.is_bf16_supported(including_emulation=False)
        device = "this GPU"
    elif accelerator in ("auto", "mps") and torch.backends.mps.is_available():
        return 32, "on MPS"
    else:
        native = torch.cpu._is_avx512_bf16_supported()
        device = "this CPU"
    if not native:
        return 32, f"{device} multiplies no bfloat16"
    if d_model < MIN_WIDTH:
        return 32, f"d_model {d_model} is too narrow for bfloat16 to pay"
    return "bf16-mixed", f"{device} multiplies bfloat16"
