"""``ltx components``: what can be chosen, with options and sources."""

import argparse

from lightning_tx.cli.choices import check_choice, known_choices, values_of_choice
from lightning_tx.cli.console import console
from lightning_tx.core.schema import options_of
from lightning_tx.groups import GROUPS, group_named


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

    group, _, name = asked(arguments.words).partition("/")
    with plugins_of(arguments.words):
        if group:
            group_named(group)
        if arguments.problems:
            from lightning_tx.cli.problems import print_problems

            print_problems(group, name)
        elif name:
            _print_component(group, name)
        else:
            for each in [group] if group else GROUPS:
                _print_group(each)
    return 0


def _print_group(group: str) -> None:
    from rich.table import Table

    from lightning_tx.core.description import source, summary

    table = Table(title=f"{group}=", title_justify="left", title_style="bold", box=None, pad_edge=False)
    for column in ("choice", "component", "what it is", "source"):
        table.add_column(column, overflow="fold")
    for label, name in known_choices(group).items():
        cls = GROUPS[group].get(name)
        table.add_row(label, "" if name == label else name, summary(cls), source(cls))
    console().print(table, "", sep="\n")


def _print_component(group: str, name: str) -> None:
    from rich.table import Table

    from lightning_tx.core.description import description

    by_label = known_choices(group)
    check_choice(group, name)
    cls = GROUPS[group].get(by_label.get(name, name))
    out = console()
    labels = [label for label, component in by_label.items() if component == by_label.get(name, name)]
    out.print(f"[bold]{group}={name}[/]  ({cls.__module__}.{cls.__qualname__})\n")
    out.print(description(cls), markup=False)
    if len(labels) > 1:
        out.print(f"\nChoices made of it: {', '.join(labels)}")
    options = options_of(cls)
    if not options:
        return
    table = Table(title="\nOptions", title_justify="left", title_style="bold", box=None, pad_edge=False)
    for column in ("key", "type", "default", f"in {group}/{name}.yaml"):
        table.add_column(column, overflow="fold")
    values = values_of_choice(group, name)
    for option in options:
        default = "required" if option.required else str(option.default)
        value = str(values[option.name]) if option.name in values else ""
        table.add_row(f"{group}.{option.name}", option.type, default, "" if value == default else value)
    out.print(table)
