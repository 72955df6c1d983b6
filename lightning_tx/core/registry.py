"""The registry: which components exist, what options each takes, and how a config becomes an instance.

A component is a class registered under a group and a name. The parameters of its constructor that come before the
``*`` are filled in by the framework; those after it are exactly the keys of its yaml, and their annotations are the
only schema there is:

    @register("positions", "rope")
    class Rope(Positions):
        def __init__(self, dims: Dims, site: Site, *, base: Annotated[float, Field(gt=0)] = 10_000.0) -> None: ...

Options that several components share are the fields of one ``TypedDict``, taken as ``**options: Unpack[...]``; they are
keys of the yaml like the others. :mod:`lightning_tx.core.constructor` has the rule.
"""

import importlib
import pkgutil
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import entry_points
from inspect import Parameter
from types import UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError, create_model
from pydantic.fields import FieldInfo

from lightning_tx.core.constructor import constructor_problem, options_of
from lightning_tx.core.errors import ConfigError, PluginError, choices, nearest

PLUGIN_ENTRY_POINT = "lightning_tx.plugins"

#: Every group that is open to plugins, and the package whose modules register the built-in choices.
GROUPS: dict[str, str] = {
    "positions": "lightning_tx.components.positions",
    "attention": "lightning_tx.components.attention",
    "pattern": "lightning_tx.components.pattern",
    "norm": "lightning_tx.components.norm",
    "block": "lightning_tx.components.block",
    "feed_forward": "lightning_tx.components.feed_forward",
    "adapter": "lightning_tx.components.adapter",
    "model": "lightning_tx.model",
    "task": "lightning_tx.task",
    "data": "lightning_tx.data",
    "tokenizer": "lightning_tx.tokenizer",
    "optimizer": "lightning_tx.optimizer",
    "schedule": "lightning_tx.schedule",
    "decoding": "lightning_tx.decoding",
    "tracking": "lightning_tx.tracking",
}

#: What the framework fills in by position. A model is given its parts and as many vocabularies as it has inputs.
POSITIONAL: dict[str, tuple[str, ...]] = {
    "positions": ("dims", "site"),
    "attention": ("dims", "site"),
    "pattern": (),
    "norm": ("width",),
    "block": ("dims", "site", "sublayers", "make_norm"),
    "feed_forward": ("dims", "site"),
    "adapter": (),
    "task": (),
    "data": (),
    "tokenizer": (),
    "optimizer": ("model",),
    "schedule": ("lr", "max_steps", "d_model"),
    "decoding": (),
}

T = TypeVar("T", bound=type)

_components: dict[str, dict[str, type]] = {group: {} for group in GROUPS}


@dataclass(frozen=True)
class Knob:
    """One option of a component: what ``ltx components`` prints and a yaml may set."""

    name: str
    type: str
    default: Any
    required: bool


def register(group: str, name: str) -> Callable[[T], T]:
    """Class decorator that makes a component selectable as ``group=name``.

    Raises:
        PluginError: the group does not exist, the name is taken by another class, or the constructor takes something
            else by position than the framework gives, or options that are not annotated keyword-only parameters.
    """
    if group not in GROUPS:
        raise PluginError(f"There is no group {group!r} to register {name!r} in. Groups: {choices(GROUPS)}.")

    def add(cls: T) -> T:
        taken = _components[group].get(name)
        if taken is not None and _origin(taken) != _origin(cls):
            raise PluginError(f"{group}/{name} is claimed twice: by {_where(taken)} and by {_where(cls)}.")
        problem = constructor_problem(cls, POSITIONAL.get(group))
        if problem is not None:
            raise PluginError(f"{group}/{name} ({_where(cls)}){problem}")
        _components[group][name] = cls
        schema.cache_clear()
        return cls

    return add


def names(group: str) -> list[str]:
    """The names registered in a group, sorted; built-in components and plugins alike."""
    _load(group)
    return sorted(_components[group])


def get(group: str, name: str) -> type:
    """The class registered as ``group/name``.

    Raises:
        ConfigError: no such name; the message lists the choices.
    """
    _load(group)
    try:
        return _components[group][name]
    except (KeyError, TypeError):  # a TypeError where a config's name is a list or a mapping
        known = names(group)
        raise ConfigError(
            f"{group}.name: there is no {group} {name!r}.{nearest(str(name), known)} Choices: {choices(known)}."
        ) from None


@cache
def schema(cls: type) -> type[BaseModel]:
    """The options of a component class as a strict pydantic model, read from its constructor."""
    fields: dict[str, Any] = {
        option.name: (option.annotation, ... if option.default is Parameter.empty else option.default)
        for option in options_of(cls)
    }
    return create_model(cls.__name__, __config__=ConfigDict(extra="forbid", strict=True), **fields)


def knobs(cls: type) -> list[Knob]:
    """The options of a component class, in the order of its constructor."""
    return [
        Knob(option.name, _type_text(option.annotation), None if required else option.default, required)
        for option in options_of(cls)
        for required in [option.default is Parameter.empty]
    ]


def check(group: str, config: Mapping[str, Any], where: str | None = None) -> list[str]:
    """Every problem of one component's config, as sentences; an empty list when it can be built.

    Args:
        group: the component's group.
        config: ``name`` and the options.
        where: the key under which the config stands; the group itself unless told.
    """
    where = where or group
    if not isinstance(config, Mapping):
        return [f"{where}: {config!r} is not a mapping with a 'name'."]
    if "name" not in config:
        return [f"{where}.name: missing. Choices: {choices(names(group))}."]
    try:
        cls = get(group, config["name"])
    except ConfigError as error:
        return [problem.replace(f"{group}.name", f"{where}.name", 1) for problem in error.problems]
    return problems_of(schema(cls), {key: value for key, value in config.items() if key != "name"}, where)


def options(group: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a config, checked, with the defaults filled in.

    Raises:
        ConfigError: with every problem of the config.
    """
    problems = check(group, config)
    if problems:
        raise ConfigError(problems)
    model = schema(get(group, config["name"]))
    checked = model(**{key: value for key, value in config.items() if key != "name"})
    return {name: getattr(checked, name) for name in model.model_fields}


def create(group: str, config: Mapping[str, Any], *framework: Any) -> Any:
    """Build the component that a config names: ``framework`` fills the positional parameters, the config the rest."""
    return get(group, config["name"])(*framework, **options(group, config))


def foreign() -> dict[tuple[str, str], type]:
    """What is registered at this moment besides our own components, by group and name; nothing more is imported."""
    return {
        (group, name): cls
        for group, known in _components.items()
        for name, cls in known.items()
        if not cls.__module__.startswith("lightning_tx.")
    }


def forget(components: Iterable[tuple[str, str]]) -> None:
    """Take back what plugin code registered, by group and name."""
    for group, name in components:
        del _components[group][name]
    schema.cache_clear()


def problems_of(model: type[BaseModel], values: Mapping[str, Any], where: str) -> list[str]:
    """Check plain values against a pydantic model and phrase what is wrong, one sentence per problem."""
    try:
        model(**values)
    except ValidationError as error:
        return [_sentence(model, details, where) for details in error.errors()]
    return []


def _sentence(model: type[BaseModel], details: Any, where: str) -> str:
    path = [str(part) for part in details["loc"]]
    key = ".".join([where, *path])
    match details["type"]:
        case "extra_forbidden":
            known = list(model.model_fields)
            return f"{key}: unknown key.{nearest(path[-1], known)} Keys of {where}: {choices(known)}."
        case "missing":
            return f"{key}: missing; it has no default."
        case _:
            message = details["msg"].removeprefix("Value error, ").removeprefix("Input ")
            return f"{key}: {details['input']!r} {message}."


def _type_text(annotation: Any) -> str:
    """An annotation as a reader of a yaml would put it: ``int > 0 or null``."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return " ".join([_type_text(arguments[0]), *_bounds(arguments[1:])])
    if origin in (Union, UnionType):
        return " or ".join("null" if part is type(None) else _type_text(part) for part in arguments)
    if origin is Literal:
        return " or ".join(map(str, arguments))
    if origin is list:
        return f"list of {_type_text(arguments[0])}"
    return "mapping" if origin is dict else annotation.__name__


def _bounds(extras: Iterable[Any]) -> list[str]:
    signs = {"gt": ">", "ge": ">=", "lt": "<", "le": "<="}
    constraints = [constraint for extra in extras if isinstance(extra, FieldInfo) for constraint in extra.metadata]
    return [
        f"{sign} {getattr(each, name)}" for each in constraints for name, sign in signs.items() if hasattr(each, name)
    ]


def _origin(cls: type) -> tuple[str, str]:
    """By which a class imported again is known, be it under another module name (a test imports a plugin file)."""
    module = sys.modules.get(cls.__module__)
    return getattr(module, "__file__", None) or cls.__module__, cls.__qualname__


def _where(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


def _load(group: str) -> None:
    if group not in GROUPS:
        raise ConfigError(f"{group}: there is no such group.{nearest(group, GROUPS)} Groups: {choices(GROUPS)}.")
    _import_modules(GROUPS[group])
    load_plugins()


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
