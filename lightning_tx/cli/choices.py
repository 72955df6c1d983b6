"""What can be chosen in a group: the labels of its config files, and the components behind them."""

from lightning_tx.core.errors import ConfigError, choices, nearest
from lightning_tx.groups import GROUPS


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
    from lightning_tx.cli.compose import component_of, labels_in
    from lightning_tx.cli.session import hydra_session

    with hydra_session():
        found = {label: component_of(group, label) for label in labels_in(group)}
    return found | {name: name for name in GROUPS[group].names() if name not in found.values()}


def values_of_choice(group: str, label: str) -> dict[str, object]:
    """The content of a choice's file; the name alone of a component without one."""
    from lightning_tx.cli.compose import labels_in, values_of
    from lightning_tx.cli.session import hydra_session

    with hydra_session():
        return values_of(group, label) if label in labels_in(group) else {"name": label}
