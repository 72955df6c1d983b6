"""The one owner of initialisation."""

import hashlib
from collections.abc import Collection, Iterator

import torch
from torch import nn

from lightning_tx.components.block.base import Block
from lightning_tx.core.errors import PluginError
from lightning_tx.core.schemes import Constant, Normal, Scheme
from lightning_tx.kernels.grouped_linear import GroupedLinear


def initialise(
    model: nn.Module,
    *,
    seed: int,
    linear_std: float | None,
    embedding_std: float,
    only: Collection[nn.Parameter] | None = None,
) -> None:
    """Fill every parameter in place.

    Each is drawn from a generator of its own, seeded by ``(seed, name)``, so that two models agree wherever they have
    a parameter of the same name and shape: a variant of an ablation starts where its baseline starts. Modules declare
    the scheme of their own parameters (:mod:`lightning_tx.core.schemes`) and blocks a gain for those inside them.

    Args:
        model: a model as assembled.
        seed: the run's seed.
        linear_std: standard deviation of linear weights; None for ``1 / sqrt(inputs)`` of each.
        embedding_std: standard deviation of embeddings that declare no scheme themselves.
        only: the parameters to fill; None for all.

    Raises:
        PluginError: a module holds a parameter without saying how to initialise it.
    """
    gains = dict(_gains(model))
    seen: set[nn.Parameter] = set()
    for prefix, module in model.named_modules():
        for name, parameter in module.named_parameters(prefix, recurse=False):
            if parameter in seen or (only is not None and parameter not in only):
                continue
            seen.add(parameter)
            scheme = scheme_of(module, name.rpartition(".")[2], linear_std=linear_std, embedding_std=embedding_std)
            if scheme is None:
                own = name.rpartition(".")[2]
                raise PluginError(
                    f"{type(module).__name__} does not say how to initialise {name!r}: "
                    f'declare initial = {{"{own}": Normal(0.02)}} on the class (lightning_tx.core.schemes).'
                )
            generator = torch.Generator().manual_seed(_seed(seed, name))
            value = scheme.draw(parameter.shape, generator) * gains.get(name, 1.0)
            with torch.no_grad():
                parameter.copy_(value)


def scheme_of(
    module: nn.Module, name: str, *, linear_std: float | None = None, embedding_std: float = 1.0
) -> Scheme | None:
    """How a parameter of a module's own is initialised; None where nothing says so.

    Args:
        module: the module.
        name: the parameter's name in it.
        linear_std: standard deviation of linear weights; None for ``1 / sqrt(inputs)`` of each.
        embedding_std: standard deviation of embeddings that declare no scheme themselves.
    """
    declared = getattr(module, "initial", {})
    if name in declared:
        return declared[name]
    if isinstance(module, nn.Linear | GroupedLinear) and name == "weight":
        return Normal(module.in_features**-0.5 if linear_std is None else linear_std)
    if isinstance(module, nn.Linear | GroupedLinear) and name == "bias":
        return Constant(0.0)
    return Normal(embedding_std) if isinstance(module, nn.Embedding) else None


def _gains(model: nn.Module) -> Iterator[tuple[str, float]]:
    for prefix, block in model.named_modules():
        if isinstance(block, Block):
            for name, _ in block.named_parameters():
                yield f"{prefix}.{name}", block.init_gain(name)


def _seed(seed: int, name: str) -> int:
    digest = hashlib.sha256(f"{seed}:{name}".encode()).digest()
    return int.from_bytes(digest[:8], "little", signed=True)
