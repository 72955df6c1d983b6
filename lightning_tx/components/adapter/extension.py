"""How an adapter adds something to a module of the base without copying or renaming what the base has."""

from functools import cache
from typing import Any, Self

from torch import Tensor, nn

from lightning_tx.core.schemes import Scheme, declare


class Extension:
    """Base of modules that are one of the base's and something more.

    What :meth:`of` returns shares parameters, buffers and children with the original, under their old names: a state
    dict of the base fits, an initialisation by name gives the base what it would have alone, and the original can be
    put back at any time. It is of the original's class too, so ``super()`` does what the original does. A component
    names the kind of module that it extends and writes :meth:`extend`:

        class Scaled(Extension, nn.Linear):
            def extend(self) -> None:
                self.gain = nn.Parameter(self.weight.new_ones(self.out_features))

            def forward(self, x: Tensor) -> Tensor:
                return self.gain * super().forward(x)

        scaled = Scaled.of(linear)

    Attributes:
        original: the module that it extends; none of its children.
    """

    original: nn.Module

    @classmethod
    def of(cls, module: nn.Module, *options: Any) -> Self:
        """A module that shares all with ``module`` and has been given to :meth:`extend` with these options."""
        extended: Any = twin(module, _joined(cls, type(module)))
        vars(extended)["original"] = module  # past the registration: its parameters are there already
        extended.extend(*options)
        return extended

    def extend(self, *options: Any) -> None:
        """Add parameters and modules, in the dtype and on the device of the base's."""
        raise NotImplementedError

    @property
    def added_buffers(self) -> dict[str, Tensor]:
        """The buffers that :meth:`extend` registered, by name."""
        module: Any = self
        theirs = {name for name, _ in self.original.named_buffers(recurse=False)}
        return {name: value for name, value in module.named_buffers(recurse=False) if name not in theirs}

    def declare(self, **schemes: Scheme) -> None:
        """Say how added parameters are to be initialised; the original's own schemes stay."""
        module: Any = self
        declare(module, **{**getattr(module, "initial", {}), **schemes})


def twin(module: nn.Module, of_class: type) -> Any:
    """Another module, of the given class, with the same parameters, buffers and children."""
    other = object.__new__(of_class)
    held = vars(module)
    vars(other).update(held, **{kind: held[kind].copy() for kind in ("_parameters", "_buffers", "_modules")})
    return other


@cache
def _joined(extension: type, original: type) -> type:
    if issubclass(extension, original):
        return extension
    return type(extension.__name__, (extension, original), {"__module__": extension.__module__})
