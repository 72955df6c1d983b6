"""Combinations in which an option changes nothing at all, to the last digit."""

from collections.abc import Mapping, Sequence

import pandas as pd

from lightning_tx.studies.cell_model import fit
from lightning_tx.studies.formatting import listed
from lightning_tx.studies.statistics import paired


def identical_beside(
    table: pd.DataFrame, factors: Sequence[str], baselines: Mapping[str, str], matched_on: Sequence[str] = ()
) -> list[str]:
    """One sentence for every level that equals its baseline in some combinations and not in all of them.

    Args:
        table: as for ``statistics.effects``.
        factors: the factors.
        baselines: baseline level by factor.
        matched_on: further columns that make up a cell.
    """
    if table.empty or not factors:
        return []
    columns = [*factors, *matched_on]
    model = fit(table, columns)
    sentences = []
    for column, factor in enumerate(factors):
        for level in dict.fromkeys(table[factor].astype(str)):
            if level == baselines[factor]:
                continue
            equal, compared = [], 0
            for cell, partner in paired(model, column, level, baselines[factor]):
                shared = model.seeds_of[cell] & model.seeds_of[partner]
                compared += bool(shared)
                if shared and all(model.values[cell, seed] == model.values[partner, seed] for seed in shared):
                    equal.append(model.cells[cell])
            if not equal or len(equal) == compared:
                continue
            # The columns that say where: those of which the equal combinations have fewer levels than all.
            places = [
                f"{name}={listed(here)}"
                for place, name in enumerate(columns)
                if place != column
                and len(here := list(dict.fromkeys(cell[place] for cell in equal))) < len(set(table[name].astype(str)))
            ]
            where = f"beside {listed(places)}" if places else f"in {len(equal)} of {compared} combinations"
            sentences.append(
                f"{factor}={level} and {baselines[factor]} give exactly the same values {where}: "
                "does the option reach the model there?"
            )
    return sentences
