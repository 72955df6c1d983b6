from pathlib import Path

import pytest

from lightning_tx.runs.config import RunConfig
from lightning_tx.runs.materials import materials_of
from lightning_tx.runs.notes import notes_on
from tests.tiny import tiny_config


def notes(root: Path, text: Path, *words: str) -> list[str]:
    config = RunConfig.parse(tiny_config(root, text, *words))
    return notes_on(config, materials_of(config))


def test_a_usual_run_has_none(root: Path, text: Path) -> None:
    assert notes(root, text) == []


@pytest.mark.parametrize(
    ("words", "start"),
    [
        (["schedule.warmup_steps=13"], "schedule.warmup_steps: 13 is beyond trainer.max_steps = 12; "),
        (["trainer.val_every=13"], "trainer.val_every: 13 is beyond trainer.max_steps = 12; "),
        (["adapter=lora"], "adapter: 'lora' is trained on a base that never was; "),
    ],
)
def test_what_is_odd_is_said(root: Path, text: Path, words: list[str], start: str) -> None:
    (note,) = notes(root, text, *words)
    assert note.startswith(start)


def test_little_to_learn_from_is_said(root: Path, text: Path, tmp_path: Path) -> None:
    short = tmp_path / "short.txt"
    short.write_text("a few words. " * 100)
    assert notes(root, short) == ["data: the run is validated on 130 characters, which says little."]
