"""What became of runs, as a result of its own: a level that diverges is not a level with fewer runs."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from lightning_tx.ablation.factors import Factor
from lightning_tx.ablation.formatting import listed
from lightning_tx.ablation.places import Place, latest_of_each_place, place_of
from lightning_tx.ablation.statistics import BETTER, EQUIVALENT, Effect
from lightning_tx.tracking import tags

if TYPE_CHECKING:
    from lightning_tx.tracking.records import RunRecord

Outcome = Literal["finished", "diverged", "failed", "killed", "running"]

WORSE_DIVERGED = "worse: diverged"
BETTER_DIVERGED = "better: baseline diverged"

_LOST: tuple[Outcome, ...] = ("diverged", "failed", "killed")


def outcome_of(run: "RunRecord", metric: str) -> Outcome:
    """Whether a run ended with a usable value of the metric, and if not, why not.

    A run that was cut off without a word counts as running: nobody knows.
    """
    if "diverged" in run.tags.get(tags.REASON, ""):
        return "diverged"
    if run.finished:
        # A finished run without the metric was asked for something that it does not measure.
        return "finished" if math.isfinite(run.metrics.get(metric, 0.0)) else "diverged"
    outcomes: dict[str, Outcome] = {"FAILED": "failed", "KILLED": "killed"}
    return outcomes.get(run.status, "running")


@dataclass(frozen=True)
class Lost:
    """The runs of one level, beside what its baseline ran with.

    Attributes:
        factor: name of the factor.
        level: the level.
        num_runs: how many places it was run in.
        counts: how many of them were lost, by outcome.
        beyond_baseline: how many were lost where the baseline's run, of equal other levels and seed, was not.
    """

    factor: str
    level: str
    num_runs: int
    counts: Mapping[Outcome, int]
    beyond_baseline: int

    @property
    def all_diverged(self) -> bool:
        """Whether no run of the level came to a value because all of them diverged."""
        return self.counts.get("diverged") == self.num_runs

    @property
    def words(self) -> str:
        """``diverged at 1 of 3 runs``."""
        parts = [f"{outcome} at {count} of {self.num_runs}" for outcome, count in self.counts.items()]
        return f"{listed(parts)} {'run' if self.num_runs == 1 else 'runs'}"


@dataclass(frozen=True)
class Losses:
    """The levels that lost runs, by factor and level."""

    levels: Mapping[tuple[str, str], Lost]

    def judge(self, effect: Effect) -> Effect:
        """The effect with what lost runs make of its verdict.

        A level all of whose runs diverged is worse. One that lost runs which its baseline did not lose is neither
        better nor equivalent: the runs that are left were selected by their luck.
        """
        level, baseline = (self.levels.get((effect.factor, name)) for name in (effect.level, effect.baseline))
        gone, baseline_gone = level is not None and level.all_diverged, baseline is not None and baseline.all_diverged
        if gone and not baseline_gone:
            return replace(effect, verdict=WORSE_DIVERGED)
        if baseline_gone and not gone:
            return replace(effect, verdict=BETTER_DIVERGED)
        if level is not None and level.beyond_baseline and effect.verdict in (BETTER, EQUIVALENT):
            return replace(effect, verdict=f"inconclusive: {level.words}")
        return effect

    def with_absent(self, found: Sequence[Effect], baselines: Mapping[str, str]) -> list[Effect]:
        """The effects, and one for each level of which nothing is left to compute an effect from."""
        known = {(effect.factor, effect.level) for effect in found}
        absent = [
            Effect(lost.factor, lost.level, baselines[lost.factor])
            for key, lost in self.levels.items()
            if lost.all_diverged and key not in known and lost.level != baselines[lost.factor]
        ]
        order = {factor: place for place, factor in enumerate(baselines)}
        return sorted([*found, *absent], key=lambda effect: order[effect.factor])

    def sentences(self) -> list[str]:
        """One for each level that lost runs."""
        return [f"{lost.factor}={lost.level} {lost.words}." for lost in self.levels.values()]


def losses(runs: Sequence["RunRecord"], factors: Sequence[Factor], baselines: Mapping[str, str], metric: str) -> Losses:
    """Count lost runs by level; of runs in the same place one with a value, else the latest, counts.

    Args:
        runs: every run of the study, in order.
        factors: its factors.
        baselines: baseline level by factor.
        metric: name of the metric that is compared.
    """
    ended: dict[Place, Outcome] = {}
    for run in latest_of_each_place(sorted(runs, key=lambda run: outcome_of(run, metric) == "finished"), factors):
        ended[place_of(run, factors)] = outcome_of(run, metric)
    found = {}
    for column, factor in enumerate(factors):
        baseline = baselines[factor.name]
        for level in factor.levels:
            own = {place: outcome for place, outcome in ended.items() if place[0][column] == level}
            counts: dict[Outcome, int] = {name: count for name in _LOST if (count := list(own.values()).count(name))}
            beyond = sum(
                outcome in _LOST
                and ended.get(((*levels[:column], baseline, *levels[column + 1 :]), seed)) == "finished"
                for (levels, seed), outcome in own.items()
            )
            if counts:
                found[factor.name, level] = Lost(factor.name, level, len(own), counts, beyond)
    return Losses(found)
