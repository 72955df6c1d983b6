"""A batch whose sequences are shared by the processes of a group, for contexts too long for one device.

Every process has the same weights and runs the model on its own tokens::

    tokens_BT, targets_BT = batch[:, :-1], batch[:, 1:]
    out = model(**shared_inputs(tokens_BT, group), group=group)
    loss = model.head.cross_entropy(out.x.flatten(0, 1), shard(targets_BT, group).flatten()) / targets_BT.numel()
    loss.backward()
    for parameter in model.parameters():
        dist.all_reduce(parameter.grad, group=group)

Summed over the processes, losses and gradients are those of the whole sequence in one process. Attention looks at the
tokens of all processes; whatever else depends on several tokens, like the balance of experts, at the own ones alone.

Each process holds two pieces of a sequence cut into twice as many as there are processes: the first has the first and
the last, the second those next to them, and so on. In a causal model all then have as much to compute.

Source: Liu et al. 2023, arXiv:2310.01889; the balance: Grattafiori et al. 2024, arXiv:2407.21783, section 3.3.2.
"""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lightning_tx.core.errors import ConfigError
from lightning_tx.kernels.masks import positions_in_rows
from lightning_tx.kernels.ring import gathered

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup


def shared_inputs(
    tokens_BT: Tensor,
    group: "ProcessGroup",
    *,
    documents_BT: Tensor | None = None,
    token_mask_BT: Tensor | None = None,
) -> dict[str, Tensor | None]:
    """What this process passes to a decoder or an encoder, of a batch that all processes of the group have.

    Args:
        tokens_BT: token ids of the whole sequences.
        group: the processes that share them.
        documents_BT: document of each token, for several in one row.
        token_mask_BT: True at real tokens; None where there is no padding.

    Returns:
        This process's part of each argument of the model's ``forward``, with the positions in the whole sequences.

    Raises:
        ConfigError: the length does not divide into two pieces a process.
    """
    positions = positions_in_rows(
        tokens_BT.shape[1], token_mask=token_mask_BT, documents=documents_BT, device=tokens_BT.device
    )
    whole = {
        "tokens_BT": tokens_BT,
        "positions_BT": positions,
        "documents_BT": documents_BT,
        "token_mask_BT": token_mask_BT,
    }
    return {name: None if tensor is None else shard(tensor, group) for name, tensor in whole.items()}


def shard(x_BT: Tensor, group: "ProcessGroup") -> Tensor:
    """This process's tokens, [B, T / processes, ...] of [B, T, ...], in their order.

    Raises:
        ConfigError: the length does not divide into two pieces a process.
    """
    number, length = 2 * group.size(), x_BT.shape[1]
    if length % number or not length:
        raise ConfigError(
            f"group: a sequence of {length} tokens does not divide into {number} pieces, two for each of "
            f"{group.size()} processes; pad it to a multiple of {number}."
        )
    pieces = x_BT.chunk(number, dim=1)
    return torch.cat([pieces[group.rank()], pieces[-1 - group.rank()]], dim=1)


def unshard(x_BT: Tensor, group: "ProcessGroup") -> Tensor:
    """The whole sequences again, [B, T, ...], from the processes' parts; on every process, without gradients."""
    first, last = zip(*(x.chunk(2, dim=1) for x in gathered(x_BT, group)), strict=True)
    return torch.cat([*first, *reversed(last)], dim=1)
