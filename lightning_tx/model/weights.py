"""A model's weights on disk, as safetensors."""

import errno
import os
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from lightning_tx.core.errors import ConfigError
from lightning_tx.core.files import replaced
from lightning_tx.model.body import Body
from lightning_tx.model.heads.language_model import LanguageModelHead

_HEAD = "lightning_tx.head"


@dataclass(frozen=True)
class Weights:
    """The weights of a model, apart from it.

    Attributes:
        tensors: by their names in the model, a shared tensor once; on the device ``meta`` they are shapes alone.
        head: what the model's head is called.
        source: where they come from, as messages call it.
    """

    tensors: Mapping[str, Tensor]
    head: str
    source: str

    @classmethod
    def of(cls, model: Body, source: str) -> Self:
        """Those of a model, whose memory they share."""
        shared = _shared_names(model)
        tensors = {name: value for name, value in model.state_dict().items() if name not in shared}
        return cls(tensors, model.head.name, source)

    @classmethod
    def read(cls, path: Path, device: torch.device | str = "cpu") -> Self:
        """What :func:`save_weights` wrote; on the device ``meta`` nothing is read but names and shapes.

        Raises:
            ConfigError: there is no such file, or it is damaged.
        """
        try:
            with safe_open(path, framework="pt") as file:
                # Files of before this was written are those of language models.
                head = (file.metadata() or {}).get(_HEAD, LanguageModelHead.name)
                names = list(file.keys())
                if torch.device(device).type == "meta":
                    shapes = {name: file.get_slice(name).get_shape() for name in names}
                    tensors = {name: torch.empty(shape, device=device) for name, shape in shapes.items()}
                else:
                    tensors = {name: file.get_tensor(name).to(device) for name in names}
        except (OSError, SafetensorError) as error:
            raise ConfigError(f"'{path}' holds no weights that can be read: {error}.") from error
        return cls(tensors, head, f"'{path}'")


def save_weights(model: Body, path: Path) -> None:
    """Write the state of a model, a shared tensor once, and what its head is called.

    The file is replaced in one step.
    """
    weights = Weights.of(model, f"'{path}'")
    write_tensors(weights.tensors, path, {"format": "pt", _HEAD: weights.head})


def write_tensors(tensors: Mapping[str, Tensor], path: Path, metadata: dict[str, str] | None = None) -> None:
    """Write named tensors, none of which share memory; the file is replaced in one step.

    Raises:
        OSError: it cannot be written.
    """
    with replaced(path) as partial:
        try:
            save_file({name: value.contiguous() for name, value in tensors.items()}, str(partial), metadata)
        except SafetensorError as error:
            raise _os_error(error) from error


def _os_error(error: SafetensorError) -> OSError:
    """What the operating system said to safetensors, which puts it into words."""
    number = re.search(r"os error (\d+)", str(error))
    return OSError(int(number[1]), os.strerror(int(number[1]))) if number else OSError(errno.EIO, str(error))


def load_weights(model: nn.Module, path: Path) -> None:
    """Fill a model from what :func:`save_weights` wrote.

    Raises:
        ConfigError: the file is damaged, or as :func:`fill`.
    """
    fill(model, Weights.read(path))


def fill(model: nn.Module, weights: Weights, *, may_lack: Collection[str] = ()) -> None:
    """Fill a model in place with weights that are all its own; on the device ``meta`` this checks that they fit.

    Args:
        model: the model.
        weights: on its device, or where a copy can be made from.
        may_lack: names that stay as they are where the weights do not have them, such as those of a new adapter.

    Raises:
        ConfigError: they differ in a name or a shape, or hold two values of what the model has once.
    """
    own, tensors = model.state_dict(), weights.tensors
    wrong = {name for name, value in tensors.items() if name not in own or own[name].shape != value.shape}
    shared = _first_names(model)
    wrong |= set(own) - set(tensors) - set(shared) - set(may_lack)
    wrong |= {name for name, first in shared.items() if _differ(tensors.get(name), tensors.get(first))}
    if wrong:
        names = ", ".join(sorted(wrong)[:3])
        raise ConfigError(f"{weights.source} holds the weights of another model: they differ in {names}.")
    model.load_state_dict(tensors, strict=False)


def _differ(first: Tensor | None, second: Tensor | None) -> bool:
    """Whether there are two tensors and they are not the same, as far as can be seen."""
    if first is None or second is None or first is second or first.is_meta or second.is_meta:
        return False
    return not torch.equal(first, second)


def load_body(model: Body, weights: Weights, *, may_lack: Collection[str] = ()) -> bool:
    """Fill a body as :func:`fill` does, and its head if that is of the same kind and size.

    Args:
        model: is filled in place; another head stays as it is.
        weights: those of a whole model.
        may_lack: as of :func:`fill`.

    Returns:
        Whether the head was filled.

    Raises:
        ConfigError: the weights and the body differ in a name or a shape.
    """
    own, theirs = model.state_dict(), weights.tensors
    of_head = {key for key in theirs if key.startswith(f"{weights.head}.")}
    resized = any(key in own and own[key].shape != theirs[key].shape for key in of_head)
    if weights.head == model.head.name and not resized:
        fill(model, weights, may_lack=may_lack)
        return True
    lacking = {key for key in own if key.startswith(f"{model.head.name}.")}
    body = replace(weights, tensors={key: value for key, value in theirs.items() if key not in of_head})
    fill(model, body, may_lack={*may_lack, *lacking})
    return False


def load_mean(model: nn.Module, paths: Sequence[Path]) -> None:
    """Fill a model with the mean of what :func:`save_weights` wrote, taken in float32 at least.

    Source: Vaswani et al. 2017, arXiv:1706.03762, section 6.1.
    """
    sums: dict[str, Tensor] = {}
    for path in paths:
        for name, value in read_tensors(path).items():
            wide = value.to(torch.promote_types(value.dtype, torch.float32))
            sums[name] = sums[name] + wide if name in sums else wide
    means = {name: value / len(paths) for name, value in sums.items()}
    model.load_state_dict(means, strict=False)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a file, by name.

    Raises:
        ConfigError: there is no such file, or it is damaged.
    """
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise ConfigError(f"'{path}' holds no weights that can be read: {error}.") from error


def _shared_names(model: nn.Module) -> set[str]:
    """The further names of parameters that have several."""
    return set(_first_names(model))


def _first_names(model: nn.Module) -> dict[str, str]:
    """Of each further name of a parameter the one that it is kept under."""
    kept = {parameter: name for name, parameter in model.named_parameters()}
    every = model.named_parameters(remove_duplicate=False)
    return {name: kept[parameter] for name, parameter in every if kept[parameter] != name}
