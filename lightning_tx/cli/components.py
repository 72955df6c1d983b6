"""``ltx components``: what can be chosen, with options and sources."""

import argparse

from lightning_tx.cli.console import console
from lightning_tx.core.errors import ConfigError, choices, nearest


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument(
        "words",
        nargs="*",
        metavar="WHICH",
        help="a group, as positions, or a component, as positions/rope; plugins=[FILE.py] adds those of a file",
    )
    parser.add_argument("--problems", action="store_true", help="the pairs that cannot stand in one model, and why")


def run(arguments: argparse.Namespace) -> int:
    """Print all groups, one group, or one component; or what does not go together in them."""
    from lightning_tx.cli.plugins import asked, plugins_of
    from lightning_tx.core import registry

    group, _, name = asked(arguments.words).partition("/")
    with plugins_of(arguments.words):
        if group:
            registry.names(group)  # refuses an unknown group
        if arguments.problems:
            from lightning_tx.cli.problems import print_problems

            print_problems(group, name)
        elif name:
            _print_component(group, name)
        else:
            for each in [group] if group else registry.GROUPS:
                _print_group(each)
    return 0


def _print_group(group: str) -> None:
    from rich.table import Table

    from lightning_tx.core import registry
    from lightning_tx.core.description import source, summary

    table = Table(title=f"{group}=", title_justify="left", title_style="bold", box=None, pad_edge=False)
    for column in ("choice", "component", "what it is", "source"):
        table.add_column(column, overflow="fold")
    for label, name in known_choices(group).items():
        cls = registry.get(group, name)
        table.add_row(label, "" if name == label else name, summary(cls), source(cls))
    console().print(table, "", sep="\n")


def _print_component(group: str, name: str) -> None:
    from rich.table import Table

    from lightning_tx.core import registry
    from lightning_tx.core.description import description

    by_label = known_choices(group)
    check_choice(group, name)
    cls = registry.get(group, by_label.get(name, name))
    out = console()
    labels = [label for label, component in by_label.items() if component == by_label.get(name, name)]
    out.print(f"[bold]{group}={name}[/]  ({cls.__module__}.{cls.__qualname__})\n")
    out.print(description(cls), markup=False)
    if len(labels) > 1:
        out.print(f"\nChoices made of it: {', '.join(labels)}")
    knobs = registry.knobs(cls)
    if not knobs:
        return
    table = Table(title="\nOptions", title_justify="left", title_style="bold", box=None, pad_edge=False)
    for column in ("key", "type", "default", f"in {group}/{name}.yaml"):
        table.add_column(column, overflow="fold")
    values = values_of_choice(group, name)
    for knob in knobs:
        default = "required" if knob.required else str(knob.default)
        value = str(values[knob.name]) if knob.name in values else ""
        table.add_row(f"{group}.{knob.name}", knob.type, default, "" if value == default else value)
    out.print(table)


def check_choice(group: str, name: str) -> None:
    """Refuse what is neither a choice nor a component of a group.

    Raises:
        ConfigError: with the nearest choice, and all of them.
    """
    known = known_choices(group)
    if name not in {*known, *known.values()}:
        raise ConfigError(f"{group}: there is no choice {name!r}.{nearest(name, known)} Choices: {choices(known)}.")


def known_choices(group: str) -> dict[str, str]:
    """The component that each label of a group names; components without a label last, by their own name."""
    from lightning_tx.cli.compose import component_of, hydra_session, labels_in
    from lightning_tx.core import registry

    with hydra_session():
        found = {label: component_of(group, label) for label in labels_in(group)}
    return found | {name: name for name in registry.names(group) if name not in found.values()}


def values_of_choice(group: str, label: str) -> dict[str, object]:
    """The content of a choice's file; the name alone of a component without one."""
    from lightning_tx.cli.compose import hydra_session, labels_in, values_of

    with hydra_session():
        return values_of(group, label) if label in labels_in(group) else {"name": label}
