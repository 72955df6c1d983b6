"""How much memory something takes at once, at the least."""

from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class Largest(TorchDispatchMode):
    """Remembers the largest tensor that any operation makes; a view is as large as what it is a view of.

    Attributes:
        numel: entries that it has room for.
        name: the operation.
        shape: what the operation made of it.
    """

    numel = 0
    name = ""
    shape: tuple[int, ...] = ()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for each in tree_leaves(result):
            if isinstance(each, Tensor):
                numel = each.untyped_storage().nbytes() // each.itemsize
                if numel > self.numel:
                    self.numel, self.name, self.shape = numel, str(func), tuple(each.shape)
        return result
