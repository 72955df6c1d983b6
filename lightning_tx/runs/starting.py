"""A run that starts from the weights of another: ``init_from``.

``init_from=RUN`` takes what the other run ended with. Where that was trained with an adapter, the run that starts says
what becomes of it: ``init_from={run: RUN, adapter: merge}`` folds it into the weights, which are then trained
themselves or carry an adapter of this run's; ``adapter: continue`` trains it further on its frozen base.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch

from lightning_tx.components.adapter.base import Adapter
from lightning_tx.components.adapter.none import NoAdapter
from lightning_tx.core.errors import ConfigError
from lightning_tx.core.group import Choice
from lightning_tx.core.schema import shown
from lightning_tx.model.body import Body
from lightning_tx.model.config import adapter_of
from lightning_tx.model.weights import Weights, load_body
from lightning_tx.runs.finding import find_run
from lightning_tx.runs.loading import load_from
from lightning_tx.runs.recorded import weights_of
from lightning_tx.runs.values import InitFrom
from lightning_tx.tokenizer.base import TOKENIZER, TokenizerTrainer
from lightning_tx.tracking.errors import TrackingError
from lightning_tx.tracking.store import Store


@dataclass(frozen=True)
class Start:
    """The run that a run starts from; by itself, one that was trained without an adapter.

    Attributes:
        run_id: its whole id.
        brings_adapter: whether its weights hold those of this run's adapter.
    """

    run_id: str
    brings_adapter: ClassVar[bool] = False

    @property
    def plain(self) -> Any:
        """What stands in the config for it."""
        return self.run_id

    def notes(self, own: Choice[Adapter]) -> list[str]:
        """What a user should know of it before a run trains that has an adapter of its own, one sentence each."""
        return []

    def weights(self, store: Store, plugins: Sequence[str], device: torch.device) -> Weights:
        """The weights to start from; on the device ``meta``, their shapes.

        Raises:
            ConfigError: the run has left none, or it needs a plugin file that is not listed.
        """
        return Weights.read(_weights_file(self.run_id, store), device)

    def tokenizer(self, store: Store) -> Choice[TokenizerTrainer]:
        """The tokenizer that it chose.

        Raises:
            ConfigError: that comes from a plugin file that is not listed.
        """
        try:
            return TOKENIZER.parse(store.config(self.run_id)["tokenizer"])
        except ConfigError as error:
            raise _about(self.run_id, error) from error


@dataclass(frozen=True)
class StartWithAdapter(Start):
    """A run to start from that was trained with an adapter.

    Attributes:
        adapter: that adapter.
        word: what the config says of it.
    """

    adapter: Choice[Adapter]
    word: ClassVar[str]

    @property
    def plain(self) -> Any:
        """What stands in the config for it."""
        return {"run": self.run_id, "adapter": self.word}

    def check(self, own: Choice[Adapter]) -> None:
        """Do nothing.

        Raises:
            ConfigError: this cannot be done in a run with an adapter of its own.
        """
        raise NotImplementedError


class Merged(StartWithAdapter):
    """The other run's adapter is folded into its weights."""

    word = "merge"

    def check(self, own: Choice[Adapter]) -> None:
        """Any adapter can start on what is merged; not every one can be merged."""
        try:
            self.adapter.create().check_mergeable()
        except ConfigError as error:
            why, name = error.problems[0].partition(": ")[2].removesuffix("."), self.adapter.name
            raise ConfigError(
                f"init_from: run {self.run_id!r} was trained with adapter={name}, and {why}. "
                f"It can be trained further: {_said(self.run_id, Continued)} with adapter={name} and its options."
            ) from error

    def notes(self, own: Choice[Adapter]) -> list[str]:
        """That it is merged, which need not have been said, and what is trained then."""
        then = "all of which are trained" if _is_none(own) else f"on which adapter={own.name} starts afresh"
        return [
            f"init_from: the adapter {self.adapter.name!r} of run {self.run_id} is merged into its weights, {then}."
        ]

    def weights(self, store: Store, plugins: Sequence[str], device: torch.device) -> Weights:
        """Those of the other run's model without its adapter, computing the same."""
        model = load_from(store, self.run_id, plugins=plugins, device=device).model
        self.adapter.create().merge(model)
        return Weights.of(model, f"run {self.run_id}, its adapter merged,")


class Continued(StartWithAdapter):
    """The other run's adapter is trained further, on the same frozen base."""

    word = "continue"
    brings_adapter = True

    def check(self, own: Choice[Adapter]) -> None:
        """The two adapters have to be one and the same."""
        names_differ = own.name != self.adapter.name
        theirs, ours = ({"name": each.name} if names_differ else each.options for each in (self.adapter, own))
        differing = [
            f"adapter.{key} is {shown(theirs[key])} there and {shown(ours[key])} here"
            for key in theirs
            if theirs[key] != ours[key]
        ]
        if differing:
            raise ConfigError(
                f"init_from: the adapter of run {self.run_id!r} is to be continued, but this run has another: "
                f"{', '.join(differing)}."
            )


#: What can become of an adapter, by the word for it.
_WAYS: dict[str, type[Merged | Continued]] = {way.word: way for way in (Merged, Continued)}


def find_start(asked: InitFrom, own: Choice[Adapter], store: Store) -> Start:
    """The run to start from, and what becomes of its adapter in a run with an adapter of its own.

    Without a word, it is merged where the new run has none.

    Raises:
        ConfigError: there is no such run, it has no weights, or it cannot be started from like this.
    """
    run_id = find_run(store, asked.run, "init_from").run_id
    _weights_file(run_id, store)
    try:
        theirs = adapter_of(store.config(run_id))
    except ConfigError as error:
        raise _about(run_id, error) from error
    if _is_none(theirs):
        if asked.adapter is not None:
            raise ConfigError(
                f"init_from.adapter: {asked.adapter!r}, but run {run_id!r} was trained without an adapter; "
                f"say init_from={run_id}."
            )
        return Start(run_id)
    if asked.adapter is None and not _is_none(own):
        raise ConfigError(
            f"init_from: run {run_id!r} was trained with adapter={theirs.name}. Say what becomes of that: "
            f"{_said(run_id, Merged)} folds it into the weights, on which adapter={own.name} starts afresh; "
            f"{_said(run_id, Continued)} trains it further."
        )
    start = _WAYS[asked.adapter or Merged.word](run_id, theirs)
    start.check(own)
    return start


def start_from(model: Body, adapter: Adapter, start: Start, store: Store, plugins: Sequence[str]) -> bool:
    """Fill a model with the weights of another run; an adapter that is new starts from these.

    So does its head where the other run's is of another kind or size, as after pre-training on another task. A model on
    the device ``meta`` is checked only.

    Args:
        model: the model.
        adapter: the adapter that was applied to it.
        start: the other run.
        store: where that is recorded.
        plugins: the plugin files that may be imported for it.

    Returns:
        Whether the head was filled too.

    Raises:
        ConfigError: its weights are those of another body or cannot be read, or a head that stays as initialised is not
            trained.
    """
    try:
        taken = load_body(model, start.weights(store, plugins, model.device), may_lack=adapter.state_dict(model))
    except ConfigError as error:
        raise _about(start.run_id, error) from error
    if not taken and not all(parameter.requires_grad for parameter in model.head.parameters()):
        raise ConfigError(
            f"init_from: {start.run_id!r} has no head {model.head.name!r} of this size: it would start fresh and stay "
            "so; train it by adapter=none, or by adapter=last_layer with adapter.head=true."
        )
    if not start.brings_adapter and model.device.type != "meta":
        adapter.start_from_base(model)
    return taken


def _weights_file(run_id: str, store: Store) -> Path:
    """The weights of a run.

    Raises:
        ConfigError: it has left none.
    """
    try:
        return weights_of(store, run_id)
    except (ConfigError, TrackingError) as error:
        raise ConfigError(f"init_from: {run_id!r}: {error}") from error


def _is_none(adapter: Choice[Adapter]) -> bool:
    return issubclass(adapter.component, NoAdapter)


def _said(run_id: str, way: type[StartWithAdapter]) -> str:
    return f"init_from={{run: {run_id}, adapter: {way.word}}}"


def _about(run_id: str, error: ConfigError) -> ConfigError:
    return ConfigError([f"init_from: {run_id!r}: {problem}" for problem in error.problems])
