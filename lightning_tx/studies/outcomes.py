"""What became of runs, as a result of its own: a level that diverges is not a level with fewer runs."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from lightning_tx.core import names
from lightning_tx.studies.factors import Factor
from lightning_tx.studies.formatting import listed
from lightning_tx.studies.places import Place, latest_of_each_place, place_of
from lightning_tx.studies.statistics import BETTER, EQUIVALENT, WORSE, Effect

if TYPE_CHECKING:
    from lightning_tx.tracking.records import RunRecord

Outcome = Literal["finished", "diverged", "failed", "killed", "running"]

WORSE_DIVERGED = "worse: diverged"
BETTER_DIVERGED = "better: baseline diverged"

#: What the reason of a run says that stopped because its numbers were none any more.
_DIVERGED = ("diverged", "nonfinite", "not finite")
_LOST: tuple[Outcome, ...] = ("diverged", "failed", "killed")


def outcome_of(run: "RunRecord", metric: str) -> Outcome:
    """Whether a run ended with a usable value of the metric, and if not, why not.

    A run that was cut off without a word counts as running: nobody knows.
    """
    if run.finished:
        # A finished run without the metric was asked for something that it does not measure.
        return "finished" if math.isfinite(run.metrics.get(metric, 0.0)) else "diverged"
    reason = run.tags.get(names.REASON, "").lower()
    if any(words in reason for words in _DIVERGED):
        return "diverged"
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
    """The levels that lost runs.

    Attributes:
        levels: what each of them lost, by factor and level.
        lost_beside: by factor and level, in how many places the baseline's run was lost and that of the level was not.
    """

    levels: Mapping[tuple[str, str], Lost]
    lost_beside: Mapping[tuple[str, str], int]

    def judge(self, effect: Effect) -> Effect:
        """The effect with what lost runs make of its verdict.

        A level all of whose runs diverged, where some of its baseline's did not, is worse. One that lost runs which its
        baseline did not lose is neither better nor equivalent: the runs that are left were selected by their luck. Nor
        is it worse or equivalent where those of the baseline were.
        """
        level, baseline = (self.levels.get((effect.factor, name)) for name in (effect.level, effect.baseline))
        beside = self.lost_beside.get((effect.factor, effect.level), 0)
        if level is not None and level.beyond_baseline:
            if level.all_diverged:
                return replace(effect, verdict=WORSE_DIVERGED)
            if effect.verdict in (BETTER, EQUIVALENT):
                return replace(effect, verdict=f"inconclusive: {level.words}")
        if baseline is not None and beside:
            if baseline.all_diverged:
                return replace(effect, verdict=BETTER_DIVERGED)
            if effect.verdict in (WORSE, EQUIVALENT):
                return replace(effect, verdict=f"inconclusive: {effect.baseline} {baseline.words}")
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
    ended: dict[Place, Outcome] = {
        place_of(run, factors): outcome_of(run, metric) for run in latest_of_each_place(runs, factors)
    }
    ended |= {place_of(run, factors): "finished" for run in runs if outcome_of(run, metric) == "finished"}
    found: dict[tuple[str, str], Lost] = {}
    lost_beside: dict[tuple[str, str], int] = {}
    for column, factor in enumerate(factors):
        for level in factor.levels:
            own = [(place, outcome) for place, outcome in ended.items() if place[0][column] == level]
            beside = [(outcome, ended.get(_beside(place, column, baselines[factor.name]))) for place, outcome in own]
            counts: dict[Outcome, int] = {}
            for name in _LOST:
                if count := sum(outcome == name for _, outcome in own):
                    counts[name] = count
            if counts:
                beyond = sum(outcome in _LOST and other == "finished" for outcome, other in beside)
                found[factor.name, level] = Lost(factor.name, level, len(own), counts, beyond)
            lost_beside[factor.name, level] = sum(outcome == "finished" and other in _LOST for outcome, other in beside)
    return Losses(found, lost_beside)


def _beside(place: Place, column: int, baseline: str) -> Place:
    """The place of equal seed and other levels that has the baseline."""
    levels, seed = place
    return (*levels[:column], baseline, *levels[column + 1 :]), seed
