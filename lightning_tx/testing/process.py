"""The settings of a process that a component has no business with."""

import os
import random
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

Settings = Mapping[str, Any]

GENERATORS = ("Python's generator", "NumPy's generator", "PyTorch's generator")


def settings() -> Settings:
    """What a plugin could change for everybody else, by what a message calls it."""
    return {
        "the default dtype (torch.set_default_dtype)": torch.get_default_dtype(),
        "the default device (torch.set_default_device)": torch.get_default_device(),
        "the number of threads (torch.set_num_threads)": torch.get_num_threads(),
        "whether gradients are taken (torch.set_grad_enabled)": torch.is_grad_enabled(),
        "deterministic algorithms": torch.are_deterministic_algorithms_enabled(),
        "the precision of float32 products": torch.get_float32_matmul_precision(),
        "anomaly detection": torch.is_anomaly_enabled(),
        "the environment": dict(os.environ),
        "the working folder": os.getcwd(),
        "the limit of recursion": sys.getrecursionlimit(),
        "Python's generator": random.getstate(),
        "NumPy's generator": _numpy_state(),
        "PyTorch's generator": torch.get_rng_state().numpy().tobytes(),
    }


def differing(before: Settings, after: Settings) -> list[str]:
    """What is not as it was; of the environment, which variables."""
    names = [name for name in before if before[name] != after[name]]
    old, new = before["the environment"], after["the environment"]
    variables = sorted(name for name in old.keys() | new.keys() if old.get(name) != new.get(name))
    return [f"{name} ({', '.join(variables[:3])})" if name == "the environment" else name for name in names]


def restore(before: Settings) -> None:
    """Put the settings back."""
    torch.set_default_dtype(before["the default dtype (torch.set_default_dtype)"])
    if torch.get_default_device() != before["the default device (torch.set_default_device)"]:
        torch.set_default_device(before["the default device (torch.set_default_device)"])
    if torch.get_num_threads() != before["the number of threads (torch.set_num_threads)"]:
        torch.set_num_threads(before["the number of threads (torch.set_num_threads)"])
    torch.set_grad_enabled(before["whether gradients are taken (torch.set_grad_enabled)"])
    torch.use_deterministic_algorithms(before["deterministic algorithms"])
    torch.set_float32_matmul_precision(before["the precision of float32 products"])
    torch.autograd.set_detect_anomaly(before["anomaly detection"])
    if dict(os.environ) != before["the environment"]:
        os.environ.clear()
        os.environ.update(before["the environment"])
    if os.getcwd() != before["the working folder"]:
        os.chdir(before["the working folder"])
    sys.setrecursionlimit(before["the limit of recursion"])
    random.setstate(before["Python's generator"])
    np.random.set_state(_numpy_tuple(before["NumPy's generator"]))
    torch.set_rng_state(torch.frombuffer(bytearray(before["PyTorch's generator"]), dtype=torch.uint8))


def _numpy_state() -> tuple[Any, ...]:
    name, keys, *rest = np.random.get_state()
    return (name, keys.tobytes(), *rest)  # pyright: ignore[reportAttributeAccessIssue]


def _numpy_tuple(state: tuple[Any, ...]) -> Any:
    name, keys, *rest = state
    return (name, np.frombuffer(keys, dtype=np.uint32), *rest)
