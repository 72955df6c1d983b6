"""How long a report waits for its runs: a store of many runs, each with a long history, read as a report reads it.

The store is an SQLite database, filled through MLflow's own client with the parameters, tags, metrics and config that
a run of the baseline has. What was written once can be read again with --root.

    python benchmarks/reading.py --runs 1000
"""

import argparse
import random
import tempfile
import time
from pathlib import Path

from lightning_tx.cli.compose import compose
from lightning_tx.core import names
from lightning_tx.core.measure import to_text
from lightning_tx.task.causal_lm import CausalLM
from lightning_tx.tracking.store import Store
from lightning_tx.tracking.study import Study
from lightning_tx.tracking.values import Point, flatten

STUDY = "many"
#: Seconds that reading a thousand runs may take.
LIMIT = 15.0
#: Points of the histories of one run, and the metrics that have one value.
POINTS = 500
CURVES = ("train/loss", "train/grad_norm", "train/lr", "train/tokens_per_second", "val/loss")
ONCE = ("last/loss", "last/perplexity", "last/bits_per_byte", "last_test/loss", "best/loss", "best/step", "test/loss")


def fill(store: Store, count: int) -> None:
    """Record runs of one study."""
    study = Study.open(store, STUDY)
    config = compose()
    draw = random.Random(0)
    for number in range(count):
        seed, positions = divmod(number, 4)
        ablation = {"ablation.positions": str(positions), "ablation.seed": str(seed)}
        fixed = {
            names.KIND: names.RUN,
            names.STUDY: STUDY,
            names.IDENTITY: f"{number:016x}",
            names.PARENT: study.run_id,
        }
        judged = {names.METRIC: "last/loss", names.DIRECTION: "min", names.MEASURES: to_text(CausalLM.measures)}
        run_id = store.create_run(f"run {number}", {**fixed, **judged, **ablation})
        facts = {f"facts.{name}": "0123456789abcdef" for name in ("data", "tokenizer", "code", "device", "threads")}
        store.log_params(run_id, {**flatten(config), **facts, **ablation})
        steps = POINTS // len(CURVES)
        points = [Point(name, draw.random(), step, step) for name in CURVES for step in range(steps)]
        store.log_points(run_id, [*points, *(Point(name, draw.random(), 0, steps) for name in ONCE)])
        store.log_json(run_id, names.CONFIG_FILE, config)
        store.end_run(run_id, "FINISHED")


def main() -> None:
    """Fill a store unless it is filled, read it, print the times."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--root", type=Path, help="where the store is kept (default: nowhere)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        store = Store.open(arguments.root or Path(scratch))
        if store.study(STUDY) is None:
            began = time.perf_counter()
            fill(store, arguments.runs)
            print(f"written in {time.perf_counter() - began:.0f} s")
        began = time.perf_counter()
        runs = store.runs(STUDY)
        listed = time.perf_counter()
        configs = store.configs(runs)
        done = time.perf_counter()
        assert len(configs) == len(runs)
        limit = LIMIT * len(runs) / 1000
        print(
            f"{len(runs)} runs in {listed - began:.1f} s, their configs in {done - listed:.1f} s (at most {limit:g} s)"
        )


if __name__ == "__main__":
    main()
