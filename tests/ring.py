"""Processes that share a sequence, started once for many cases."""

import os
import socket
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import multiprocessing

#: Numbers of processes; those of the smaller groups are the last ones, so that their numbers in the group are others.
SIZES = (3, 2)

#: A process that waits for what never comes fails.
PATIENCE = timedelta(seconds=60)

#: ``(group) -> what each process found``, picklable.
Work = Callable[[dist.ProcessGroup], Any]


def run(work: Work, folder: Path) -> dict[int, list[Any]]:
    """What ``work`` returned on each process of a group, by the group's size."""
    # Forked from a process that has imported what they need, and has done nothing else.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["lightning_tx.model.build", "torch.distributed"])
    multiprocessing.start_processes(_run, args=(work, folder), nprocs=max(SIZES), start_method="forkserver")
    return {size: [torch.load(folder / f"{size}.{rank}.pt") for rank in range(size)] for size in SIZES}


def _run(rank: int, work: Work, folder: Path) -> None:
    torch.set_num_threads(1)
    # A machine may not know its own name, by which the processes would find each other.
    loopback = next(name for _, name in socket.if_nameindex() if name.startswith("lo"))
    os.environ.setdefault("GLOO_SOCKET_IFNAME", loopback)
    world = max(SIZES)
    store = f"file://{folder / 'store'}"
    dist.init_process_group("gloo", init_method=store, rank=rank, world_size=world, timeout=PATIENCE)
    groups = {size: dist.new_group(list(range(world - size, world)), timeout=PATIENCE) for size in SIZES}
    for size, group in groups.items():
        if rank >= world - size:
            torch.save(work(group), folder / f"{size}.{group.rank()}.pt")
        dist.barrier()
    dist.destroy_process_group()
