"""A small model that holds the component in question, which most properties look at."""

import copy
import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from lightning_tx.components.attention.base import ATTENTION
from lightning_tx.components.pattern.base import PATTERN, Pattern
from lightning_tx.components.positions.base import POSITIONS, Positions
from lightning_tx.core.context import Absent, Memory, Output, Sublayer
from lightning_tx.groups import GROUPS
from lightning_tx.kernels.cache import Cache
from lightning_tx.model.body import MODEL, Body
from lightning_tx.model.build import build_model
from lightning_tx.model.generation import Generator
from lightning_tx.model.stack import LayerStack
from lightning_tx.testing.baseline import (
    BATCH,
    LENGTH,
    MAX_SEQ_LEN,
    SOURCE_LENGTH,
    VOCAB_SIZE,
    Config,
    shrunk,
    sized,
    with_dropout,
)
from lightning_tx.testing.kept import kept_by_forward
from lightning_tx.testing.results import NotApplicable
from lightning_tx.testing.values import GENTLE, random_tokens, randomise

CPU = torch.device("cpu")
NO_ADAPTER: Config = {"name": "none"}


@dataclass(frozen=True, eq=False)
class Subject:
    """A model in which components are checked. What takes time is built when first asked for, and shared.

    Attributes:
        title: the component in question, as ``group/label``, or the combination.
        topology: the model's config, at its own sizes.
        parts: the config of every other group.
        group: the group of the component in question; "combination" for several.
        device: where it is checked.
        sizes: sizes of the model that are not those of the baseline.
        length: tokens of a row (T).
    """

    title: str
    topology: Config
    parts: Mapping[str, Config]
    group: str
    device: torch.device = CPU
    sizes: Config = field(default_factory=dict)
    length: int = LENGTH

    @property
    def place(self) -> str:
        """All choices in one line."""
        chosen = {"model": {**self.topology, **self.sizes}, **self.parts}
        texts = [f"{group}={_brief(config)}" for group, config in chosen.items()]
        texts += [] if self.length == LENGTH else [f"on {self.length} tokens"]
        return " ".join(texts) + ("" if self.device.type == "cpu" else f" on {self.device}")

    @property
    def files(self) -> set[str]:
        """The source files of the components in question: the one's, or all of a combination."""
        chosen = ("model", *self.parts)
        groups = (self.group,) if self.group in chosen else chosen
        return {inspect.getfile(self.component(group)) for group in groups}

    @cached_property
    def hint(self) -> str:
        """What a forward pass leaves on the modules, which may be stale in the next; empty for nothing."""
        try:
            kept = kept_by_forward(self)
        except Exception:
            return ""  # that it cannot run is what the failure says
        return f"a forward pass keeps {', '.join(kept[:3])}, which may be stale in the next." if kept else ""

    def config(self, *, dropout: float = 0.0, **sizes: Any) -> dict[str, Any]:
        """The config of the whole model; ``dropout`` goes to every part that drops."""
        parts = {group: with_dropout(config, group, dropout) for group, config in self.parts.items()}
        parts["pattern"] = shrunk(parts["pattern"])
        sizes = {"max_seq_len": max(MAX_SEQ_LEN, self.length), **self.sizes, **sizes}
        return {"model": sized(self.topology, dropout=dropout, **sizes), **parts}

    def build(self, *, seed: int = 0, device: torch.device | None = None, **changes: Any) -> Any:
        """The model as a run would have it: initialised, in float32."""
        return self.build_of(self.config(**changes), seed=seed, device=device)

    def build_of(self, config: Mapping[str, Any], *, seed: int = 0, device: torch.device | None = None) -> Any:
        """The model of a whole config, initialised, in float32."""
        return build_model(config, vocab_size=VOCAB_SIZE, seed=seed, device=device or self.device)

    def component(self, group: str) -> type:
        """The class that was chosen of a group."""
        return GROUPS[group].get((self.topology if group == "model" else self.parts[group])["name"])

    def random_model(self, **changes: Any) -> Any:
        """A model in float64 and evaluation, every parameter random and none of them small."""
        return randomise(self.build(**changes).double()).eval()

    @cached_property
    def model(self) -> Any:
        """The model that most properties look at; to be left as it is."""
        return self.random_model()

    @property
    def can_be_built(self) -> bool:
        """Whether there is a model to look at; where not, the first property that asked for it has said why."""
        try:
            self.model  # noqa: B018
        except Exception:
            return False
        return True

    def copy(self) -> Any:
        """A model of the same values to do something to."""
        return copy.deepcopy(self.model)

    def gentle_copy(self) -> Any:
        """A model in training whose values are small enough that no softmax is saturated: everything has a gradient."""
        return randomise(self.copy(), std=GENTLE).train()

    @cached_property
    def ids(self) -> Tensor:
        """Token ids [B, T]."""
        return random_tokens(BATCH, self.length, vocab_size=VOCAB_SIZE, seed=0, device=self.device)

    @cached_property
    def source(self) -> Tensor:
        """Source ids [B, S] of models that take two inputs."""
        return random_tokens(BATCH, SOURCE_LENGTH, vocab_size=VOCAB_SIZE, seed=9, device=self.device)

    def run(
        self,
        ids_BT: Tensor,
        *,
        model: Any = None,
        source_BS: Tensor | None = None,
        source_token_mask_BS: Tensor | None = None,
        **rows: Tensor,
    ) -> Output:
        """A forward pass; a model with a source reads the first row's for all, unless told."""
        model = self.model if model is None else model
        if not self.has_source:
            return model(ids_BT, **rows)
        if source_BS is None:
            source_BS = self.source[:1].expand(ids_BT.shape[0], -1)
        return model(source_BS, ids_BT, source_token_mask_BS=source_token_mask_BS, **rows)

    @torch.no_grad()
    def states(self, ids_BT: Tensor, **arguments: Any) -> Tensor:
        """The states [B, T, D] of a forward pass, [B, D] of a body that pools them, without gradients."""
        return self.run(ids_BT, **arguments).x

    def memory(self, rows: Tensor, source_token_mask: Tensor | None = None) -> Memory | None:
        """The encoded sources of some rows; None for models without."""
        if not self.has_source:
            return None
        mask = None if source_token_mask is None else source_token_mask[rows]
        memory, _ = self.model.encode(self.source[rows], mask)
        return memory

    @property
    def all_rows(self) -> Tensor:
        """The indices of the rows of the inputs."""
        return torch.arange(BATCH, device=self.device)

    @property
    def body(self) -> type[Body]:
        """The class of the topology."""
        return MODEL.get(self.topology["name"])

    @property
    def has_source(self) -> bool:
        """Whether the model takes two inputs."""
        return self.body.num_inputs == 2

    @property
    def is_causal(self) -> bool:
        """Whether the model sees the past only."""
        return self.body.causal

    @property
    def has_attention(self) -> bool:
        """Whether tokens see each other at all."""
        return not issubclass(ATTENTION.get(self.parts["attention"]["name"]), Absent)

    @cached_property
    def pattern(self) -> Pattern:
        """The pattern as the model has it, made small."""
        return PATTERN.create(shrunk(self.parts["pattern"]))

    @property
    def is_full(self) -> bool:
        """Whether the pattern restricts nothing."""
        probe = torch.zeros(1, 1, dtype=torch.long)
        return self.pattern(probe, probe) is None and not self.pattern.prefix

    @property
    def feels_positions(self) -> bool:
        """Whether the positions are said to tell the order of tokens, and something reads them."""
        positions = POSITIONS.get(self.parts["positions"]["name"])
        return positions.tells_order and (self.attends or positions.embed is not Positions.embed)

    @property
    def attends(self) -> bool:
        """Whether tokens see each other by an attention's keys, which a pattern can hide."""
        return self.has_attention and ATTENTION.get(self.parts["attention"]["name"]).attends

    @property
    def shows_order(self) -> bool:
        """Whether a part other than the positions says that it tells the order of tokens."""
        return self._any_says("tells_order")

    @property
    def passes_on(self) -> bool:
        """Whether tokens see each other in another way than by an attention's keys."""
        return self.shows_order or self._any_says("sees_others")

    def _any_says(self, name: str) -> bool:
        others = (module for module in self.model.modules() if not isinstance(module, Positions))
        return any(getattr(module, name, False) for module in others)

    @property
    def last_stack(self) -> LayerStack:
        """The stack of layers next to the output."""
        return list(self.model.stacks.values())[-1]

    @property
    def positions(self) -> list[Positions]:
        """The positions of every stack."""
        return [module for module in self.model.modules() if isinstance(module, Positions)]

    def sublayers(self, model: nn.Module) -> dict[str, Sublayer]:
        """Attention and feed-forward modules, by name."""
        return {name: module for name, module in model.named_modules() if isinstance(module, Sublayer)}

    def needs_causal(self) -> None:
        """For properties of models that see the past only."""
        if not self.is_causal:
            raise NotApplicable("the model is not causal")

    def needs_documents(self) -> None:
        """For properties of models that take positions and documents."""
        if not self.body.packs_documents:
            raise NotApplicable("the model takes no positions and documents")

    def needs_token_states(self) -> None:
        """For properties of models that give a state a token."""
        if self.body.pooled:
            raise NotApplicable("the model gives one state an example")

    def needs_stacks(self) -> None:
        """For properties of models that are made of layers."""
        if not self.model.stacks:
            raise NotApplicable("the model has no stacks of layers")

    def needs_generator(self) -> None:
        """For properties of models that continue rows of tokens."""
        self.needs_causal()
        if not issubclass(self.body, Generator):
            raise NotApplicable("the model does not generate")

    def of_tokens(self, states: Tensor, mask: Tensor) -> Tensor:
        """The states of the tokens where a mask is True; a body that pools has none of its own for a token."""
        return states if self.body.pooled else states[mask]

    @torch.no_grad()
    def decoded(self, bounds: list[int], *, token_mask: Tensor | None = None, cache: Cache | None = None) -> Tensor:
        """The states of ``ids``, computed with a cache in the steps that ``bounds`` mark."""
        cache = Cache() if cache is None else cache
        memory = self.memory(self.all_rows)
        steps = []
        for start, end in pairwise(bounds):
            mask = None if token_mask is None else token_mask[:, start:end]
            step = self.model.advance(self.ids[:, start:end], token_mask_BT=mask, cache=cache, memory=memory)
            steps.append(step.x)
        return torch.cat(steps, dim=1)

    def last_steps(self, first: int) -> list[int]:
        """Where steps of one token end, from ``first`` on, or from the last dozen tokens on of a long row."""
        return list(range(max(first, self.length - LENGTH + 1), self.length + 1))

    @property
    def first_step(self) -> int:
        """How many tokens a cache must be given first: those that see each other whatever their order."""
        return max(1, self.pattern.prefix)


def _brief(config: Config) -> str:
    options = ", ".join(f"{key}={value}" for key, value in config.items() if key != "name")
    return f"{config['name']}({options})" if options else str(config["name"])
