"""A disk that is full after so many bytes: one sentence, exit code 1, nothing half-written, and it goes on later."""

from functools import partial
from pathlib import Path

import pytest

from lightning_tx.tracking.store import Store
from tests.faults import processes
from tests.faults.full_disk import arm
from tests.faults.test_kills import SWEEP, curves, unbroken
from tests.tiny import tiny_overrides

#: Bytes, from nothing to the last files of the second run: caches, the study, tags, the tokenizer, states, weights.
ROOMS = (0, 3_000, 20_000, 60_000, 100_000, 200_000, 400_000, 600_000, 900_000, 1_300_000)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, text: Path) -> dict:
    folder = tmp_path_factory.mktemp("undisturbed")
    return curves(unbroken(folder / "multirun", text, folder / "output"))


@pytest.mark.slow
@pytest.mark.parametrize("room", ROOMS)
def test_a_sweep_on_a_full_disk(root: Path, text: Path, tmp_path: Path, undisturbed: dict, room: int) -> None:
    command, output = ["train", *tiny_overrides(root, text, "tracking.patience_seconds=0"), *SWEEP], tmp_path / "output"
    assert processes.ltx(command, output, partial(arm, root, room)) == 1
    said = output.read_text()
    assert "o space" in said and "Traceback" not in said
    assert list(root.rglob("*.partial*")) == []
    store = Store.get(root)
    before = {run.run_id: curves(store)[run.name] for run in store.runs()}

    assert processes.ltx(command, output) == 0, output.read_text()
    assert curves(store) == undisturbed
    runs = {run.run_id: run for run in store.runs()}
    for run_id, histories in before.items():
        after = curves(store)[runs[run_id].name]
        assert all(point in after[key] for key, points in histories.items() for point in points)
