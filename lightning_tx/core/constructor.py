"""What a component's constructor takes: its options are keyword-only parameters.

Options that several classes share are the fields of one ``TypedDict``, each with its default beside its bounds, and
count as keyword-only parameters that come last:

    class RotaryOptions(TypedDict, total=False):
        base: Annotated[float, Field(default=10_000.0, gt=1)]

    class Rotary(Positions):
        def __init__(self, dims: Dims, site: Site, **options: Unpack[RotaryOptions]) -> None:
            chosen = with_defaults(RotaryOptions, options)
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from inspect import Parameter
from typing import (
    Annotated,
    Any,
    NotRequired,
    Required,
    Unpack,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)

from pydantic.fields import FieldInfo

from lightning_tx.core.errors import choices, nearest

_RULE = (
    "options are annotated keyword-only parameters: "
    "__init__(self, <from the framework>, *, option: type = ..., **options: Unpack[<a TypedDict>])"
)


def option_parameters(cls: type) -> list[Parameter]:
    """The options of a class as keyword-only parameters with resolved annotations: its own, then the shared ones."""
    hints = get_type_hints(cls.__init__, include_extras=True)
    own = [each.replace(annotation=hints[each.name]) for each in _parameters(cls) if each.kind is each.KEYWORD_ONLY]
    shared = shared_options(cls.__init__)
    return own if shared is None else own + _fields(shared)


def shared_options(constructor: Callable[..., None]) -> type | None:
    """The ``TypedDict`` that a constructor takes as ``**options: Unpack[...]``; None if it takes none."""
    for parameter in inspect.signature(constructor).parameters.values():
        if parameter.kind is parameter.VAR_KEYWORD:
            hint = get_type_hints(constructor, include_extras=True).get(parameter.name)
            if get_origin(hint) is Unpack and is_typeddict(get_args(hint)[0]):
                return get_args(hint)[0]
    return None


def with_defaults(shared: type, given: Mapping[str, Any]) -> dict[str, Any]:
    """All shared options: those that a constructor was given, the others at their defaults.

    Raises:
        TypeError: an option does not exist, or one without default is missing, as for keyword-only parameters.
    """
    fields = {field.name: field for field in _fields(shared)}
    for name in given:
        if name not in fields:
            raise TypeError(
                f"{shared.__name__} has no option {name!r}.{nearest(name, fields)} There are: {choices(fields)}."
            )
    chosen = {name: given.get(name, field.default) for name, field in fields.items()}
    missing = [name for name, value in chosen.items() if value is Parameter.empty]
    if missing:
        raise TypeError(f"{shared.__name__}: {', '.join(missing)} missing; there is no default.")
    return chosen


def constructor_problem(cls: type, given: Sequence[str] | None) -> str | None:
    """What a constructor does against the rule, said of the class; None if it can be registered.

    Args:
        cls: the class.
        given: what the framework gives by position; None where that varies.
    """
    parameters = _parameters(cls)[1:]
    by_position = [each.name for each in parameters if each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD)]
    takes_any = any(each.kind is each.VAR_POSITIONAL for each in parameters)
    if given is not None and len(by_position) != len(given) and not takes_any and cls.__init__ is not object.__init__:
        return f" takes ({', '.join(by_position)}) by position, but is given ({', '.join(given)}); {_RULE}."
    for parameter in parameters:
        if parameter.kind is parameter.KEYWORD_ONLY and parameter.annotation is parameter.empty:
            return f": option {parameter.name!r} has no type; {_RULE}."
        if parameter.name == "name":
            return ": an option may not be called 'name'."
        if parameter.kind is parameter.VAR_KEYWORD:
            shared = shared_options(cls.__init__)
            if shared is None:
                return f" takes **{parameter.name}, which is no Unpack[<a TypedDict>]; {_RULE}."
            return _shared_problem(shared, {each.name for each in parameters})
    return None


def _shared_problem(shared: type, taken: set[str]) -> str | None:
    for field in _fields(shared):
        if field.name == "name":
            return ": an option may not be called 'name'."
        if field.name in taken:
            return f": option {field.name!r} is a parameter and a field of {shared.__name__} as well."
        if field.default is field.empty and field.name not in shared.__required_keys__:
            return (
                f": option {field.name!r} of {shared.__name__} may be left out and has no default; "
                "write Annotated[<type>, Field(default=...)]."
            )
    return None


def _parameters(cls: type) -> list[Parameter]:
    if cls.__init__ is object.__init__:
        return []
    return list(inspect.signature(cls.__init__).parameters.values())


def _fields(shared: type) -> list[Parameter]:
    hints = {name: _bare(hint) for name, hint in get_type_hints(shared, include_extras=True).items()}
    return [
        Parameter(name, Parameter.KEYWORD_ONLY, default=_default(hint), annotation=hint) for name, hint in hints.items()
    ]


def _bare(hint: Any) -> Any:
    return _bare(get_args(hint)[0]) if get_origin(hint) in (Required, NotRequired) else hint


def _default(hint: Any) -> Any:
    extras = get_args(hint)[1:] if get_origin(hint) is Annotated else ()
    given = [extra for extra in extras if isinstance(extra, FieldInfo) and not extra.is_required()]
    # A copy of what can be changed, as no two instances may share it.
    return given[-1].get_default(call_default_factory=True) if given else Parameter.empty
