"""Models drawn for one choice: with partners, options and sizes that it is not checked with otherwise."""

import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from lightning_tx.core.errors import ConfigError
from lightning_tx.groups import GROUPS
from lightning_tx.testing.baseline import BASELINE, LENGTH, PARTS, TOPOLOGIES, Config
from lightning_tx.testing.combinations import refusal
from lightning_tx.testing.subject import Subject
from lightning_tx.testing.variations import complete, varied

#: How many models are drawn for a choice; most built-in partners stand in one of them.
NUMBER = 10
#: An odd number of heads, heads that are wider or narrower than their share of the states, and inner widths.
SIZES: Sequence[Config] = (
    {"num_heads": 3, "head_dim": 8},
    {"num_heads": 4, "d_ff": 72},
    {"num_heads": 5, "head_dim": 6, "d_ff": 20},
    {"num_heads": 2, "d_model": 24, "d_ff": 40},
    {"num_heads": 3, "d_model": 24},
)
#: More tokens than a block of 64 and of 128 holds.
LENGTHS = (LENGTH, 72, 140)


#: Tokens that never see each other; layers that forget what they were given.
HIDING = (("attention", "none"), ("block", "no_residual"))


def drawn_subjects(group: str, label: str, config: Config, *, seed: int = 0, number: int = NUMBER) -> list[Subject]:
    """Models in which a choice stands among others than the baseline's.

    Every level of every factor is drawn about as often as any other. Where a model cannot be built, parts of it are
    put back to the baseline until it can.

    Args:
        group: the group of the choice, one of a model's parts or ``model``.
        label: what the choice is called.
        config: its name and options.
        seed: of the draw.
        number: how many models; with fewer the first of them.
    """
    generator = random.Random(seed)
    columns = {other: _column(_partners(other), generator) for other in PARTS if other != group}
    topologies = _column([config] if group == "model" else [{"name": name} for name in TOPOLOGIES], generator)
    own = [config, *(varied(group, config, generator, numbers=True) for _ in range(NUMBER))]
    sizes, lengths = _column(SIZES, generator), _column(LENGTHS, generator)
    found = []
    for each in range(min(number, NUMBER)):
        parts = {other: levels[each] for other, levels in columns.items()}
        if each % 2:
            parts = {other: varied(other, chosen, generator, numbers=False) for other, chosen in parts.items()}
        if group != "model":
            parts[group] = own[each]
        for near in _nearby(group, config, topologies[each], parts, sizes[each], topologies[:3]):
            subject = _subject(group, label, *near, lengths[each])
            if _can_run(subject):
                found.append(subject)
                break
    return found


def _subject(
    group: str, label: str, topology: Config, parts: Mapping[str, Config], sizes: Config, length: int
) -> Subject:
    fitted = {other: _with_fitting_heads(other, parts[other], sizes) for other in PARTS}
    return Subject(f"{group}/{label}", topology, fitted, group, sizes=sizes, length=length)


def _can_run(subject: Subject) -> bool:
    """Whether a model is refused neither when it is built nor when it is first run."""
    if refusal({**subject.topology, **subject.sizes}, subject.parts) is not None:
        return False
    try:
        subject.states(subject.ids)
    except ConfigError:
        return False
    except Exception:
        return True  # not refused but broken: the properties say what is raised
    return True


def _nearby(
    group: str,
    config: Config,
    topology: Config,
    parts: Mapping[str, Config],
    sizes: Config,
    topologies: Sequence[Config],
) -> Iterator[tuple[Config, dict[str, Config], Config]]:
    """The model itself, and with ever more of it put back: one partner, its own options, the topology, all."""
    yield topology, dict(parts), sizes
    base = {**BASELINE, **({} if group == "model" else {group: config})}
    for other in parts:
        yield topology, {**parts, other: base[other]}, sizes
    if group != "model":
        parts = {**parts, group: config}
    for other in parts:
        for each in topologies:
            yield each, {**parts, other: base[other]}, sizes
    yield topology, base, sizes
    for each in topologies:
        yield each, base, {}


def _with_fitting_heads(group: str, config: Config, sizes: Config) -> Config:
    """The config with key heads that divide the number of heads: one of them, or all."""
    heads, own = sizes.get("num_heads", 4), complete(group, config).get("num_kv_heads")
    if group != "attention" or own is None or heads % own == 0:
        return config
    return {**config, "num_kv_heads": 1 if own % 2 else heads}


def _partners(group: str) -> list[Config]:
    """The built-in components of a group, but for those in which little is seen of the others."""
    names = [name for name in GROUPS[group].names() if name not in GROUPS[group].foreign()]
    return [{"name": name} for name in names if (group, name) not in HIDING]


def _column(levels: Sequence[Any], generator: random.Random) -> list[Any]:
    """A level for each model, each of them about as often as any other, in an order of its own."""
    cycles = -(-NUMBER // len(levels))
    return [level for _ in range(cycles) for level in generator.sample(list(levels), len(levels))][:NUMBER]
