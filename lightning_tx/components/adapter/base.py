"""The interface of the group ``adapter``."""

from collections.abc import Mapping, Sequence
from typing import ClassVar, Protocol, cast, runtime_checkable

from torch import Tensor, nn

from lightning_tx.components.adapter.extension import Extension
from lightning_tx.core.context import Sublayer
from lightning_tx.core.errors import ConfigError, choices
from lightning_tx.core.group import Group


@runtime_checkable
class Mergeable(Protocol):
    """A replacement that can be folded into a plain module."""

    def merged(self) -> nn.Module:
        """A module without the adapter that computes the same."""
        ...


class Stack(Protocol):
    """A stack of layers, as adapters see it."""

    layers: nn.ModuleList
    final_norm: nn.Module

    @property
    def sublayers(self) -> Mapping[str, Sublayer]:
        """The sublayers of its layers, by name within the stack; the last part of a name is the role."""
        ...

    @property
    def norms(self) -> Mapping[str, nn.Module]:
        """The norms outside of sublayers, by name within the stack."""
        ...


class Model(Protocol):
    """A model, as adapters see it beyond its modules; see :class:`lightning_tx.model.body.Body`."""

    d_model: int

    @property
    def stacks(self) -> Mapping[str, Stack]:
        """The stacks of layers by the names of their modules, the one next to the output last; may be none."""
        ...

    @property
    def head(self) -> nn.Module:
        """What turns states into predictions; it stands in the model under its ``name``."""
        ...


class Adapter:
    """Decides what is trained on a frozen model: modules that take the place of some of the base's.

    A component writes :meth:`wrap`; what it returns usually extends the base's modules
    (:class:`lightning_tx.components.adapter.extension.Extension`) and shares their parameters. The framework applies
    the adapter once, when the base is built; several on one base are held by
    :class:`lightning_tx.model.adapters.Adapters`.

    Attributes:
        starts_as_base: whether an adapted model computes at first exactly what the base does.
        unmergeable: why the adapter cannot be folded into the base, as a sentence that names it; None where it can.
    """

    starts_as_base: ClassVar[bool] = True
    unmergeable: ClassVar[str | None] = None

    def __init__(self) -> None: ...

    def wrap(self, model: nn.Module) -> dict[str, nn.Module]:
        """What takes the place of which module, by its name in the model; none below another. The model stays.

        Raises:
            ConfigError: the model has not what this adapter is for; every such problem is named.
        """
        raise NotImplementedError

    def replacements(self, model: nn.Module) -> dict[str, nn.Module]:
        """What :meth:`wrap` makes, with the base frozen and everything else trained.

        Raises:
            ConfigError: as :meth:`wrap`; or the model has an adapter.
        """
        if any(isinstance(module, Extension) for module in model.modules()):
            raise ConfigError("adapter: the model has an adapter, which cannot carry another; merge it first.")
        replacements = self.wrap(model)
        base = set(model.parameters())
        model.requires_grad_(False)
        for module in replacements.values():
            for parameter in module.parameters():
                parameter.requires_grad_(parameter not in base)
        return replacements

    def apply(self, model: nn.Module) -> nn.Module:
        """Freeze and extend the model in place; returns it. New parameters have declared their initialisation.

        Raises:
            ConfigError: as :meth:`replacements`.
        """
        exchange(model, self.replacements(model))
        return model

    def start_from_base(self, model: nn.Module) -> None:
        """Set what depends on the values of the base, in a model that it was applied to; nothing unless told otherwise.

        Called once all parameters have the values that training starts from: those that they are initialised with, or
        those of another run. Not called where the adapter's own values are loaded.
        """

    def check_mergeable(self) -> None:
        """Do nothing.

        Raises:
            ConfigError: the adapter cannot be folded into a base.
        """
        if self.unmergeable is not None:
            raise ConfigError(f"adapter.name: {self.unmergeable}")

    def merge(self, model: nn.Module) -> nn.Module:
        """Fold the adapter into the base in place, so that the model is as fast as without; returns it, frozen.

        Raises:
            ConfigError: the adapter cannot be merged; the message says why.
        """
        self.check_mergeable()
        exchange(
            model, {name: module.merged() for name, module in model.named_modules() if isinstance(module, Mergeable)}
        )
        return model.requires_grad_(False)

    def state_dict(self, model: nn.Module) -> dict[str, Tensor]:
        """The adapter's own tensors in a model that it was applied to: what is trained, by its names there.

        Buffers belong to it where they are a module's of which everything is trained, or what an extension added.
        """
        own = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
        for prefix, module in model.named_modules(remove_duplicate=False):
            trained = [parameter.requires_grad for parameter in module.parameters()]
            if trained and all(trained):
                own |= {name for name, _ in module.named_buffers(prefix)}
            if isinstance(module, Extension):
                own |= {f"{prefix}.{name}" for name in module.added_buffers}
        return {name: value for name, value in model.state_dict().items() if name in own}


def exchange(model: nn.Module, modules: Mapping[str, nn.Module]) -> dict[str, nn.Module]:
    """Put modules in the places that they are named by, in the model's mode; returns what stood there."""
    before = {name: model.get_submodule(name) for name in modules}
    for name, module in modules.items():
        parent, _, child = name.rpartition(".")
        model.get_submodule(parent).register_module(child, module.train(before[name].training))
    return before


def stacks_of(model: nn.Module) -> Mapping[str, Stack]:
    """The stacks of layers of a model, by the names of their modules.

    Raises:
        ConfigError: it has none.
    """
    stacks = cast(Model, model).stacks
    if not stacks:
        raise ConfigError("adapter.name: it changes layers of a stack, and this model has none.")
    return stacks


def sublayers(model: nn.Module) -> dict[str, Sublayer]:
    """The sublayers of a model's stacks, by name.

    Raises:
        ConfigError: the model has no stacks.
    """
    return {
        f"{name}.{own}": sublayer
        for name, stack in stacks_of(model).items()
        for own, sublayer in stack.sublayers.items()
    }


def at_sites(found: Mapping[str, Sublayer], sites: Sequence[str] | None) -> dict[str, Sublayer]:
    """Those of the given roles, the last parts of their names; all where ``sites`` is None.

    Raises:
        ConfigError: a role that has none.
    """
    roles = {name: name.rpartition(".")[2] for name in found}
    missing = [site for site in sites or () if site not in roles.values()]
    if missing:
        known = choices(set(roles.values()))
        raise ConfigError(
            [
                f"adapter.sites: {site!r} has nothing for this adapter in this model. Choices: {known}."
                for site in missing
            ]
        )
    return {name: module for name, module in found.items() if sites is None or roles[name] in sites}


def is_tied(model: nn.Module, weight: object) -> bool:
    """Whether a weight is that of an embedding as well."""
    return any(isinstance(module, nn.Embedding) and module.weight is weight for module in model.modules())


ADAPTER = Group("adapter", Adapter, __package__)
