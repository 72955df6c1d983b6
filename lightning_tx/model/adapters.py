"""Several named adapters on one base, and an adapter's file."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor, nn

from lightning_tx.components.adapter.base import ADAPTER, Adapter, exchange
from lightning_tx.components.adapter.extension import Extension
from lightning_tx.core.errors import ConfigError, choices
from lightning_tx.model.body import Body
from lightning_tx.model.weights import read_tensors, write_tensors

_CONFIG = "lightning_tx.adapter"


@dataclass(frozen=True)
class _Held:
    """One adapter: its config, what takes the place of which module, and the names of its own tensors."""

    config: dict[str, Any]
    adapter: Adapter
    modules: dict[str, nn.Module]
    names: frozenset[str]

    def state_dict(self) -> dict[str, Tensor]:
        """The adapter's own tensors, by their names in the model."""
        found = {
            f"{path}.{key}": value for path, each in self.modules.items() for key, value in each.state_dict().items()
        }
        return {name: found[name] for name in sorted(self.names)}


class Adapters:
    """Named adapters that share one frozen base, of which one or none is in use.

    Adapters take the place of modules of the base and share its parameters, so switching exchanges a few modules:
    nothing is loaded or copied, and a forward pass costs what that adapter costs. The base's own parameters are never
    written.

        adapters = Adapters(load_run(run_id).model)
        adapters.add("formal", {"name": "lora", "rank": 8})
        adapters.add("casual", {"name": "bottleneck", "size": 16})
        adapters.use("formal")  # the model's trainable parameters are now those of this adapter
        ...train...
        adapters.save("formal", Path("formal.safetensors"))
        adapters.merge()        # folded in, as fast as the base alone
        adapters.unmerge()      # and out again, bit for bit
        adapters.use(None)      # the base as it was

    Args:
        model: the base; is frozen with the first adapter that is added.

    Attributes:
        model: the base, with the adapter in use in place.
        active: the name of the adapter in use; None for none.
        merged: whether it is folded in.
    """

    def __init__(self, model: Body) -> None:
        self.model = model
        self.active: str | None = None
        self.merged = False
        self._held: dict[str, _Held] = {}
        self._base: dict[str, nn.Module] = {}

    @property
    def names(self) -> list[str]:
        """The adapters there are, in the order in which they came."""
        return list(self._held)

    def add(self, name: str, config: Mapping[str, Any], *, seed: int = 0) -> None:
        """Make an adapter and initialise it; the one in use stays in use.

        Args:
            name: what it is to be called.
            config: as of the group ``adapter``: ``name`` and options.
            seed: of its initialisation.

        Raises:
            ConfigError: the name is taken, or the config does not fit the base.
        """
        if name in self._held:
            raise ConfigError(f"adapter: there is a {name!r} already. There are: {choices(self._held)}.")
        adapter: Adapter = ADAPTER.create(config)
        active, merged = self.active, self.merged
        self.use(None)
        try:
            with torch.random.fork_rng(devices=[]):  # modules draw values when they are made
                modules = adapter.replacements(self.model)
            base = exchange(self.model, modules)
            try:
                self.model.initialise(seed, only=_new_parameters(modules))
                adapter.start_from_base(self.model)
                names = frozenset(adapter.state_dict(self.model))
            finally:
                exchange(self.model, base)
            self._held[name] = _Held(dict(config), adapter, modules, names)
        finally:
            self.use(active)
            if merged:
                self.merge()

    def use(self, name: str | None) -> None:
        """Put an adapter in place of the one in use; None for the base alone.

        Raises:
            ConfigError: there is no such adapter.
        """
        modules, own = ({}, frozenset()) if name is None else (self._get(name).modules, self._get(name).names)
        exchange(self.model, self._base)
        self._base = exchange(self.model, modules)
        self.active, self.merged = name, False
        for path, module in modules.items():
            like = next(chain(self._base[path].parameters(), self.model.parameters()))
            # The base may have moved while the adapter was out of use, and merging freezes.
            for key, parameter in module.named_parameters():
                if f"{path}.{key}" in own:
                    parameter.data = parameter.data.to(like)
                    parameter.requires_grad_()
            for each in module.modules():
                for key, buffer in each.added_buffers.items() if isinstance(each, Extension) else ():
                    each.register_buffer(key, buffer.to(like))

    def merge(self) -> None:
        """Fold the adapter in use into copies of the weights that it changes; costs their memory.

        Raises:
            ConfigError: none is in use, or it cannot be merged; the message says why.
        """
        if self.active is None:
            raise ConfigError(f"adapter: none is in use that could be merged. There are: {choices(self._held)}.")
        self._held[self.active].adapter.merge(self.model)
        self.merged = True

    def unmerge(self) -> None:
        """Take the adapter in use out of the weights again, exactly."""
        self.use(self.active)

    def state_dict(self, name: str) -> dict[str, Tensor]:
        """An adapter's own tensors, by their names in the model.

        Raises:
            ConfigError: there is no such adapter.
        """
        return self._get(name).state_dict()

    def save(self, name: str, path: Path) -> None:
        """Write an adapter, and nothing of the base, as safetensors with its config.

        Raises:
            ConfigError: there is no such adapter.
        """
        save_adapter(self.state_dict(name), self._get(name).config, path)

    def load(self, name: str, path: Path) -> None:
        """Add an adapter from what :meth:`save` or a run wrote; the one in use stays in use.

        Raises:
            ConfigError: the name is taken, the file holds no adapter, or one of another base.
        """
        config, tensors = read_adapter(path)
        self.add(name, config)
        own = self.state_dict(name)
        wrong = {key for key, value in tensors.items() if key not in own or own[key].shape != value.shape}
        wrong |= set(own) - set(tensors)
        if wrong:
            del self._held[name]
            raise ConfigError(
                f"'{path}' holds an adapter of another base: they differ in {', '.join(sorted(wrong)[:3])}."
            )
        with torch.no_grad():
            for key, value in tensors.items():
                own[key].copy_(value)

    def _get(self, name: str) -> _Held:
        if name not in self._held:
            raise ConfigError(f"adapter: there is no {name!r}. There are: {choices(self._held)}.")
        return self._held[name]


def save_adapter(tensors: Mapping[str, Tensor], config: Mapping[str, Any], path: Path) -> None:
    """Write an adapter's own tensors as safetensors, with its config in the file's metadata."""
    write_tensors(tensors, path, {"format": "pt", _CONFIG: json.dumps(config)})


def read_adapter(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """An adapter's config and tensors from what :func:`save_adapter` wrote.

    Raises:
        ConfigError: the file cannot be read, or holds no adapter.
    """
    tensors = read_tensors(path)
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata() or {}
    if _CONFIG not in metadata:
        raise ConfigError(f"'{path}' holds no adapter: it does not say of which config it is.")
    return json.loads(metadata[_CONFIG]), tensors


def _new_parameters(modules: Mapping[str, nn.Module]) -> set[nn.Parameter]:
    """What was added to the base, without trained copies of the base's own parameters."""
    added = [each for module in modules.values() for each in module.modules() if isinstance(each, Extension)]
    return {parameter for each in added for parameter in each.parameters() if parameter.requires_grad}
