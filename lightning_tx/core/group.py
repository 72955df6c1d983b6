"""A group: the components among which one is chosen, and how a config becomes an instance of one.

A group is an object that stands beside the base class of its components, in the package that holds them:

    POSITIONS = Group("positions", Positions, __package__, gives=("dims", "site"))

A component is a class registered in a group under a name. The parameters of its constructor that come before the ``*``
are filled in by the framework; those after it are exactly the keys of its yaml, and their annotations are the only
schema there is:

    @POSITIONS.register("rope")
    class Rope(Positions):
        def __init__(self, dims: Dims, site: Site, *, base: Annotated[float, Field(gt=0)] = 10_000.0) -> None: ...

Options that several components share are the fields of one ``TypedDict``, taken as ``**options: Unpack[...]``; they are
keys of the yaml like the others. :mod:`lightning_tx.core.constructor` has the rule.
"""

import importlib
import pkgutil
import sys
from collections.abc import Callable, Iterable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from functools import cache
from importlib.metadata import entry_points
from typing import Any, Generic, TypeVar

from lightning_tx.core.constructor import constructor_problem
from lightning_tx.core.errors import ConfigError, PluginError, choices, nearest
from lightning_tx.core.schema import checked, options_of, schema, shown

PLUGIN_ENTRY_POINT = "lightning_tx.plugins"

#: What all components of a group are, and any class.
C = TypeVar("C")
T = TypeVar("T", bound=type)


class Group(Generic[C]):
    """The components of one kind, by name.

    Args:
        name: the config folder, the key on the command line and the package are called so.
        base: what every component derives from.
        package: its modules register the built-in components; they are imported when somebody asks for a name.
        gives: the positional parameters of a constructor, which the framework fills in; None where they vary.
    """

    def __init__(self, name: str, base: type[C], package: str | None, gives: tuple[str, ...] | None = ()) -> None:
        self.name, self.base, self.gives = name, base, gives
        self._package = str(package)
        self._classes: dict[str, type[C]] = {}

    def register(self, name: str) -> Callable[[T], T]:
        """Class decorator that makes a component selectable as ``group=name``.

        Raises:
            PluginError: the name is taken by another class, the constructor takes something else by position than the
                framework gives, or options that are not annotated keyword-only parameters, or the class does not
                derive from the group's base.
        """

        def add(cls: T) -> T:
            other = self._classes.get(name)
            if other is not None and _origin(other) != _origin(cls):
                raise PluginError(f"{self.name}/{name} is claimed twice: by {_where(other)} and by {_where(cls)}.")
            problem = constructor_problem(cls, self.gives)
            if problem is not None:
                raise PluginError(f"{self.name}/{name} ({_where(cls)}){problem}")
            if not issubclass(cls, self.base):
                base = f"{self.base.__name__}; derive it from {_where(self.base)}"
                raise PluginError(f"{self.name}/{name} ({_where(cls)}) is no {base}.")
            self._classes[name] = cls
            return cls

        return add

    def names(self) -> list[str]:
        """The registered names, sorted; built-in components and plugins alike.

        Raises:
            PluginError: an installed plugin does not import.
        """
        _import_modules(self._package)
        load_plugins()
        return sorted(self._classes)

    def get(self, name: str) -> type[C]:
        """The class registered under a name.

        Raises:
            ConfigError: no such name; the message lists the choices.
        """
        known = self.names()
        if isinstance(name, str) and name in self._classes:  # in a config it may be a list or a mapping
            return self._classes[name]
        near = nearest(str(name), known)
        raise ConfigError(f"{self.name}.name: there is no {self.name} {shown(name)}.{near} Choices: {choices(known)}.")

    def parse(self, config: Any, where: str | None = None) -> "Choice[C]":
        """The component that a config names, its options checked and completed by their defaults.

        Args:
            config: ``name`` and the options, plain values.
            where: the key under which the config stands; the group itself unless told.

        Raises:
            ConfigError: with every problem of the config.
        """
        where = where or self.name
        if not isinstance(config, Mapping):
            raise ConfigError(f"{where}: {shown(config)} is not a mapping with a 'name'.")
        if "name" not in config:
            raise ConfigError(f"{where}.name: missing. Choices: {choices(self.names())}.")
        try:
            component = self.get(config["name"])
        except ConfigError as error:
            raise ConfigError(error.problems[0].replace(self.name, where, 1)) from None
        values, known = {key: config[key] for key in config if key != "name"}, schema(component)
        if not values and not known.model_fields:
            return Choice(self, config["name"], component, {})
        model, problems = checked(known, values, where)
        if model is None:
            raise ConfigError(problems)
        options = {name: getattr(model, name) for name in known.model_fields}
        return Choice(self, config["name"], component, options)

    def problems(self, config: Any, where: str | None = None) -> list[str]:
        """Every problem of a config, as sentences; an empty list when :meth:`parse` takes it."""
        try:
            self.parse(config, where)
        except ConfigError as error:
            return error.problems
        return []

    def create(self, config: Mapping[str, Any], *given: Any) -> C:
        """Build the component that a config names: ``given`` fills the positional parameters, the config the rest.

        Raises:
            ConfigError: with every problem of the config, or what the constructor raises.
        """
        return self.parse(config).create(*given)

    def foreign(self) -> dict[str, type[C]]:
        """What is registered at this moment besides our own components, by name; nothing more is imported."""
        return {name: cls for name, cls in self._classes.items() if not cls.__module__.startswith("lightning_tx.")}

    def forget(self, names: Iterable[str]) -> None:
        """Take back what plugin code registered."""
        for name in names:
            del self._classes[name]


@dataclass(frozen=True)
class Choice(Generic[C]):
    """A component that was chosen, with checked options.

    Attributes:
        group: of which group.
        name: under which name it is registered.
        component: its class.
        options: all of its options, those that were not given at their defaults.
    """

    group: Group[C]
    name: str
    component: type[C]
    options: Mapping[str, Any]

    def create(self, *given: Any) -> C:
        """Build the component: ``given`` fills the positional parameters of its constructor.

        Raises:
            ConfigError: what was chosen does not go with what is given.
        """
        return self.component(*given, **deepcopy(dict(self.options)))

    def changed(self) -> dict[str, Any]:
        """The options that differ from their defaults."""
        defaults = {option.name: option.default for option in options_of(self.component)}
        return {name: value for name, value in self.options.items() if value != defaults[name]}

    def essential(self) -> dict[str, Any]:
        """The name and what differs from the defaults: a config that means the same, however it was written."""
        return {"name": self.name, **self.changed()}


def _origin(cls: type) -> tuple[str, str]:
    """By which a class imported again is known, be it under another module name (a test imports a plugin file)."""
    module = sys.modules.get(cls.__module__)
    return getattr(module, "__file__", None) or cls.__module__, cls.__qualname__


def _where(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


@cache
def _import_modules(package_name: str) -> None:
    package = importlib.import_module(package_name)
    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"{package_name}.{module.name}")


@cache
def load_plugins() -> tuple[str, ...]:
    """Import every installed plugin once, which registers its components; returns their names.

    Raises:
        PluginError: a plugin does not import; the message names it.
    """
    loaded = []
    for plugin in entry_points(group=PLUGIN_ENTRY_POINT):
        try:
            plugin.load()
        except PluginError:
            raise
        except Exception as error:
            raise PluginError(
                f"The plugin {plugin.name!r} ({plugin.value}) does not import: {type(error).__name__}: {error}"
            ) from error
        loaded.append(plugin.name)
    return tuple(loaded)
