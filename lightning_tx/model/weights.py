"""A model's weights on disk, as safetensors."""

import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from lightning_tx.core.errors import ConfigError
from lightning_tx.model.body import Body
from lightning_tx.model.heads.language_model import LanguageModelHead

_HEAD = "lightning_tx.head"


def save_weights(model: Body, path: Path) -> None:
    """Write the state of a model, a shared tensor once, and what its head is called.

    The file is replaced in one step.
    """
    shared = _shared_names(model)
    tensors = {name: value for name, value in model.state_dict().items() if name not in shared}
    write_tensors(tensors, path, {"format": "pt", _HEAD: model.head.name})


def write_tensors(tensors: Mapping[str, Tensor], path: Path, metadata: dict[str, str] | None = None) -> None:
    """Write named tensors, none of which share memory; the file is replaced in one step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.partial")
    save_file({name: value.contiguous() for name, value in tensors.items()}, str(partial), metadata)
    os.replace(partial, path)


def load_weights(model: nn.Module, path: Path, *, may_lack: Collection[str] = ()) -> None:
    """Fill a model from what :func:`save_weights` wrote.

    Args:
        model: is filled in place.
        path: the file.
        may_lack: names that stay as they are where the file does not have them, such as those of a new adapter.

    Raises:
        ConfigError: the file is damaged, or it and the model differ in a name or a shape.
    """
    _fill(model, read_tensors(path), path, may_lack)


def load_body(model: Body, path: Path, *, may_lack: Collection[str] = ()) -> bool:
    """Fill a body from what :func:`save_weights` wrote, and its head if that is of the same kind and size.

    Args:
        model: is filled in place; another head stays as it is.
        path: the file.
        may_lack: as of :func:`load_weights`.

    Returns:
        Whether the head was filled.

    Raises:
        ConfigError: the file is damaged, or it and the body differ in a name or a shape.
    """
    weights = read_tensors(path)
    with_head, taken, lacking = _of_body(model, path, {name: value.shape for name, value in weights.items()})
    _fill(model, {name: weights[name] for name in taken}, path, {*may_lack, *lacking})
    return with_head


def check_body(model: Body, path: Path, *, may_lack: Collection[str] = ()) -> bool:
    """What :func:`load_body` would do, of a model that may have shapes alone; nothing is read but names and shapes.

    Raises:
        ConfigError: as :func:`load_body`.
    """
    try:
        with safe_open(path, framework="pt") as file:
            shapes = {name: torch.Size(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise ConfigError(f"'{path}' holds no weights that can be read: {error}.") from error
    with_head, taken, lacking = _of_body(model, path, shapes)
    _check(model, {name: shapes[name] for name in taken}, path, {*may_lack, *lacking})
    return with_head


def _of_body(model: Body, path: Path, shapes: Mapping[str, torch.Size]) -> tuple[bool, set[str], set[str]]:
    """Whether the head of a file is taken, the names of what is taken, and those that the model keeps as they are."""
    own = model.state_dict()
    with safe_open(path, framework="pt") as file:
        # Files of before this was written are those of language models.
        name = (file.metadata() or {}).get(_HEAD, LanguageModelHead.name)
    theirs = {key for key in shapes if key.startswith(f"{name}.")}
    resized = any(key in own and own[key].shape != shapes[key] for key in theirs)
    if name == model.head.name and not resized:
        return True, set(shapes), set()
    return False, set(shapes) - theirs, {key for key in own if key.startswith(f"{model.head.name}.")}


def _fill(model: nn.Module, weights: Mapping[str, Tensor], path: Path, may_lack: Collection[str]) -> None:
    _check(model, {name: value.shape for name, value in weights.items()}, path, may_lack)
    model.load_state_dict(weights, strict=False)


def _check(model: nn.Module, shapes: Mapping[str, torch.Size], path: Path, may_lack: Collection[str]) -> None:
    own = model.state_dict()
    wrong = {name for name, shape in shapes.items() if name not in own or own[name].shape != shape}
    wrong |= set(own) - set(shapes) - _shared_names(model) - set(may_lack)
    if wrong:
        names = ", ".join(sorted(wrong)[:3])
        raise ConfigError(f"'{path}' holds the weights of another model: they differ in {names}.")


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
    kept = {name for name, _ in model.named_parameters()}
    return {name for name, _ in model.named_parameters(remove_duplicate=False)} - kept
