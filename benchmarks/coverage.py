"""How often a study is wrong: its intervals, false verdicts, equivalence and advice on seeds, by simulation.

Real noise comes from a bank of 288 real runs (eight combinations of positions, attention and feed-forward, 36 seeds,
``experiment=smoke`` for 80 steps). Studies are drawn from it seed by seed, with replacement, so that the means of the
bank are the truth. Made-up noise is that of seed and level: all runs that share a seed and a level are lucky or unlucky
together.

    python benchmarks/coverage.py            print the table of docs/statistics.md; about 20 minutes
    python benchmarks/coverage.py --quick    the same with a tenth of the studies
    python benchmarks/coverage.py --bank     train the bank again and write it; about 10 minutes on one core
"""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd

from lightning_tx.core.margin import Margin
from lightning_tx.studies.interactions import interactions
from lightning_tx.studies.statistics import EQUIVALENT, Effect, effects

BANK = Path(__file__).parent.parent / "tests" / "studies" / "bank.csv"
BANK_FACTORS = {"positions": ("none", "rope"), "attention": ("mha", "gqa"), "feed_forward": ("gelu", "swiglu")}
BANK_SEEDS = 36

Levels = Mapping[str, Sequence[str]]
Noise = Callable[[np.random.Generator, int], np.ndarray]


def normal(random: np.random.Generator, size: int) -> np.ndarray:
    return random.normal(size=size)


def heavy(random: np.random.Generator, size: int) -> np.ndarray:
    """Student's t with three degrees of freedom."""
    return random.standard_t(3, size)


def made_up(
    levels: Levels,
    num_seeds: int,
    random: np.random.Generator,
    *,
    noise: Noise = normal,
    scale: Mapping[tuple[str, str], float] | None = None,
    seed_shift: float = 3.0,
    run_noise: float = 0.3,
    cells: Iterable[tuple[str, ...]] | None = None,
) -> pd.DataFrame:
    """A study without effects, a full grid unless ``cells`` says which; noise is of seed, of seed and level, of run."""
    names, cells = list(levels), list(product(*levels.values()) if cells is None else cells)
    shifts = random.normal(0, seed_shift, num_seeds)
    of_level = {
        (name, level): noise(random, num_seeds) * (scale or {}).get((name, level), 1.0)
        for name in names
        for level in levels[name]
    }
    rows = [
        (*cell, seed, shifts[seed] + sum(of_level[place][seed] for place in zip(names, cell, strict=True)))
        for seed in range(num_seeds)
        for cell in cells
    ]
    table = pd.DataFrame(rows, columns=[*names, "seed", "value"])
    return table.assign(value=table.value + run_noise * random.normal(size=len(table)))


def grid(num_factors: int, num_levels: int = 2) -> dict[str, list[str]]:
    """Factors with levels ``0``, ``1``, ..."""
    return {f"factor{number}": [str(level) for level in range(num_levels)] for number in range(num_factors)}


def one_by_one(levels: Levels) -> list[tuple[str, ...]]:
    """The baseline, and every other level alone."""
    base = tuple(own[0] for own in levels.values())
    return [base] + [
        (*base[:place], level, *base[place + 1 :]) for place, own in enumerate(levels.values()) for level in own[1:]
    ]


def without(table: pd.DataFrame, share: float, random: np.random.Generator) -> pd.DataFrame:
    """The table with a share of its runs missing at random."""
    kept = random.permutation(len(table))[: len(table) - round(share * len(table))]
    return table.iloc[np.sort(kept)]


def read_bank() -> pd.DataFrame:
    """The bank, one row a run."""
    return pd.read_csv(BANK, keep_default_na=False).astype({"value": float})


class Bank:
    """Studies drawn from the bank.

    Attributes:
        truth: the effect of each factor over all seeds.
    """

    def __init__(self) -> None:
        table = read_bank()
        means = table.groupby(list(BANK_FACTORS)).value.transform("mean")
        self._real = dict(iter(table.groupby("seed")))
        self._null = dict(iter(table.assign(value=table.value - means).groupby("seed")))
        self.truth = {
            name: table[table[name] == level].value.mean() - table[table[name] == baseline].value.mean()
            for name, (baseline, level) in BANK_FACTORS.items()
        }

    def draw(self, num_seeds: int, missing: float, random: np.random.Generator) -> tuple[pd.DataFrame, pd.DataFrame]:
        """One study as it was, and the same one with the combinations' means taken off."""
        seeds = random.integers(0, BANK_SEEDS, num_seeds)
        kept = random.permutation(8 * num_seeds)[: 8 * num_seeds - round(8 * num_seeds * missing)]
        real, null = (
            pd.concat([source[seed].assign(seed=number) for number, seed in enumerate(seeds)]).iloc[np.sort(kept)]
            for source in (self._real, self._null)
        )
        return real, null


BASELINES = {name: levels[0] for name, levels in BANK_FACTORS.items()}


def bank_rates(num_seeds: int, missing: float, studies: int) -> dict[str, float]:
    """Coverage of each factor's interval, and the share of studies without effects that call something settled."""
    random, bank = np.random.default_rng(num_seeds), Bank()
    covered: dict[str, list[bool]] = {name: [] for name in BANK_FACTORS}
    alarms = 0
    for _ in range(studies):
        real, null = bank.draw(num_seeds, missing, random)
        for effect in effects(real, list(BANK_FACTORS), "min", BASELINES):
            if effect.low is not None:
                covered[effect.factor].append(_holds(effect, bank.truth[effect.factor]))
        alarms += any(effect.settled for effect in effects(null, list(BANK_FACTORS), "min", BASELINES))
    return {name: float(np.mean(hits)) for name, hits in covered.items()} | {"verdicts": alarms / studies}


def _holds(effect: Effect, truth: float) -> bool:
    assert effect.low is not None and effect.high is not None
    return effect.low <= truth <= effect.high


def made_up_rates(
    levels: Levels, num_seeds: int, studies: int, missing: float = 0.0, **noise: object
) -> dict[str, float]:
    """Coverage of all intervals, false verdicts and false interactions over studies without effects."""
    random = np.random.default_rng(len(levels) * 100 + num_seeds)
    covered: list[bool] = []
    alarms = dependent = 0
    for _ in range(studies):
        table = without(made_up(levels, num_seeds, random, **noise), missing, random)  # type: ignore[arg-type]
        found = effects(table, list(levels), "min")
        covered += [_holds(effect, 0.0) for effect in found if effect.low is not None]
        alarms += any(effect.settled for effect in found)
        dependent += any(pair.p_value < 0.05 for pair in interactions(table, list(levels)))
    return {"coverage": float(np.mean(covered)), "verdicts": alarms / studies, "interactions": dependent / studies}


def looking_rate(first: int, last: int, studies: int, num_factors: int = 1) -> float:
    """The share of studies without effects that call anything settled at any look, one after each seed."""
    random, levels = np.random.default_rng(first), grid(num_factors)
    alarms = 0
    for _ in range(studies):
        table = made_up(levels, last, random)
        looks: list[int] = []
        for seen in range(first, last + 1):
            if any(effect.settled for effect in effects(table[table.seed < seen], list(levels), "min", looks=looks)):
                alarms += 1
                break
            looks.append(seen)
    return alarms / studies


#: In the studies of one factor below, what the difference of two runs of one seed varies by.
PAIR_NOISE = (2 * (1 + 0.3**2)) ** 0.5


def equivalent_rate(num_seeds: int, margin: float, difference: float, studies: int) -> float:
    """The share of studies of one factor called equivalent; sizes in units of the noise of a seed's difference."""
    random, levels = np.random.default_rng(num_seeds), grid(1)
    stated = Margin.parse(margin * PAIR_NOISE)
    called = 0
    for _ in range(studies):
        table = made_up(levels, num_seeds, random)
        table.loc[table.factor0 == "1", "value"] += difference * PAIR_NOISE
        called += effects(table, list(levels), "min", margin=stated)[0].verdict == EQUIVALENT
    return called / studies


def advice_power(num_seeds: int, margin: float, studies: int) -> float:
    """How often a difference as large as the margin is found when a study is grown as its first report advises.

    Counted over the studies whose first report gave a number of seeds; half of the noise's unit is the difference.
    """
    random, levels = np.random.default_rng(num_seeds), grid(1)
    stated = Margin.parse(margin * PAIR_NOISE)
    found = asked = 0
    for _ in range(studies):
        table = made_up(levels, 201, random)
        table.loc[table.factor0 == "1", "value"] += margin * PAIR_NOISE
        first = effects(table[table.seed < num_seeds], list(levels), "min", margin=stated)[0]
        if first.seeds_needed is None or first.seeds_needed > 200:
            continue
        asked += 1
        grown = table[table.seed < first.seeds_needed]
        found += effects(grown, list(levels), "min", margin=stated, looks=[num_seeds])[0].verdict == "worse"
    return found / asked


def train_bank() -> None:
    """Train the 288 runs with the framework and keep their losses at the end of training."""
    from lightning_tx.tracking.store import Store

    swept = [f"{name}={','.join(levels)}" for name, levels in BANK_FACTORS.items()]
    options = ["trainer.max_steps=80", "trainer.val_every=80", "trainer.checkpoint_every=80", "trainer.precision=32"]
    with tempfile.TemporaryDirectory() as root:
        command = [sys.executable, "-m", "lightning_tx", "train", "-m", "experiment=smoke", *options, *swept]
        command += [f"seed=range(0,{BANK_SEEDS})", "study=bank", f"root={root}"]
        subprocess.run(command, check=True)
        runs = Store.open(Path(root)).runs("bank")
    rows = [{**{name: run.choices[name] for name in BANK_FACTORS}, "seed": run.seed} for run in runs]
    table = pd.DataFrame(rows).assign(value=[run.metrics["last/loss"] for run in runs])
    table.sort_values(["seed", *BANK_FACTORS], kind="stable").to_csv(BANK, index=False, float_format="%.6f")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="a tenth of the studies")
    parser.add_argument("--bank", action="store_true", help="train the bank again")
    arguments = parser.parse_args()
    if arguments.bank:
        train_bank()
        return
    scale = 0.1 if arguments.quick else 1.0
    for num_seeds, missing in product((3, 5, 8), (0.0, 0.15)):
        rates = bank_rates(num_seeds, missing, round(4000 * scale))
        print(f"bank, {num_seeds} seeds, {missing:.0%} missing:", _shown(rates), flush=True)
    settings: list[tuple[str, Levels, dict[str, object]]] = [
        *((f"{number} factors", grid(number), {}) for number in (1, 2, 3, 4, 6)),
        ("3 factors, 15 % missing", grid(3), {"missing": 0.15}),
        ("one level five times as noisy", grid(2, 3), {"scale": {("factor0", "1"): 5.0}}),
        ("seed shifts of 1,000", grid(2, 3), {"seed_shift": 1000.0}),
        ("heavy tails", grid(2, 3), {"noise": heavy, "run_noise": 0.0}),
        ("one combination missing", grid(3), {"cells": list(product("01", repeat=3))[:-1]}),
        ("20 factors one by one", grid(20), {"cells": one_by_one(grid(20))}),
    ]
    for (name, levels, noise), num_seeds in product(settings, (3, 5, 8)):
        studies = round((4000 if len(levels) < 4 else 1000) * scale)
        print(f"{name}, {num_seeds} seeds:", _shown(made_up_rates(levels, num_seeds, studies, **noise)), flush=True)  # type: ignore[arg-type]
    for first, last, factors in ((2, 5, 1), (2, 10, 1), (2, 20, 1), (3, 20, 1), (5, 20, 1), (3, 20, 3)):
        rate = looking_rate(first, last, round(4000 * scale), factors)
        print(f"a look after every seed from {first} to {last}, {factors} factors: {rate:.4f}", flush=True)
    for num_seeds, margin, difference in ((5, 2, 2), (10, 1, 1), (10, 2, 2), (5, 2, 0), (10, 1, 0), (10, 2, 0)):
        rate = equivalent_rate(num_seeds, margin, difference, round(4000 * scale))
        print(f"{num_seeds} seeds, margin {margin}, difference {difference}: equivalent {rate:.4f}", flush=True)
    for num_seeds, margin in ((3, 1.0), (5, 1.0), (5, 0.5), (8, 0.5)):
        rate = advice_power(num_seeds, margin, round(1000 * scale))
        print(f"advice from {num_seeds} seeds, margin {margin}: found in {rate:.3f}", flush=True)


def _shown(rates: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {rate:.4f}" for name, rate in rates.items())


if __name__ == "__main__":
    main()
