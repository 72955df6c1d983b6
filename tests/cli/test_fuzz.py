"""Command lines drawn by chance: each is understood or refused in a sentence, soon, and nothing of it is recorded."""

import os
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lightning_tx.cli import main, train
from lightning_tx.cli.compose import labels_in
from lightning_tx.cli.session import hydra_session
from lightning_tx.core.schema import options_of
from lightning_tx.groups import GROUPS
from lightning_tx.training.options import TrainerOptions

#: Seconds of the processor's time that an answer may take.
LIMIT = 2.0
#: A small run on a small text, so that what is drawn decides.
SMALL = ("experiment=smoke", "data=text_file", "data.path=text.txt", "tokenizer=byte", "model.num_layers=1")

#: What is written after an equals sign: numbers, words, lists, code, several values, and what is none of these.
VALUES = (Path(__file__).parent / "odd_values.txt").read_text(encoding="utf-8").splitlines()
OWN = ["seed", "study", "root", "init_from", "plugins", "margin", "experiment", "trainer", "tracking", "lr", "name"]
OF_HYDRA = [
    "hydra.mode",
    "hydra.run.dir",
    "hydra.sweep.dir",
    "hydra.sweeper.params",
    "hydra.job.name",
    "hydra/launcher",
]
FLAGS = ["-m", "--multirun", "--cfg", "job", "--info", "--config-dir", "conf", "--nosuch", "-c", "--resolve"]

_texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
_values = st.one_of(*[st.sampled_from(VALUES)] * 4, _texts)


def _labels() -> dict[str, list[str]]:
    with hydra_session():
        return {group: labels_in(group) for group in GROUPS}


def _options() -> list[str]:
    of_groups = [
        f"{name}.{option.name}"
        for name, group in GROUPS.items()
        for component in group.names()
        for option in options_of(group.get(component))
    ]
    return sorted({*of_groups, *(f"trainer.{name}" for name in TrainerOptions.model_fields)})


@st.composite
def _choice(draw: Any, labels: dict[str, list[str]]) -> str:
    group = draw(st.sampled_from(sorted(labels)))
    several = draw(st.lists(st.sampled_from(labels[group]), min_size=1, max_size=3))
    value = draw(st.one_of(st.just(",".join(several)), st.just(several[0]), _values))
    return f"{draw(_mark)}{group}{draw(st.sampled_from(['', '', '', '@x', '.name']))}={value}"


@st.composite
def _setting(draw: Any, keys: list[str]) -> str:
    key = draw(st.one_of(st.sampled_from(keys), st.sampled_from(OWN), st.sampled_from(OF_HYDRA), _texts))
    return f"{draw(_mark)}{key}{draw(st.sampled_from(['=', '=', '=', '=', '', '==']))}{draw(_values)}"


@st.composite
def _damaged(draw: Any, lines: st.SearchStrategy[str]) -> str:
    """A line with a character lost, doubled or put in."""
    line = draw(lines)
    place = draw(st.integers(0, len(line)))
    return draw(
        st.sampled_from([line, line[:place] + line[place + 1 :], line[:place] + line[max(place - 1, 0) :]])
        | st.characters(codec="utf-8", exclude_characters="\0").map(lambda mark: line[:place] + mark + line[place:])
    )


_mark = st.sampled_from(["", "", "", "", "+", "++", "~"])
_lines = st.one_of(_choice(_labels()), _setting(_options()), st.sampled_from(FLAGS))


@st.composite
def command_lines(draw: Any) -> list[str]:
    """A command and up to five words, most of which mean something."""
    words = draw(st.lists(st.one_of(_lines, _lines, _damaged(_lines)), max_size=5))
    if draw(st.integers(0, 9)) < 8:
        return [
            "train",
            *(SMALL if draw(st.booleans()) else SMALL[:1]),
            *words,
            *(["-m"] if draw(st.booleans()) else []),
        ]
    command = draw(st.sampled_from(["report", "generate", "evaluate", "diff", "runs", "show", "components", "new", ""]))
    return [*([command] if command else []), *words]


@pytest.fixture
def checked_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder with a text, in which nothing that passes the check is trained."""
    (tmp_path / "text.txt").write_text("To be, or not to be, that is the question.\n" * 200, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LTX_ROOT", raising=False)
    for stage in ("_single", "_sweep"):
        monkeypatch.setattr(train, stage, lambda *_: 0)
    return tmp_path


def _try(line: list[str], folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before, start = sorted(folder.rglob("*")), time.process_time()
    try:
        code = main(line)
    except SystemExit as leaving:  # as argparse leaves
        code = leaving.code
    seconds = time.process_time() - start
    said = capsys.readouterr()
    assert code in (0, 1, 2), line
    assert "LTX_DEBUG" not in said.err and "Traceback" not in said.err, (line, said.err)
    assert code == 0 or said.err.strip(), line
    assert seconds < LIMIT, (line, seconds)
    # A cache of tokens and an empty store may be left; a run or a study may not.
    new = [path for path in folder.rglob("*") if path not in before]
    assert code == 0 or not [path for path in new if path.is_file()], (line, new)


def _fuzz(examples: int, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for line in (["train", *SMALL], ["train", *SMALL[:1]], ["train", *SMALL[:1], "tokenizer=bpe"], ["components"]):
        main(line)  # imports, and what is read and learnt once
    capsys.readouterr()

    @settings(
        max_examples=examples,
        deadline=None,
        derandomize="LTX_FUZZ_SEED" not in os.environ,
        database=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )
    @given(command_lines())
    def each(line: list[str]) -> None:
        _try(line, folder, capsys)

    each()


def test_command_lines_drawn_by_chance(checked_only, capsys) -> None:
    _fuzz(100, checked_only, capsys)


@pytest.mark.slow
def test_ten_thousand_command_lines_drawn_by_chance(checked_only, capsys) -> None:
    _fuzz(10_000, checked_only, capsys)
