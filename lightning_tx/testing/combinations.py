"""Which components go together, and rows in which every pair of them that does is tested."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from itertools import combinations, product
from typing import Any

from lightning_tx.core.errors import ConfigError
from lightning_tx.model.build import build_model
from lightning_tx.testing.baseline import BASELINE, PARTS, TOPOLOGIES, VOCAB_SIZE, Config, shrunk, sized
from lightning_tx.testing.covering import Choice, Pair, covering_array

#: Depths that still have a first and a last layer of their own where that matters.
SHALLOW = {"num_layers": 1, "num_encoder_layers": 1, "num_decoder_layers": 1}


def refusal(topology: Config, parts: Mapping[str, Config]) -> str | None:
    """Why a model cannot be built of these parts; None where it can. Built on the meta device."""
    small = {**parts, "pattern": shrunk(parts["pattern"])}
    try:
        build_model({"model": sized(topology, **SHALLOW), **small}, vocab_size=VOCAB_SIZE, device="meta")
    except ConfigError as error:
        return "; ".join(error.problems)
    except Exception:
        return None  # not refused but broken: the properties that build it say what is raised
    return None


class Combinations:
    """The combinations of choices of several groups.

    Args:
        choices: config by label, by group; a group that is left out stays at the baseline.
        topologies: names of the registered models to combine with.
    """

    def __init__(self, choices: Mapping[str, Mapping[str, Config]], topologies: Sequence[str] = TOPOLOGIES) -> None:
        self.choices = {group: choices[group] for group in PARTS if choices.get(group)}
        self.topologies = topologies
        self.factors = {group: list(labels) for group, labels in self.choices.items()} | {"model": list(topologies)}
        self._refusals: dict[tuple[Choice, ...], str | None] = {}

    def parts(self, row: Mapping[str, str]) -> dict[str, Config]:
        """The configs of a row, the baseline's where it names none."""
        return {group: self.choices[group][row[group]] if group in row else BASELINE[group] for group in PARTS}

    def refused(self, row: Mapping[str, str]) -> str | None:
        """Why a row cannot be built, in any topology if it names none; None where it can."""
        key = tuple(sorted(row.items()))
        if key not in self._refusals:
            topologies = [row["model"]] if "model" in row else self.topologies
            first: str | None = None
            for topology in topologies:
                reason = refusal({"name": topology}, self.parts(row))
                first = first or reason
                if reason is None:
                    first = None
                    break
            self._refusals[key] = first
        return self._refusals[key]

    @cached_property
    def excluded(self) -> dict[Pair, str]:
        """Pairs of choices that cannot be built on the baseline, though each can, and why."""
        alone = {
            (factor, level)
            for factor, levels in self.factors.items()
            for level in levels
            if self.refused({factor: level}) is None
        }
        found: dict[Pair, str] = {}
        for first, second in combinations(self.factors, 2):
            for a, b in product(self.factors[first], self.factors[second]):
                pair = ((first, a), (second, b))
                reason = self.refused(dict(pair)) if alone.issuperset(pair) else "it cannot be built by itself"
                if reason is not None:
                    found[frozenset(pair)] = reason
        return found

    def rows(self) -> list[dict[str, str]]:
        """Rows in which every pair of choices meets that can be built."""
        rows, _ = covering_array(
            self.factors,
            excluded=self.excluded,
            valid=lambda row: self.refused(row) is None,
            fallback=self._on_the_baseline,
        )
        return rows

    def _on_the_baseline(self, pair: Pair) -> Mapping[str, str] | None:
        """A row of the pair and the baseline's choices, where those are among the choices."""
        for topology in self.topologies:
            row = {"model": topology, **dict(pair)}
            if self.refused(row) is None:
                return row
        return None


def excluded_pairs(
    choices: Mapping[str, Sequence[Mapping[str, Any]]],
) -> list[tuple[Choice, Choice, str]]:
    """The pairs of choices that cannot stand in one model, though each can by itself, and why.

    Args:
        choices: configs by group, each a ``name`` and options; a key ``label`` says what to call it if not its name.

    Returns:
        ``((group, label), (group, label), reason)``, in the order of the groups.
    """
    by_label = {
        group: {str(config.get("label", config["name"])): _without_label(config) for config in configs}
        for group, configs in choices.items()
    }
    combined = Combinations(by_label)
    found = []
    for first, second in combinations(combined.factors, 2):
        for a, b in product(combined.factors[first], combined.factors[second]):
            reason = combined.excluded.get(frozenset(((first, a), (second, b))))
            if reason is not None:
                found.append(((first, a), (second, b), reason))
    return found


def _without_label(config: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in config.items() if key != "label"}
