"""``ltx components``: what can be chosen, with options and sources."""

import argparse

from lightning_tx.cli.console import console
from lightning_tx.core.errors import ConfigError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("which", nargs="?", help="a group, as positions, or a component, as positions/rope")


def run(arguments: argparse.Namespace) -> int:
    """Print all groups, one group, or one component."""
    from lightning_tx.core import registry

    group, _, name = (arguments.which or "").partition("/")
    if name:
        _print_component(group, name)
        return 0
    if group:
        registry.names(group)  # refuses an unknown group
    for each in [group] if group else registry.GROUPS:
        _print_group(each)
    return 0


def _print_group(group: str) -> None:
    from rich.table import Table

    from lightning_tx.core import registry

    table = Table(title=f"{group}=", title_justify="left", title_style="bold", box=None, pad_edge=False)
    for column in ("choice", "component", "what it is", "source"):
        table.add_column(column, overflow="fold")
    for label, name in _choices(group):
        cls = registry.get(group, name)
        table.add_row(label, "" if name == label else name, registry.summary(cls), registry.source(cls))
    console().print(table, "", sep="\n")


def _print_component(group: str, name: str) -> None:
    import inspect

    from rich.table import Table

    from lightning_tx.core import registry

    by_label = dict(_choices(group))
    if name not in by_label and name not in registry.names(group):
        from lightning_tx.core.errors import choices, nearest

        raise ConfigError(
            f"{group}: there is no choice {name!r}.{nearest(name, by_label)} Choices: {choices(by_label)}."
        )
    cls = registry.get(group, by_label.get(name, name))
    out = console()
    labels = [label for label, component in by_label.items() if component == by_label.get(name, name)]
    out.print(f"[bold]{group}={name}[/]  ({cls.__module__}.{cls.__qualname__})\n")
    out.print((inspect.getdoc(cls) or "").strip(), markup=False)
    if len(labels) > 1:
        out.print(f"\nChoices made of it: {', '.join(labels)}")
    knobs = registry.knobs(cls)
    if not knobs:
        return
    table = Table(title="\nOptions", title_justify="left", title_style="bold", box=None, pad_edge=False)
    for column in ("key", "type", "default", f"in {group}/{name}.yaml"):
        table.add_column(column, overflow="fold")
    values = _values(group, name) if name in by_label else {}
    for knob in knobs:
        default = "required" if knob.required else str(knob.default)
        value = str(values[knob.name]) if knob.name in values else ""
        table.add_row(f"{group}.{knob.name}", knob.type, default, "" if value == default else value)
    out.print(table)


def _choices(group: str) -> list[tuple[str, str]]:
    """The labels of a group and the component each names; components without a label last."""
    from lightning_tx.cli.compose import component_of, hydra_session, labels_in
    from lightning_tx.core import registry

    with hydra_session():
        found = [(label, component_of(group, label)) for label in labels_in(group)]
    labelled = {name for _, name in found}
    return found + [(name, name) for name in registry.names(group) if name not in labelled]


def _values(group: str, label: str) -> dict[str, object]:
    from lightning_tx.cli.compose import hydra_session, values_of

    with hydra_session():
        return values_of(group, label)
