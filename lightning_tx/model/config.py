"""A model's part of a config, parsed: which components it is made of, with which options, and where others stand."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from lightning_tx.components.adapter.base import ADAPTER, Adapter
from lightning_tx.components.attention.base import ATTENTION
from lightning_tx.components.block.base import BLOCK
from lightning_tx.components.feed_forward.base import FEED_FORWARD
from lightning_tx.components.norm.base import NORM
from lightning_tx.components.pattern.base import PATTERN
from lightning_tx.components.positions.base import POSITIONS
from lightning_tx.core.dims import Role, Stack
from lightning_tx.core.errors import ConfigError, choices, nearest
from lightning_tx.core.group import Choice, Group
from lightning_tx.model.body import MODEL, Body

#: The groups whose components a model is assembled from.
PARTS: Mapping[str, Group[Any]] = {
    group.name: group for group in (POSITIONS, ATTENTION, PATTERN, NORM, BLOCK, FEED_FORWARD)
}
#: Where in a layer an override may apply.
SITES = ("self_attention", "cross_attention", "feed_forward")
STACKS = ("encoder", "decoder")
#: What a config says that leaves the adapter out.
_NO_ADAPTER = {ADAPTER.name: {"name": "none"}}


@dataclass(frozen=True)
class Override:
    """Other components for some places of a model.

    Attributes:
        choices: by group.
        stack: in which stack; None for any.
        layers: an index, a list of indices, or a slice such as ``"1::2"``; None for all, and what a stack has once.
            Positions for some layers turn queries and keys and add to scores there, and add nothing to the embedding.
        site: at which sublayer; None for any.
    """

    choices: Mapping[str, Choice[Any]]
    stack: Stack | None = None
    layers: int | str | list[int] | None = None
    site: Role | None = None

    @classmethod
    def parse(cls, raw: Any, where: str) -> Self:
        """An override as it stands in ``model.overrides``, under the key ``where``.

        Raises:
            ConfigError: with every problem.
        """
        if not isinstance(raw, Mapping) or not set(raw) & set(PARTS):
            raise ConfigError(f"{where}: {raw!r} names no component group. Groups: {choices(PARTS)}.")
        known = {"layers", "stack", "site", *PARTS}
        problems = [
            f"{where}.{key}: unknown key.{nearest(str(key), known)} Keys: {choices(known)}."
            for key in raw
            if key not in known
        ]
        for key, options in (("stack", STACKS), ("site", SITES)):
            if key in raw and raw[key] not in options:
                problems.append(f"{where}.{key}: {raw[key]!r} is none of: {choices(options)}.")
        if "layers" in raw and not _is_layers(raw["layers"]):
            problems.append(
                f"{where}.layers: {raw['layers']!r} is neither an index, a list of indices nor a slice as '1::2'."
            )
        chosen: dict[str, Choice[Any]] = {}
        for group in PARTS.keys() & raw.keys():
            try:
                chosen[group] = PARTS[group].parse(raw[group], f"{where}.{group}")
            except ConfigError as error:
                problems += error.problems
        if problems:
            raise ConfigError(problems)
        return cls(chosen, raw.get("stack"), raw.get("layers"), raw.get("site"))

    def applies(self, stack: Stack, layer: int | None, role: Role | None) -> bool:
        """Whether it holds at a place; ``layer=None`` is what a stack has once."""
        if self.stack not in (None, stack) or self.site not in (None, role):
            return False
        return self.layers is None or (layer is not None and _selects(self.layers, layer))


@dataclass(frozen=True)
class ModelConfig:
    """What a model is made of.

    Attributes:
        model: the body.
        parts: the component of each group of :data:`PARTS`.
        overrides: other components for some places; later ones win.
        adapter: what is trained on a frozen base.
    """

    model: Choice[Body]
    parts: Mapping[str, Choice[Any]]
    overrides: tuple[Override, ...]
    adapter: Choice[Adapter]

    @classmethod
    def parse(cls, raw: Mapping[str, Any]) -> Self:
        """The model's part of a config.

        Args:
            raw: ``model``, the groups of :data:`PARTS` and, if there is one, ``adapter``, each with ``name`` and
                options; other keys are passed over.

        Raises:
            ConfigError: with every problem that shows without building the model.
        """
        problems: list[str] = []
        chosen: dict[str, Choice[Any]] = {}
        if "model" not in raw:
            raise ConfigError(f"model: missing. Choices: {choices(MODEL.names())}.")
        with_adapter = {**_NO_ADAPTER, **raw}
        for group in (MODEL, *PARTS.values(), ADAPTER):
            if group.name not in with_adapter:
                problems.append(f"{group.name}: missing. Choices: {choices(group.names())}.")
                continue
            try:
                chosen[group.name] = group.parse(with_adapter[group.name])
            except ConfigError as error:
                problems += error.problems
        overrides: list[Override] = []
        model = raw["model"]
        listed = model.get("overrides", []) if isinstance(model, Mapping) else []
        for index, override in enumerate(listed if isinstance(listed, list) else []):
            try:
                overrides.append(Override.parse(override, f"model.overrides[{index}]"))
            except ConfigError as error:
                problems += error.problems
        if problems:
            raise ConfigError(problems)
        parts = {name: chosen[name] for name in PARTS}
        return cls(chosen["model"], parts, tuple(overrides), chosen["adapter"])


def adapter_of(raw: Mapping[str, Any]) -> Choice[Adapter]:
    """The adapter of a config by itself, as :meth:`ModelConfig.parse` reads it.

    Raises:
        ConfigError: with every problem of it.
    """
    return ADAPTER.parse({**_NO_ADAPTER, **raw}[ADAPTER.name])


def _selects(layers: int | str | list[int], layer: int) -> bool:
    if isinstance(layers, list):
        return layer in layers
    if isinstance(layers, str) and ":" in layers:
        bounds = (int(part) if part else None for part in layers.split(":"))
        return layer in range(sys.maxsize)[slice(*bounds)]
    return layer == int(layers)


def _is_layers(value: Any) -> bool:
    if isinstance(value, str):
        parts = value.split(":")
        step_is_zero = len(parts) == 3 and parts[2].isdecimal() and int(parts[2]) == 0
        numbers = all(part == "" or part.isdecimal() for part in parts)
        return 1 <= len(parts) <= 3 and value != "" and numbers and not step_is_zero
    indices = value if isinstance(value, list) else [value]
    return all(isinstance(index, int) and not isinstance(index, bool) and index >= 0 for index in indices)
