import math

import pytest

from lightning_tx.ablation.report import build_report
from lightning_tx.core.errors import ConfigError
from lightning_tx.tracking import tags
from tests.ablation.studies import METRIC, run

#: Noise of the twelve runs of ``study``, the same in each test.
NOISE = [0.004, -0.006, 0.001, 0.005, -0.003, -0.002, 0.006, -0.001, -0.004, 0.002, 0.003, -0.005]


def study(seeds=range(3), steps=lambda seed: 1000):
    """Positions matter, attention does not; gqa has fewer parameters."""
    runs, configs = [], {}
    for positions, shift in (("none", 0.0), ("rope", -0.2)):
        for attention, total in (("mha", 3_210_496), ("gqa", 3_022_080)):
            for seed in seeds:
                made = run(
                    {"positions": positions, "attention": attention},
                    seed,
                    2.0 + shift + 0.05 * seed + NOISE[len(runs)],
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


def report_of(runs, configs, **options):
    return build_report("made-up", runs, configs, METRIC, "min", volatile=["trainer.devices"], **options)


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
    assert real.startswith("positions=rope is better than none: best/val/loss is 0.1997 lower (0.1")
    (unsettled,) = report.unsettled
    assert unsettled.startswith("attention=gqa against mha is inconclusive: between -0.0")
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
    report = build_report("made-up", runs, configs, METRIC, "max", volatile=["trainer.devices"])
    assert report.combinations[0].levels["positions"] == "none"
    assert report.effects[0].verdict == "worse"


def test_failed_and_missing_runs_are_listed_with_their_reason():
    runs, configs = study()
    choices = {"positions": "rope", "attention": "gqa"}
    failed = run(choices, 2, None, status="FAILED", tags={tags.REASON: "MemoryError: no room\nfor this"})
    undefined = run({"positions": "none", "attention": "mha"}, 0, math.nan)
    killed = run({"positions": "none", "attention": "mha"}, 1, None, status="KILLED")
    running = run({"positions": "none", "attention": "mha"}, 2, None, status="RUNNING")
    report = report_of([*runs[3:8], *runs[9:11], failed, undefined, killed, running], configs)
    assert {(*entry.levels.values(), entry.seed): entry.reason for entry in report.unfinished} == {
        ("rope", "gqa", 2): "MemoryError: no room for this",
        ("none", "mha", 0): "best/val/loss is nan",
        ("none", "mha", 1): "killed, no reason recorded",
        ("none", "mha", 2): "still running, or cut off",
        ("rope", "mha", 2): "not run",
    }
    assert report.num_runs == 12
    assert sum(row.num_seeds for row in report.combinations) == 7


def test_failed_run_that_was_done_again_is_not_missing():
    runs, configs = study()
    again = run(runs[0].choices, 0, None, status="FAILED")
    assert report_of([again, *runs], configs).unfinished == ()


def test_changed_setting_is_flagged_and_not_averaged():
    runs, configs = study(steps=lambda seed: 2000 if seed == 2 else 1000)
    report = report_of(runs, configs)
    (caution,) = report.cautions
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
    failed = run({"positions": "none", "attention": "mha"}, 0, None, status="FAILED", tags={tags.REASON: "bad"})
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
    assert sentence.startswith("The effect of positions depends on attention (p < 0.001): rope against none is -0.19")
    assert " with mha and -0.5" in sentence


def test_interaction_beside_the_baseline_is_told_without_sizes():
    # mha, the baseline, ran with one norm only: how far its difference to others depends on the norm is not known.
    cells = [("mha", "x", 0.0), ("gqa", "x", 1.0), ("gqa", "y", 1.0), ("mqa", "x", 1.0), ("mqa", "y", 5.0)]
    runs = [
        run({"attention": attention, "norm": norm}, seed, level + 0.001 * (seed * number % 3))
        for number, (attention, norm, level) in enumerate(cells)
        for seed in range(3)
    ]
    assert report_of(runs, {}).interplay == ("The effect of attention depends on norm (p < 0.001).",)


def test_provenance():
    runs, configs = study()
    for number, made in enumerate(runs):
        made.tags[tags.GIT_COMMIT] = "abcdef0123456789" if number < 5 else "0123456789abcdef"
        made.tags[tags.HOST] = f"machine{number % 2}"
    runs[0].tags[tags.CODE_CHANGED] = "a -> b"
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
    assert report.cautions == (
        "Differences are the same to the last digit for every seed: check what the seed changes.",
    )
    assert report.untested == ("attention=gqa and mha give exactly the same values: does the option reach the model?",)


def test_combination_that_diverges_is_named():
    runs, configs = study()
    runs[0].metrics[METRIC] += 3.0
    runs[1].metrics[METRIC] -= 2.0
    (caution,) = report_of(runs, configs).cautions
    assert caution.startswith("positions=none attention=mha varies far more between seeds than the rest (")


def test_metric_that_no_run_has():
    runs, configs = study()
    with pytest.raises(ConfigError) as error:
        build_report("made-up", runs, configs, "best/val/los", "min")
    assert str(error.value).startswith(
        "metric: none of the 12 finished runs has 'best/val/los'. Did you mean 'best/val/loss'? Metrics: best/val/loss,"
    )


def test_unknown_baseline_and_direction():
    runs, configs = study()
    with pytest.raises(ConfigError, match=r"baselines\.positions: 'alibi' is none of its levels"):
        report_of(runs, configs, baselines={"positions": "alibi"})
    with pytest.raises(ConfigError, match="direction: 'down'"):
        build_report("made-up", runs, configs, METRIC, "down")
