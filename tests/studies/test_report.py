import math
import re
from dataclasses import replace

import pytest

from lightning_tx.core import names
from lightning_tx.core.errors import ConfigError
from lightning_tx.core.margin import Margin
from lightning_tx.core.measure import Measure
from lightning_tx.studies.layout import summary
from lightning_tx.studies.metric import Metric, choose_metric
from lightning_tx.studies.report import build_report
from lightning_tx.tracking.study import Row
from tests.studies.studies import METRIC, run
from tests.studies.test_comparability import study as study_of_facts

#: Noise of the twelve runs of ``study``, the same in each test.
NOISE = [0.004, -0.006, 0.001, 0.005, -0.003, -0.002, 0.006, -0.001, -0.004, 0.002, 0.003, -0.005]


LOSS = Metric(METRIC, "min", None)


def study(seeds=range(3), steps=lambda seed: 1000):
    """Positions matter, attention does not; gqa has fewer parameters."""
    runs, configs = [], {}
    for positions, shift in (("none", 0.0), ("rope", -0.2)):
        for attention, total in (("mha", 3_210_496), ("gqa", 3_022_080)):
            for seed in seeds:
                made = run(
                    {"positions": positions, "attention": attention},
                    seed,
                    2.0 + shift + 0.05 * seed + NOISE[len(runs) % len(NOISE)],
                    metrics={
                        "params/total": total,
                        "params/trainable": total,
                        "train/tokens_per_second": 19_000.0 + seed,
                    },
                )
                runs.append(made)
                configs[made.run_id] = {
                    "seed": seed,
                    "positions": {"name": positions},
                    "attention": {"name": attention},
                    "trainer": {"max_steps": steps(seed), "devices": len(runs)},
                }
    return runs, configs


def report_of(runs, configs, metric=LOSS, **options):
    return build_report("made-up", runs, configs, metric, volatile=["trainer.devices"], **options)


def test_a_full_study():
    report = report_of(*study())
    assert [factor.name for factor in report.factors] == ["positions", "attention"]
    assert report.baselines == {"positions": "none", "attention": "mha"}
    assert [(effect.level, effect.verdict) for effect in report.effects] == [
        ("rope", "better"),
        ("gqa", "inconclusive"),
    ]
    assert report.effects[0].estimate == pytest.approx(-0.2, abs=0.01)
    best = report.combinations[0]
    assert best.levels["positions"] == "rope"
    assert best.num_seeds == 3
    assert best.tokens_per_second == 19_001.0
    assert [row.mean for row in report.combinations] == sorted(row.mean for row in report.combinations)
    assert (report.num_runs, report.num_seeds, report.unfinished) == (12, 3, ())
    (real,) = report.settled
    assert re.fullmatch(
        r"positions: rope − none = -0\.2\d*, 95 % -0\.2\d+ to -0\.1\d+ over 3 seeds \(lower at 3 of 3\): better\.", real
    )
    (unsettled,) = report.unsettled
    assert re.fullmatch(
        r"attention: gqa − mha = 0\.000, 95 % -0\.\d+ to \+0\.\d+ over 3 seeds: not settled, at most 0\.\d+ either way;"
        r" with 3 seeds only differences above about 0\.\d+ show\.",
        unsettled,
    )
    assert report.differences == ("attention=gqa has 5.9 % fewer parameters than mha (3.02 M against 3.21 M).",)
    assert report.untested == report.cautions == ()


def test_combinations_hold_mean_and_spread_over_seeds():
    runs, configs = study()
    values = [made.metrics[METRIC] for made in runs[:3]]
    mean = sum(values) / 3
    row = next(row for row in report_of(runs, configs).combinations if row.run_ids[0] == runs[0].run_id)
    assert row.mean == pytest.approx(mean)
    assert row.spread == pytest.approx(math.sqrt(sum((value - mean) ** 2 for value in values) / 2))


def test_large_values_first_where_they_are_good():
    runs, configs = study()
    report = report_of(runs, configs, Metric(METRIC, "max", None))
    assert report.combinations[0].levels["positions"] == "none"
    assert report.effects[0].verdict == "worse"


def test_failed_and_missing_runs_are_listed_with_their_reason():
    runs, configs = study()
    choices = {"positions": "rope", "attention": "gqa"}
    failed = run(choices, 2, None, status="FAILED", tags={names.REASON: "MemoryError: no room\nfor this"})
    undefined = run({"positions": "none", "attention": "mha"}, 0, math.nan)
    killed = run({"positions": "none", "attention": "mha"}, 1, None, status="KILLED")
    running = run({"positions": "none", "attention": "mha"}, 2, None, status="RUNNING")
    rows = [Row(made.identity, f"run {made.run_id}", made.seed, made.choices) for made in runs[3:9]]
    report = report_of([*runs[3:8], *runs[9:11], failed, undefined, killed, running], configs, rows=rows)
    assert {entry.name: entry.reason for entry in report.unfinished} == {
        "positions=rope attention=gqa seed=2": "MemoryError: no room for this",
        "positions=none attention=mha seed=1": "killed, no reason recorded",
        "positions=none attention=mha seed=2": "still running, or cut off",
        f"run {runs[8].run_id}": "not run",
    }
    assert "positions=none attention=mha seed=0: best/val/loss is nan." in report.lost
    assert (report.num_runs, report.num_diverged) == (12, 1)
    assert sum(row.num_seeds for row in report.combinations) == 7


def test_what_nobody_asked_for_is_not_missing():
    runs, configs = study()
    grown, more = study(seeds=[3, 4])
    # The study is grown by two seeds for gqa alone.
    report = report_of([*runs, *(made for made in grown if made.choices["attention"] == "gqa")], configs | more)
    assert (report.num_runs, report.unfinished) == (16, ())


def test_failed_run_that_was_done_again_is_not_missing():
    runs, configs = study()
    again = run(runs[0].choices, 0, None, status="FAILED")
    assert report_of([again, *runs], configs).unfinished == ()


def test_changed_setting_is_flagged_and_not_averaged():
    runs, configs = study(steps=lambda seed: 2000 if seed == 2 else 1000)
    report = report_of(runs, configs)
    caution = report.cautions[0]
    assert caution.startswith("Changed without being swept: trainer.max_steps (1000 in 8 runs, 2000 in 4 runs).")
    assert len(report.combinations) == 8
    assert {row.levels["trainer.max_steps"] for row in report.combinations} == {"1000", "2000"}
    assert [effect.factor for effect in report.effects] == ["positions", "attention"]


def test_what_differs_is_told_of_factors_and_not_of_changed_settings():
    short, configs = study()
    long, more = study(steps=lambda seed: 2000)
    for made in long:
        made.metrics["params/total"] += 1000
    report = report_of([*short, *long], configs | more)
    assert {row.levels["trainer.max_steps"] for row in report.combinations} == {"1000", "2000"}
    assert {confound.factor for confound in report.confounds} == {"attention"}


def test_several_changed_settings_share_a_column():
    runs, configs = study()
    for made in runs:
        configs[made.run_id]["optimizer"] = {"lr": 0.1 if made.seed else 0.2, "beta": 0.1 if made.seed == 2 else 0.3}
    report = report_of(runs, configs)
    assert {row.levels["settings"] for row in report.combinations} == {"A", "B", "C"}
    assert "The column 'settings' tells them apart (A: 4 runs, B: 4 runs, C: 4 runs)." in report.cautions[0]


def test_setting_that_comes_with_one_level_is_named_as_its_confound():
    runs, configs = study()
    for made in runs:
        configs[made.run_id]["trainer"]["max_steps"] = 2000 if made.choices["attention"] == "gqa" else 1000
    report = report_of(runs, configs)
    assert len(report.combinations) == 4
    assert "attention=gqa against mha also differs in trainer.max_steps (2000 instead of 1000)." in report.differences


def test_repeated_run_counts_once():
    runs, configs = study()
    again = run(runs[0].choices, 0, 9.0)
    configs[again.run_id] = configs[runs[0].run_id]
    report = report_of([*runs, again], configs)
    assert report.cautions[0] == "1 run repeats a combination and seed that ran again later; the latest counts."
    assert again.run_id in next(row.run_ids for row in report.combinations if row.mean > 3)
    assert sum(row.num_seeds for row in report.combinations) == 12


def test_one_seed():
    report = report_of(*study(seeds=[0]))
    assert {effect.verdict for effect in report.effects} == {"inconclusive: one seed"}
    (sentence,) = report.untested
    assert sentence.startswith("Every combination ran with one seed")
    assert report.settled == report.unsettled == report.interplay == ()


def test_one_combination():
    runs, configs = study()
    report = report_of(runs[:3], configs)
    assert report.effects == ()
    assert report.untested == (
        "The study varies nothing but the seed: there is one combination and no effect to show.",
    )
    assert len(report.combinations) == 1


def test_one_run():
    report = report_of(*(lambda runs, configs: (runs[:1], configs))(*study()))
    assert report.combinations[0].spread is None
    assert report.num_runs == 1


def test_nothing_finished_yet():
    runs = [run({"norm": norm}, 0, None, status="RUNNING") for norm in ("none", "rmsnorm")]
    report = report_of(runs, {})
    assert report.untested == ("No run has finished with a value yet.",)
    assert len(report.unfinished) == 2
    assert report_of([], {}).untested == ("No run has finished with a value yet.",)


def test_baseline_that_did_not_finish():
    runs, configs = study()
    done = [made for made in runs if made.choices["positions"] == "rope"]
    failed = run({"positions": "none", "attention": "mha"}, 0, None, status="FAILED", tags={names.REASON: "bad"})
    report = report_of([failed, *done], configs, baselines={"positions": "none"})
    assert "Only positions=rope has finished: there is nothing to compare it with yet." in report.untested
    assert [effect.level for effect in report.effects] == ["rope", "gqa"]


def test_interaction_is_told_with_its_sizes():
    runs, configs = study()
    for made in runs:
        if made.choices == {"positions": "rope", "attention": "gqa"}:
            made.metrics[METRIC] -= 0.3
    report = report_of(runs, configs)
    (sentence,) = report.interplay
    assert re.fullmatch(
        r"The effect of positions depends on attention \(p < 0\.001\): rope − none is -0\.19\d+ with mha and -0\.5\d+ "
        r"with gqa\.",
        sentence,
    )


def test_interaction_beside_the_baseline_is_told_without_sizes():
    # mha, the baseline, ran with one norm only: how far its difference to others depends on the norm is not known.
    cells = [("mha", "x", 0.0), ("gqa", "x", 1.0), ("gqa", "y", 1.0), ("mqa", "x", 1.0), ("mqa", "y", 5.0)]
    runs = [
        run({"attention": attention, "norm": norm}, seed, level + 0.001 * (seed * number % 3))
        for number, (attention, norm, level) in enumerate(cells)
        for seed in range(3)
    ]
    (sentence,) = report_of(runs, {}).interplay
    assert re.fullmatch(r"The effect of attention depends on norm \(p < 0\.001\)\.", sentence)


def test_provenance():
    runs, configs = study()
    for number, made in enumerate(runs):
        made.tags[names.GIT_COMMIT] = "abcdef0123456789" if number < 5 else "0123456789abcdef"
        made.tags[names.HOST] = f"machine{number % 2}"
    runs[0].tags[names.CODE_CHANGED] = "a -> b"
    del configs[runs[3].run_id]
    assert report_of(runs, configs).cautions == (
        "The runs come from 2 versions of the code: abcdef01 and 01234567.",
        "1 run changed code when resumed.",
        "The runs come from 2 machines (machine0 and machine1): tokens/s may not compare.",
        "1 run without a recorded config could not be checked for other differences.",
    )


def test_runs_that_ignore_the_seed_are_suspected():
    runs, configs = study()
    for made in runs:
        made.metrics[METRIC] = 1.0 + (made.choices["positions"] == "rope")
    report = report_of(runs, configs)
    (sentence,) = report.unsettled
    assert sentence.startswith("positions: rope − none = +1") and "the same to the last digit at every seed" in sentence
    assert report.untested == ("attention=gqa and mha give exactly the same values: does the option reach the model?",)


def test_combination_that_diverges_is_named():
    runs, configs = study()
    runs[0].metrics[METRIC] += 3.0
    runs[1].metrics[METRIC] -= 2.0
    (caution,) = report_of(runs, configs).cautions
    assert caution.startswith("positions=none attention=mha varies far more between seeds than the rest (")


def test_unknown_baseline():
    runs, configs = study()
    with pytest.raises(ConfigError, match=r"baselines\.positions: 'alibi' is none of its levels"):
        report_of(runs, configs, baselines={"positions": "alibi"})


def test_effect_that_changes_sign_depends_and_that_comes_first():
    runs, configs = study(seeds=range(5))
    for place, made in enumerate(runs):
        rope, gqa = made.choices["positions"] == "rope", made.choices["attention"] == "gqa"
        made.metrics[METRIC] = 2.0 + 0.05 * made.seed + rope * (0.3 if gqa else -0.2) - 0.1 * gqa + NOISE[place % 12]
    report = report_of(runs, configs)
    assert [effect.verdict for effect in report.effects] == ["depends on attention", "depends on positions"]
    assert re.fullmatch(
        r"positions: rope − none depends on attention: -0\.2\d* with mha and \+0\.3\d* with gqa \(p .*\)\. "
        r"An average over attention describes none of them\.",
        report.dependent[0],
    )
    assert report.settled == report.unsettled == ()


def test_levels_that_lost_runs_are_told_and_not_called_better():
    runs, configs = study()
    for made in runs:
        if made.choices["positions"] == "rope" and made.choices["attention"] == "gqa" and made.seed == 1:
            made.metrics[METRIC] = math.nan
    report = report_of(runs, configs)
    rope = report.effects[0]
    assert (rope.level, rope.verdict) == ("rope", "inconclusive: diverged at 1 of 6 runs")
    assert report.lost == (
        "positions=rope diverged at 1 of 6 runs.",
        "attention=gqa diverged at 1 of 6 runs.",
        "positions=rope attention=gqa seed=1: best/val/loss is nan.",
    )
    assert summary(report) == "11 of 12 runs finished, 1 diverged, 4 combinations, 3 seeds"
    assert report.settled == ()


def test_level_that_always_diverged_is_worse():
    runs, configs = study()
    for made in runs:
        if made.choices["positions"] == "rope":
            made.metrics[METRIC] = math.nan
    report = report_of(runs, configs)
    verdicts = {effect.level: effect.verdict for effect in report.effects}
    assert verdicts == {"rope": "worse: diverged", "gqa": "inconclusive"}
    assert report.untested == ()


def test_undefined_numbers_on_the_way_are_told():
    runs, configs = study()
    runs[2].tags[names.NONFINITE] = "train/loss@70"
    (caution,) = report_of(runs, configs).cautions
    assert caution == (
        f"Infinite or undefined numbers occurred before the end in 1 run: {runs[2].name} (train/loss at step 70)."
    )


def test_values_that_cannot_be_compared_are_judged_by_another_metric_or_not_at_all():
    runs = study_of_facts("tokenizer", ["validation_data"], tokenizer=(1, 2))
    for place, made in enumerate(runs):
        made.metrics["last/bits_per_byte"] = 1.0 + 0.1 * place
    metric = choose_metric(runs)
    switched = report_of(runs, {}, metric, may_switch=True)
    assert switched.metric == "last/bits_per_byte" and switched.effects[0].estimate == pytest.approx(0.2)
    assert switched.cautions[0].endswith("last/bits_per_byte can be compared. It is used here.")
    asked = report_of(runs, {}, metric)
    assert (asked.effects[0].verdict, asked.effects[0].estimate) == ("not comparable", None)
    assert asked.untested[0].endswith("last/bits_per_byte can be compared.")
    absolute = report_of(runs, {}, metric, may_switch=True, margin=Margin.parse("0.01"))
    assert absolute.effects[0].margin is None
    assert "The margin of 0.01 is one of last/loss and is not used." in absolute.cautions
    assert report_of(runs, {}, metric, may_switch=True, margin=Margin.parse("1%")).effects[0].margin is not None


def test_the_test_split_stands_beside_the_verdict_and_never_decides():
    runs, configs = study()
    metric = Metric("last/loss", "min", None)
    for made in runs:
        made.metrics["last/loss"] = made.metrics[METRIC]
        made.metrics["last_test/loss"] = 5.0 + 0.3 * (made.choices["positions"] == "rope") + 0.01 * made.seed**2
    report = report_of(runs, configs, metric)
    assert report.test_metric == "last_test/loss" and report.test_effects[0].estimate == pytest.approx(0.3)
    assert report.effects[0].verdict == "better"
    assert "positions=rope: the test split has the other sign." in report.on_test


def test_facts_that_differ_between_seeds_are_told_and_split_nothing():
    runs, configs = study()
    for made in runs:
        made.params["facts.torch"] = "2.13" if made.seed < 2 else "2.14"
    report = report_of(runs, configs)
    assert len(report.combinations) == 4
    assert report.cautions == (
        "the version of torch differs between seeds: 2.13 for seeds 0 and 1 and 2.14 for seed 2. Every comparison is "
        "within a seed.",
    )


def test_one_learning_rate_for_all_arms_is_told():
    runs, configs = study()
    for config in configs.values():
        config["optimizer"] = {"lr": 0.01}
    assert report_of(runs, configs).cautions == ("optimizer.lr = 0.01 for all arms, not tuned for each.",)


def test_aliased_factors_are_judged_together():
    runs, configs = study()
    runs = [replace(made, choices={"a": made.choices["positions"], "b": made.choices["positions"]}) for made in runs]
    report = report_of(runs[:9], configs)
    assert [(effect.factor, effect.level) for effect in report.effects] == [("a + b", "rope + rope")]
    assert any(caution.startswith("a and b always changed together") for caution in report.cautions)


def test_looks_before_are_counted():
    runs, configs = study(seeds=range(5))
    for place, made in enumerate(runs):
        made.metrics[METRIC] = 2.0 + NOISE[place % 12]
    first, second = report_of(runs, configs), report_of(runs, configs, looks=[3])
    assert (first.look.number, second.look.number) == (1, 2)
    assert second.effects[0].high - second.effects[0].low > first.effects[0].high - first.effects[0].low
    assert "95 % over 2 looks" in second.unsettled[0]


def test_runs_of_before_facts_were_recorded_are_named_and_lost_ones_done_again_count_once():
    runs, configs = study()
    for made in runs:
        made.params["facts.data"] = "d"
        if made.choices["positions"] == "rope":
            made.params["facts.device"] = "cpu"
    lost = run(runs[0].choices, 0, None, status="FAILED")
    report = report_of([lost, *runs], configs)
    assert "6 runs did not record device: differences in this could not be checked." in report.cautions
    assert (report.num_runs, report.unfinished) == (12, ())
    assert report.differences == report_of(*study()).differences


def test_levels_that_cannot_be_compared_are_not_ranked_and_interact_with_nothing():
    runs, configs = study(seeds=range(5))
    for place, made in enumerate(runs):
        gqa, rope = made.choices["attention"] == "gqa", made.choices["positions"] == "rope"
        made.metrics.update({"last/loss": 2.0 + 0.5 * gqa * rope + NOISE[place % 12], "last_test/loss": 2.0})
        made.params["facts.validation_data"] = made.choices["positions"]
    report = report_of(runs, configs, Metric("last/loss", "min", Measure("min")))
    assert [effect.verdict for effect in report.effects] == ["not comparable", "worse"]
    assert report.interactions == () and report.dependent == ()
    # The test texts are the same: there the two can be compared.
    assert report.test_effects[0].estimate is not None


def test_the_test_split_has_needs_of_its_own():
    runs, configs = study()
    for made in runs:
        made.metrics.update({"last/loss": made.metrics[METRIC], "last_test/loss": made.metrics[METRIC]})
        made.params["facts.test_data"] = made.choices["positions"]
    report = report_of(runs, configs, Metric("last/loss", "min", Measure("min")))
    assert report.effects[0].verdict == "better"
    assert report.test_effects[0].verdict == "not comparable"
