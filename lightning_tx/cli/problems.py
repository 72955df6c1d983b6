"""``ltx components --problems``: which choices cannot stand in one model, and why."""

from typing import Any

from lightning_tx.cli.choices import check_choice, known_choices, values_of_choice
from lightning_tx.cli.console import console


def print_problems(group: str = "", name: str = "") -> None:
    """Print the pairs of choices that cannot be built together though each can by itself.

    Args:
        group: only pairs with a choice of this group.
        name: only pairs with this choice of the group.

    Raises:
        ConfigError: there is no such choice.
    """
    from rich.table import Table

    from lightning_tx.groups import GROUPS
    from lightning_tx.model.config import PARTS
    from lightning_tx.testing import excluded_pairs

    if name:
        check_choice(group, name)
    configs: dict[str, list[dict[str, Any]]] = {}
    for each in (*PARTS, "adapter"):
        for label in known_choices(each):
            values = values_of_choice(each, label)
            if not GROUPS[each].problems(values):  # a file that leaves something to be filled in says nothing yet
                configs.setdefault(each, []).append({**values, "label": label})
    if group in configs:
        # Only what it can meet is built: two groups at a time.
        own = [config for config in configs.pop(group) if name in ("", config["label"])]
        found = [pair for other, rest in configs.items() for pair in excluded_pairs({group: own, other: rest})]
    else:
        found = excluded_pairs(configs)
    pairs = [
        pair
        for pair in dict.fromkeys(found)
        if not group or any(side[0] == group and name in ("", side[1]) for side in pair[:2])
    ]
    out = console()
    subject = f" with {group}{f'={name}' if name else ''}" if group else ""
    if not pairs:
        out.print(f"There is no pair{subject} that does not go together.")
        return
    table = Table(box=None, pad_edge=False)
    for column in ("choice", "does not go with", "because"):
        table.add_column(column, overflow="fold")
    for first, second, reason in pairs:
        table.add_row("=".join(first), "=".join(second), reason.replace(".; ", ".\n"))
    out.print(table)
