"""How a recorded run is named: by its id or the beginning of it, as ``last``, or as ``best:STUDY``."""

import math
from collections.abc import Sequence

from lightning_tx.core import names
from lightning_tx.core.errors import ConfigError, choices, nearest
from lightning_tx.tracking.errors import StoreUnavailable, TrackingError
from lightning_tx.tracking.records import RunRecord
from lightning_tx.tracking.store import Store

#: The newest run that has finished, and what stands before a study's name for the best of its runs.
LAST, BEST_OF = "last", "best:"
#: Fewest characters that stand for a whole id, and how many an id has.
SHORTEST_ID, WHOLE_ID = 6, 32
#: How many runs an error about a wrong name shows.
_SHOWN_RUNS = 5


def find_run(store: Store, text: str, key: str = "RUN") -> RunRecord:
    """The run that a name stands for.

    Args:
        store: where it is recorded.
        text: an id; the first six characters of one, or more; ``last`` for the run started last of those finished;
            ``best:STUDY`` for the run of a study with the best primary metric.
        key: what the name was given as, for messages.

    Raises:
        ConfigError: there is none, or there are several; the message shows what there is.
    """
    if len(text) == WHOLE_ID:
        try:
            return _not_a_study(store, store.run(text), key)
        except StoreUnavailable:
            raise
        except TrackingError:
            pass  # said below, with the runs that there are
    if text.startswith(BEST_OF):
        return _best(store, text.removeprefix(BEST_OF), key)
    runs = {run.run_id: run for run in store.runs()}
    if text == LAST:
        finished = [run for run in runs.values() if run.finished]
        if not finished:
            raise ConfigError(f"{key}: no run in {store.root} is finished. Latest runs: {_shown([*runs.values()])}.")
        return finished[-1]
    found = [run for run_id, run in runs.items() if run_id.startswith(text)]
    if len(found) == 1 and len(text) >= SHORTEST_ID:
        return found[0]
    if found:
        few = f"is shorter than {SHORTEST_ID} characters" if len(text) < SHORTEST_ID else "begins several ids"
        raise ConfigError(f"{key}: {text!r} {few}. Runs: {_shown(found)}.")
    raise ConfigError(
        f"{key}: there is no run {text!r} in {store.root}.{nearest(text, runs)} "
        f"Latest runs: {_shown([*runs.values()])}."
    )


def _best(store: Store, study: str, key: str) -> RunRecord:
    record = store.study(study)
    if record is None:
        known = [each.study or "" for each in store.studies()]
        raise ConfigError(f"{key}: there is no study {study!r}.{nearest(study, known)} Studies: {choices(known)}.")
    runs = store.runs(study)
    values = {run.run_id: run.metrics.get(run.tags.get(names.METRIC, ""), math.nan) for run in runs if run.finished}
    usable = [run for run in runs if math.isfinite(values.get(run.run_id, math.nan))]
    if not usable:
        raise ConfigError(f"{key}: no run of the study {study!r} has finished with a number. Runs: {_shown(runs)}.")
    sign = -1 if usable[0].tags[names.DIRECTION] == "max" else 1
    return min(usable, key=lambda run: sign * values[run.run_id])


def _not_a_study(store: Store, run: RunRecord, key: str) -> RunRecord:
    if run.tags.get(names.KIND) == names.STUDY_KIND:
        raise ConfigError(
            f"{key}: {run.run_id!r} is the study {run.study!r}; its best run is {BEST_OF}{run.study}. "
            f"Its runs: {_shown(store.runs(run.study))}."
        )
    return run


def _shown(runs: Sequence[RunRecord]) -> str:
    shown = [f"{run.run_id} ({run.name}, {run.status})" for run in runs[::-1][:_SHOWN_RUNS]]
    more = [f"and {len(runs) - len(shown)} more"] if len(runs) > len(shown) else []
    return ", ".join([*shown, *more]) or "none"
