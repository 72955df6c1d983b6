"""Which component stands where: the group configs of a model, with its overrides, turned into instances."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch

from lightning_tx.components.positions.base import Positions
from lightning_tx.core import registry
from lightning_tx.core.context import Absent, Sublayer
from lightning_tx.core.dims import Dims, Role, Site, Stack
from lightning_tx.core.errors import ConfigError, choices, naming, nearest
from lightning_tx.kernels.pattern import Pattern

#: The groups a model is assembled from.
GROUPS = ("positions", "attention", "pattern", "norm", "block", "feed_forward")
#: Where in a layer an override may apply.
SITES = ("self_attention", "cross_attention", "feed_forward")
STACKS = ("encoder", "decoder")
#: As many positions of a pattern are looked at when it is built.
LONG_ENOUGH = 256

Config = Mapping[str, Any]


class Parts:
    """The components of one model, chosen by config.

    An override narrows where it applies by ``stack``, ``layers`` (an index, a list of indices, or a slice such as
    ``"1::2"``) and ``site``, and names a component for one or more groups:

        [{"layers": "1::2", "feed_forward": {"name": "moe"}}, {"site": "cross_attention", "attention": {...}}]

    Later overrides win. ``prefixes`` tells for each stack how many leading tokens of a causal stack are seen by tokens
    before them. Problems with the components met while building are collected in ``problems``, so that the
    model can report all of them at once.
    """

    def __init__(self, configs: Mapping[str, Config], overrides: Sequence[Config] = ()) -> None:
        self.configs = configs
        self.overrides = overrides
        self.problems: list[str] = []
        self._patterns: dict[int, Any] = {}
        self.prefixes: dict[Stack, int] = {}
        self._used: set[tuple[int, str]] = set()

    def positions(self, dims: Dims, stack: Stack, *, causal: bool, depth: int) -> Positions:
        """The positions of a stack."""
        site = Site(
            stack=stack, role="positions", causal=causal, layer=0, depth=depth, make_norm=self.norm_maker(stack, None)
        )
        return self._create("positions", self.config("positions", stack, None), dims, site)

    def block(self, dims: Dims, stack: Stack, layer: int, roles: Sequence[Role], *, causal: bool, depth: int) -> Any:
        """One layer with the sublayers of the given roles; those whose choice is ``none`` are left out."""
        make_norm = self.norm_maker(stack, layer)
        site = Site(stack=stack, role="block", causal=causal, layer=layer, depth=depth, make_norm=make_norm)
        sublayers: dict[str, Sublayer] = {}
        for role in roles:
            pattern = None
            if role == "self_attention":
                pattern = self._pattern(dims, stack, layer, causal)
                ahead = 0 if pattern is None or not causal else pattern.prefix
                self.prefixes[stack] = max(self.prefixes.get(stack, 0), ahead)
            group = "feed_forward" if role == "feed_forward" else "attention"
            config = self.config(group, stack, layer, role)
            sublayer = self._create(group, config, dims, replace(site, role=role, pattern=pattern))
            if not isinstance(sublayer, Absent):
                sublayers[role] = sublayer
        return self._create("block", self.config("block", stack, layer), dims, site, sublayers, make_norm)

    def _pattern(self, dims: Dims, stack: Stack, layer: int, causal: bool) -> Pattern | None:
        """A layer's pattern; None where it restricts nothing."""
        config = self.config("pattern", stack, layer, "self_attention")
        if id(config) not in self._patterns:
            self._patterns[id(config)] = self._create("pattern", config)
        pattern = self._patterns[id(config)]  # one for all layers, so that they share its mask
        if isinstance(pattern, _Failed):
            return None
        positions = torch.arange(min(dims.max_seq_len, LONG_ENOUGH), device="cpu")
        allowed = pattern(positions[:, None], positions)
        if allowed is None:
            return pattern if causal and pattern.prefix else None
        blind = (~allowed.diagonal()).nonzero()[:, 0].tolist()
        if blind:
            self.problems.append(
                f"pattern: {config['name']!r} does not let the token at position {blind[0]} look at itself, "
                "as every pattern must."
            )
        return pattern

    def norm_maker(self, stack: Stack, layer: int | None) -> Any:
        """A function from a width to the norm of a layer, or of the stack's end for ``layer=None``."""
        # Looked up when asked for one: where no norm is made, an override of it applies nowhere.
        return lambda width: self._create("norm", self.config("norm", stack, layer), width)

    def config(self, group: str, stack: Stack, layer: int | None, role: Role | None = None) -> Config:
        """The config of a group at one place; ``layer=None`` is what a stack has once."""
        config = self.configs[group]
        for index, override in enumerate(self.overrides):
            if group in override and _applies(override, stack, layer, role):
                self._used.add((index, group))
                config = override[group]
        return config

    def finish(self) -> None:
        """To be called when the model is assembled.

        Raises:
            ConfigError: with everything that was wrong: components that do not fit, overrides that apply nowhere.
        """
        for index, override in enumerate(self.overrides):
            self.problems += [
                f"model.overrides[{index}]: {dict(override)}: its {group} applies nowhere in this model."
                for group in GROUPS
                if group in override and (index, group) not in self._used
            ]
        if self.problems:
            raise ConfigError(self.problems)

    def _create(self, group: str, config: Config, *framework: Any) -> Any:
        try:
            return registry.create(group, config, *framework)
        except ConfigError as error:
            self.problems += naming(error.problems, **{group: config["name"]})
            return _Failed()


class _Failed(Sublayer):
    """Stands in for a component that could not be built, so that the problems of the others show too."""

    needs_final_norm = False

    def forward(self, *_: Any) -> None: ...


def check_parts(configs: Mapping[str, Config], overrides: Sequence[Any]) -> list[str]:
    """Every problem of the group configs and the overrides that shows without building the model."""
    problems: list[str] = []
    for group in GROUPS:
        if group not in configs:
            problems.append(f"{group}: missing. Choices: {choices(registry.names(group))}.")
        else:
            problems += registry.check(group, configs[group])
    known = {"layers", "stack", "site", *GROUPS}
    for index, override in enumerate(overrides):
        where = f"model.overrides[{index}]"
        if not isinstance(override, Mapping) or not set(override) & set(GROUPS):
            problems.append(f"{where}: {override!r} names no component group. Groups: {choices(GROUPS)}.")
            continue
        for key in set(override) - known:
            problems.append(f"{where}.{key}: unknown key.{nearest(str(key), known)} Keys: {choices(known)}.")
        for key, options in (("stack", STACKS), ("site", SITES)):
            if key in override and override[key] not in options:
                problems.append(f"{where}.{key}: {override[key]!r} is none of: {choices(options)}.")
        if "layers" in override and not _is_layers(override["layers"]):
            problems.append(
                f"{where}.layers: {override['layers']!r} is neither an index, a list of indices nor a slice as '1::2'."
            )
        for group in set(override) & set(GROUPS):
            config = override[group]
            if isinstance(config, Mapping):
                problems += registry.check(group, config, f"{where}.{group}")
            else:
                problems.append(f"{where}.{group}: {config!r} is not a mapping with a 'name'.")
    return problems


def _applies(override: Config, stack: Stack, layer: int | None, role: Role | None) -> bool:
    if override.get("stack", stack) != stack or override.get("site", role) != role:
        return False
    return "layers" not in override or (layer is not None and _selects(override["layers"], layer))


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
