"""``ltx show model``: a model's parameters before it is trained."""

import argparse
from dataclasses import asdict
from typing import Any

from lightning_tx.cli.console import console
from lightning_tx.cli.imports import bulk_imports, import_torchmetrics


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("what", choices=["model"])
    parser.add_argument("overrides", nargs="*", metavar="OVERRIDE", help="as for ltx train, e.g. attention=gqa")
    parser.add_argument("--depth", type=int, default=4, help="how deep modules are listed (default: 4)")


def run(arguments: argparse.Namespace) -> int:
    """Print the parameters by module, and the totals; works at any size, for no memory is taken."""
    from rich.table import Table

    from lightning_tx.cli.compose import compose

    with bulk_imports():
        import_torchmetrics()
        from lightning_tx.model.build import build_model
        from lightning_tx.model.count import count_parameters, forward_flops_per_token, parameter_table
        from lightning_tx.runs.config import RunConfig
        from lightning_tx.runs.materials import materials_of
        from lightning_tx.task.base import Task

    config = RunConfig.parse(compose(arguments.overrides))
    task = config.task.create()
    own = config.model.model.options.get("vocab_size") if type(task).num_classes is Task.num_classes else None
    sizes: Any = {"head": task.head, **({"vocab_size": own} if own else asdict(materials_of(config).sizes))}
    model = build_model(config.model, **sizes, device="meta")
    counts = count_parameters(model)
    table = Table(box=None, pad_edge=False)
    table.add_column("module")
    table.add_column("parameters", justify="right")
    table.add_column("trainable", justify="right")
    for name, total, trainable in parameter_table(model, arguments.depth):
        indent = "  " * name.count(".")
        table.add_row(indent + name.rpartition(".")[2], f"{total:,}", "" if trainable == total else f"{trainable:,}")
    table.add_section()
    table.add_row("all, shared ones once", f"{counts.total:,}", f"{counts.trainable:,}")
    out = console()
    out.print(table)
    if own and own > 100_000:
        return 0
    flops = forward_flops_per_token(config.model, **sizes)
    out.print(f"\nForward pass: {flops / 1e6:,.2f} MFLOP per token at {model.max_seq_len} tokens.")
    return 0
