"""The options of a component: read off its constructor, checked with pydantic, and told in words."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from inspect import Parameter
from types import UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError, create_model
from pydantic.fields import FieldInfo

from lightning_tx.core.constructor import option_parameters
from lightning_tx.core.errors import choices, nearest

#: What is checked is taken as it stands: no key more, nothing converted, and numbers that can be reckoned with.
STRICT = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)
#: The largest whole number that every library below takes.
LARGEST = 2**63 - 1
_SHOWN_CHARACTERS = 80

M = TypeVar("M", bound=BaseModel)


@dataclass(frozen=True)
class Option:
    """One option of a component: what ``ltx components`` prints and a yaml may set."""

    name: str
    type: str
    default: Any
    required: bool


@cache
def schema(cls: type) -> type[BaseModel]:
    """The options of a component class as a strict pydantic model, read from its constructor."""
    fields: dict[str, Any] = {
        option.name: (option.annotation, ... if option.default is Parameter.empty else option.default)
        for option in option_parameters(cls)
    }
    return create_model(cls.__name__, __config__=STRICT, **fields)


def options_of(cls: type) -> list[Option]:
    """The options of a component class, in the order of its constructor."""
    return [
        Option(option.name, _type_text(option.annotation), None if required else option.default, required)
        for option in option_parameters(cls)
        for required in [option.default is Parameter.empty]
    ]


def checked(model: type[M], values: Any, where: str) -> tuple[M | None, list[str]]:
    """Plain values checked against a pydantic model.

    Args:
        model: the schema.
        values: a mapping, if all is well.
        where: the key that they stand under; empty for keys of the config itself.

    Returns:
        The values as the model holds them, defaults filled in, and no problem; or None and a sentence a problem.
    """
    if not isinstance(values, Mapping):
        return None, [f"{where}: {values!r} is not a mapping. Keys: {choices(model.model_fields)}."]
    problems = [f"{key}: {shown(value)} is beyond 2^63 - 1." for key, value in _too_large(values, where)]
    try:
        return (None if problems else model.model_validate(dict(values))), problems
    except ValidationError as error:
        sentences = dict.fromkeys(_sentence(model, values, details, where) for details in error.errors())
        return None, [*sentences, *problems]


def shown(value: Any) -> str:
    """A value as a message shows it: as Python writes it, cut where it is long."""
    text = repr(value)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}…"


def _too_large(values: Any, where: str) -> Iterator[tuple[str, int]]:
    match values:
        case Mapping():
            for key, value in values.items():
                yield from _too_large(value, f"{where}.{key}".lstrip("."))
        case list():
            for index, value in enumerate(values):
                yield from _too_large(value, f"{where}[{index}]")
        case int() if abs(values) > LARGEST:
            yield where, values


def _has_several_types(model: type[BaseModel], name: str) -> bool:
    """Whether a field may be of several types besides null."""
    field = model.model_fields.get(name)
    types = () if field is None else get_args(field.annotation)
    is_union = field is not None and get_origin(field.annotation) in (Union, UnionType)
    return is_union and len([each for each in types if each is not type(None)]) > 1


def _model_at(model: type[BaseModel], path: Sequence[str]) -> type[BaseModel]:
    """The model of a field below a model, or of the field above it that has one."""
    for name in path:
        annotation = model.model_fields[name].annotation if name in model.model_fields else None
        models = [each for each in (annotation, *get_args(annotation)) if isinstance(each, type(BaseModel))]
        model = models[0] if models else model
    return model


def _sentence(model: type[BaseModel], values: Mapping[str, Any], details: Any, where: str) -> str:
    path = [str(part) for part in details["loc"]]
    key, value = ".".join([*([where] if where else []), *path]), shown(details["input"])
    match details["type"]:
        case "extra_forbidden":
            known, place = list(_model_at(model, path[:-1]).model_fields), key.rpartition(".")[0]
            return f"{key}: unknown key.{nearest(path[-1], known)} Keys of {place}: {choices(known)}."
        case kind if kind != "missing" and _has_several_types(model, path[0]):
            # Of such a value pydantic says for each type why it is none.
            key = ".".join([*([where] if where else []), path[0]])
            return f"{key}: {shown(values[path[0]])} should be {_type_text(model.model_fields[path[0]].annotation)}."
        case "string_type" if isinstance(details["input"], int | float):
            return f"{key}: {value} should be text, which it is in quotes: {key}='\"{value}\"'."
        case "missing":
            return f"{key}: missing; it has no default."
        case _:
            message = details["msg"].removeprefix("Value error, ").removeprefix("Input ")
            return f"{key}: {value} {message}."


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
