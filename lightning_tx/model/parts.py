"""Which component stands where: the choices of a model, with its overrides, turned into instances."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from lightning_tx.components.positions.base import Positions
from lightning_tx.core.context import Absent, Sublayer
from lightning_tx.core.dims import Dims, Role, Site, Stack, watched
from lightning_tx.core.errors import ConfigError, naming
from lightning_tx.core.group import Choice
from lightning_tx.kernels.pattern import Pattern
from lightning_tx.model.config import ModelConfig
from lightning_tx.model.layers import share

#: As many positions of a pattern are looked at when it is built.
LONG_ENOUGH = 256
#: The sizes that a component may read, by the options of a model that decide them.
DECIDES = {"num_heads": {"num_heads", "head_dim"}, "head_dim": {"head_dim"}, "d_ff": {"d_ff"}}

#: Which override a choice comes from, by its index; None for the model's own.
Origin = int | None


class Parts:
    """The components of one model.

    Problems with the components met while building are collected, so that the model can report all of them at once;
    so is what is read, and what is not.

    Args:
        config: what was chosen.
        watch: whether to note which sizes the components read.

    Attributes:
        prefixes: for each stack, how many leading tokens of a causal stack are seen by tokens before them.
        problems: of components that do not fit.
    """

    def __init__(self, config: ModelConfig, *, watch: bool = False) -> None:
        self.problems: list[str] = []
        self.prefixes: defaultdict[Stack, int] = defaultdict(int)
        self._config, self._watch = config, watch
        self._patterns: dict[Origin, Any] = {}
        self._asked: set[tuple[str, Origin]] = set()
        self._read: set[tuple[str, Origin]] = set()
        self._sizes: set[str] = set()
        self._gave_sizes = False
        self._positions: dict[tuple[Stack, Origin], _StackPositions] = {}
        #: Where the positions of each layer come from, and of what a stack has once.
        self._placed: dict[tuple[Stack, int | None], Origin] = {}

    def positions(self, dims: Dims, stack: Stack, layer: int | None = None, *, causal: bool, depth: int) -> Positions:
        """The positions of a stack, or of one of its layers: one instance a stack for each choice.

        Those of a layer turn its queries and keys and add to its scores; what is added to the embedding is added once,
        by those of the stack.
        """
        origin = self._placed[stack, layer] = self._origin("positions", stack, layer)
        if (stack, origin) not in self._positions:
            make_norm = self.norm_maker(stack, None)
            site = Site(stack=stack, role="positions", causal=causal, layer=0, depth=depth, make_norm=make_norm)
            sizes = set[str]()
            made = self._create("positions", origin, dims, site, sizes=sizes)
            self._positions[stack, origin] = placed = _StackPositions(made, sizes)
            if placed.embed and layer is None:
                self._read_positions(stack, None)
            elif placed.embed:
                self.problems.append(
                    f"model.overrides[{origin}].positions: {self._choice('positions', origin).name!r} adds to the "
                    "embedding, once for all layers of a stack; leave out 'layers'."
                )
        return self._positions[stack, origin].positions

    def block(
        self,
        dims: Dims,
        stack: Stack,
        layer: int,
        roles: Sequence[Role],
        *,
        causal: bool,
        depth: int,
        vocab_size: int | None = None,
    ) -> Any:
        """One layer with the sublayers of the given roles; those whose choice is ``none`` are left out."""
        make_norm = self.norm_maker(stack, layer)
        site = Site(
            stack=stack,
            role="block",
            causal=causal,
            layer=layer,
            depth=depth,
            make_norm=make_norm,
            vocab_size=vocab_size,
        )
        sublayers: dict[str, Sublayer] = {}
        for role in roles:
            pattern = self._pattern(dims, stack, layer, causal) if role == "self_attention" else None
            group = "feed_forward" if role == "feed_forward" else "attention"
            origin = self._origin(group, stack, layer, role)
            sublayer = self._create(group, origin, dims, replace(site, role=role, pattern=pattern))
            self._read.add((group, origin))
            if isinstance(sublayer, Absent):
                continue
            sublayers[role] = sublayer
            if role == "self_attention" and sublayer.attends:
                self._read.add(("pattern", self._origin("pattern", stack, layer, role)))
                self._read_positions(stack, layer)
        origin = self._origin("block", stack, layer)
        self._read.add(("block", origin))
        return self._create("block", origin, dims, site, sublayers, make_norm)

    def share(self, layers: Sequence[nn.Module], stack: Stack, roles: Sequence[Role], number: int) -> None:
        """Let the layers of a stack repeat the parameters of its first ``number`` ones, in turn.

        Layers that share are made of the same components; patterns and positions, of which a layer has no parameters,
        may differ.
        """
        depth = len(layers)
        if depth % number:
            divisors = [n for n in range(1, depth + 1) if depth % n == 0]
            self.problems.append(
                f"model.share_layers: {number} does not divide the {depth} layers of the {stack}. "
                f"Choices: {', '.join(map(str, divisors))}."
            )
            return
        differing = [
            f"model.overrides: another {group} for layer {layer} of the {stack} than for layer {layer % number}, with "
            f"which it shares its parameters (model.share_layers: {number})."
            for layer in range(number, depth)
            for group in ("attention", "feed_forward", "norm", "block")
            if self._chosen(group, stack, layer, roles) != self._chosen(group, stack, layer % number, roles)
        ]
        self.problems += differing or share(layers, number)

    def norm_maker(self, stack: Stack, layer: int | None) -> Any:
        """A function from a width to the norm of a layer, or of the stack's end for ``layer=None``."""

        def make_norm(width: int) -> nn.Module:
            # Looked up when asked for one: where no norm is made, none is read and no override of it applies.
            origin = self._origin("norm", stack, layer)
            self._read.add(("norm", origin))
            return self._create("norm", origin, width)

        return make_norm

    def finish(self) -> None:
        """To be called when the model is assembled.

        Raises:
            ConfigError: with everything that was wrong: components that do not fit, overrides that apply nowhere.
        """
        for index, override in enumerate(self._config.overrides):
            place = {"stack": override.stack, "layers": override.layers, "site": override.site}
            where = ", ".join(f"{key}={value}" for key, value in place.items() if value is not None) or "everywhere"
            self.problems += [
                f"model.overrides[{index}]: {choice.name!r} for {where}: its {group} applies nowhere in this model."
                for group, choice in override.choices.items()
                if (group, index) not in self._asked
            ]
        if self.problems:
            raise ConfigError(self.problems)

    def reads(self, group: str, origin: Origin = None) -> bool:
        """Whether a choice makes a difference: the model's own of a group, or that of an override.

        Positions that only turn queries and keys or add a bias, and patterns, are read by attention alone.
        """
        return (group, origin) in self._read

    def unread_options(self) -> set[str]:
        """The options of the model that set a size which no component reads; known where sizes are watched."""
        if not self._gave_sizes:
            return set()  # a body that uses no parts reads its options itself
        return {option for option, sizes in DECIDES.items() if not sizes & self._sizes}

    def _pattern(self, dims: Dims, stack: Stack, layer: int, causal: bool) -> Pattern | None:
        """A layer's pattern; None where it restricts nothing."""
        origin = self._origin("pattern", stack, layer, "self_attention")
        if origin not in self._patterns:
            self._patterns[origin] = self._create("pattern", origin)
        pattern = self._patterns[origin]  # one for all layers, so that they share its mask
        if isinstance(pattern, _Failed):
            return None
        positions = torch.arange(min(dims.max_seq_len, LONG_ENOUGH), device="cpu")
        allowed = pattern(positions[:, None], positions)
        if causal:
            self.prefixes[stack] = max(self.prefixes[stack], pattern.prefix)
        if causal and pattern.prefix >= dims.max_seq_len:
            problem = (
                f"pattern: {self._choice('pattern', origin).name!r} has a prefix of {pattern.prefix} tokens, which "
            )
            problem += f"leaves none of model.max_seq_len = {dims.max_seq_len} to be predicted."
            self.problems += [problem] if problem not in self.problems else []
        if allowed is None:
            return pattern if causal and pattern.prefix else None
        blind = (~allowed.diagonal()).nonzero()[:, 0].tolist()
        if blind:
            self.problems.append(
                f"pattern: {self._choice('pattern', origin).name!r} does not let the token at position {blind[0]} "
                "look at itself, as every pattern must."
            )
        return pattern

    def _read_positions(self, stack: Stack, layer: int | None) -> None:
        """Note that a layer's attention, or the embedding for ``layer=None``, reads its positions."""
        if (stack, None) not in self._placed:
            return
        own = self._placed[stack, None]
        origin = self._placed.get((stack, layer), own)
        # Another choice for a layer that neither does nor undoes anything there makes no difference.
        if origin == own or any(self._positions[stack, each].in_attention for each in (own, origin)):
            self._read.add(("positions", origin))
            self._sizes |= self._positions[stack, origin].sizes

    def _origin(self, group: str, stack: Stack, layer: int | None, role: Role | None = None) -> Origin:
        """Where the choice of a group at one place comes from; ``layer=None`` is what a stack has once."""
        found: Origin = None
        for index, override in enumerate(self._config.overrides):
            if group in override.choices and override.applies(stack, layer, role):
                found = index
                self._asked.add((group, index))
        return found

    def _choice(self, group: str, origin: Origin) -> Choice[Any]:
        return self._config.parts[group] if origin is None else self._config.overrides[origin].choices[group]

    def _chosen(self, group: str, stack: Stack, layer: int, roles: Sequence[Role]) -> list[Choice[Any]]:
        """What is chosen in a layer of a group, at each of its sublayers."""
        sites: list[Role | None] = [None]
        if group in ("attention", "feed_forward"):
            sites = [role for role in roles if (role == "feed_forward") == (group == "feed_forward")]
        return [self._choice(group, self._origin(group, stack, layer, role)) for role in sites]

    def _create(self, group: str, origin: Origin, *given: Any, sizes: set[str] | None = None) -> Any:
        choice = self._choice(group, origin)
        if self._watch and given and isinstance(given[0], Dims):
            self._gave_sizes = True
            given = (watched(given[0], self._sizes if sizes is None else sizes), *given[1:])
        try:
            return choice.create(*given)
        except ConfigError as error:
            self.problems += naming(error.problems, **{group: choice.name})
            return _Failed()


@dataclass(frozen=True)
class _StackPositions:
    """Positions of a stack, and the sizes they read, which count if they are read."""

    positions: Any
    sizes: set[str]

    @property
    def embed(self) -> bool:
        """Whether they add to the embedding."""
        return self._overrides("embed")

    @property
    def in_attention(self) -> bool:
        """Whether they do something in an attention."""
        return self._overrides("rotate", "rotation", "bias")

    def _overrides(self, *hooks: str) -> bool:
        kind = type(self.positions)
        return issubclass(kind, Positions) and any(
            getattr(kind, hook) is not getattr(Positions, hook) for hook in hooks
        )


class _Failed(Sublayer):
    """Stands in for a component that could not be built, so that the problems of the others show too."""

    needs_final_norm = False

    def forward(self, *_: Any) -> None: ...
