"""Values for parameters and inputs that nothing cancels out in, and comparisons that say what they saw."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lightning_tx.testing.results import Violation

#: Standard deviation of values with which no softmax is saturated, whatever the parts; every influence is felt.
GENTLE = 0.2


def randomise(module: nn.Module, std: float = 0.3, seed: int = 1) -> nn.Module:
    """Random values for every parameter, in place: around 1 for gains, and nothing small that stands alone.

    Parameters that start at zero hide what they do: a ReZero block and a LoRA are the identity at the start.

    Args:
        module: whose parameters are filled.
        std: standard deviation of the values.
        seed: of the values.

    Returns:
        The module.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            value = std * torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            if parameter.numel() == 1:
                value = value * 0.1 + 0.7
            elif parameter.ndim == 1 and name.endswith("weight"):
                value = value + 1.0
            parameter.copy_(value)
    return module


def tensors_of(model: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers, those that are not saved included."""
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}


def generator_states() -> dict[str, Any]:
    """Where the generators of Python, NumPy and PyTorch stand."""
    numpy: Any = np.random.get_state()
    states = {
        "Python": np.array(random.getstate()[1]),
        "NumPy": np.append(numpy[1], numpy[2]),
        "PyTorch": torch.get_rng_state().numpy(),
    }
    if torch.cuda.is_available():
        states["CUDA"] = torch.cuda.get_rng_state().numpy()
    return states


def random_tokens(*shape: int, vocab_size: int, seed: int, device: torch.device) -> Tensor:
    """Token ids of a shape."""
    return torch.randint(0, vocab_size, shape, generator=torch.Generator().manual_seed(seed)).to(device)


def gap(found: Tensor, expected: Tensor) -> float:
    """The largest difference, relative to the largest expected value where that is above 1."""
    if found.numel() == 0:
        return 0.0
    return ((found - expected).abs().max() / expected.abs().max().clamp(min=1)).item()


def require_close(found: Tensor, expected: Tensor, tolerance: float, what: str) -> None:
    """Raise a violation that says where two tensors differ.

    Args:
        found: what was computed.
        expected: of the same shape.
        tolerance: the largest :func:`gap` allowed; a value that is not finite never is.
        what: names the comparison, as "the state of row 1 alone and in a batch".
    """
    if found.shape != expected.shape:
        raise Violation(f"{what}: shapes {list(found.shape)} and {list(expected.shape)}.")
    if not found.isfinite().all():
        raise Violation(f"{what}: values that are not finite, {_index(~found.isfinite())}.")
    seen = gap(found, expected)
    if not seen <= tolerance:
        place = _index((found - expected).abs() == (found - expected).abs().max())
        raise Violation(f"{what} differ by {seen:.2g} (allowed {tolerance:g}), most at {place}.")


def typical_gap(found: Tensor, expected: Tensor) -> float:
    """The median over tokens of the relative error of a state, for comparisons of low precision.

    A router that decides otherwise for one token changes that token a lot, and few others.
    """
    error = (found.double() - expected).square().mean(dim=-1).sqrt()
    size = expected.square().mean(dim=-1).sqrt().clamp(min=1e-6)
    return (error / size).median().item()


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """A known state of the global generator, put back afterwards."""
    devices = list(range(torch.cuda.device_count()))
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        yield


def _index(where: Tensor) -> str:
    first = where.nonzero()[0].tolist() if where.any() else []
    return f"index {first}"
