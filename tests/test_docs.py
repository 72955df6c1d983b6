"""The page on adding a component is followed from its first line to its last, in an empty folder."""

import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from lightning_tx.cli import main
from lightning_tx.cli.flags import Flags
from lightning_tx.cli.new import INSIDE, groups, plain_files
from lightning_tx.cli.request import read_request
from lightning_tx.cli.translation import EXTRAS
from lightning_tx.groups import GROUPS
from lightning_tx.runs import plugin_files
from tests.documents import Block, blocks

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "adding-a-component.md").read_text(encoding="utf-8")
#: Added to what trains, so that it takes a second.
SMALLER = "data=text_file data.path={text} tokenizer=byte model.num_layers=1 trainer.max_steps=2 trainer.val_every=2"
#: For pytest: what holds in a second; the whole suite runs on a component that ltx new writes in CI.
QUICKER = "-p no:cacheprovider -k 'formula or causality'"


@pytest.fixture(autouse=True)
def folder(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty working directory, and a store."""
    place = tmp_path / "work"
    place.mkdir()
    monkeypatch.chdir(place)
    monkeypatch.setenv("LTX_ROOT", str(root))
    yield place
    plugin_files.forget()


def test_the_page_can_be_followed(folder: Path, text: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for block in blocks(PAGE):
        if block.language == "sh":
            for line in block.text.splitlines():
                run(line, text, capsys)
        elif block.file is not None:
            write_or_compare(folder / block.file, block)
        elif block.language == "python":
            plugin_files.forget()
            exec(block.text, {})


def run(line: str, text: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plugin_files.forget()  # as in a process of its own
    program, *arguments = shlex.split(line)
    if program == "pytest":
        command = [sys.executable, "-m", "pytest", *arguments, *shlex.split(QUICKER)]
        subprocess.run(command, check=True, env=environment())
    else:
        assert program == "ltx", line
        smaller = SMALLER.format(text=text).split() if arguments[0] == "train" else []
        assert main([*arguments, *smaller]) == 0, f"{line}\n{capsys.readouterr()}"


def write_or_compare(file: Path, block: Block) -> None:
    text = block.text.partition("\n")[2]
    if "as written" in block.text.partition("\n")[0]:
        assert file.read_text(encoding="utf-8") == text
    else:
        assert not file.exists()
        file.write_text(text, encoding="utf-8")


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}


def test_its_failure_is_what_the_suite_says(folder: Path) -> None:
    from lightning_tx.testing.suite import cases

    source = plain_files("feed_forward", "leaky")["leaky.py"]
    Path("leaky.py").write_text(source.replace("return x.relu()", "return x.relu() + x.roll(-1, dims=1)"))
    plugin_files.load_files(["leaky.py"])
    first = next(pair for pair in cases("feed_forward", "leaky", {"name": "leaky"}) if pair[0].name == "causality")
    (shown,) = blocks(PAGE, "text")
    assert f"{first[0].run(first[1]).failure}\n" == shown.text


def test_its_table_is_what_constructors_are_given() -> None:
    table = dict(re.findall(r"^\| `(\w+)` \| (`[\w, ]+`|nothing) \|", PAGE, re.MULTILINE))
    given = {
        name: f"`{', '.join(group.gives)}`" if group.gives else "nothing"
        for name, group in GROUPS.items()
        if group.gives is not None and name != "tracking"
    }
    assert table == given
    named = PAGE.partition("every group that is extended: ")[2].partition(". ")[0]
    assert set(re.findall(r"\w+", named)) - {"and"} == {*groups()} - {*INSIDE}


def test_the_page_on_launchers_names_what_there_is_and_its_commands_are_understood() -> None:
    page = (ROOT / "docs" / "launchers.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`.*?) \| `pip install 'lightning_tx\[(\w+)\]'` \|", page, re.MULTILINE)
    assert {name: extra for cell, extra in rows for name in re.findall(r"\w+", cell)} == EXTRAS
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    assert set(EXTRAS.values()) <= declared.keys()
    lines = [line for block in blocks(page, "sh") for line in block.text.splitlines()]
    assert len(lines) == 3
    for line in lines:
        flags = Flags.parse(shlex.split(line)[2:])
        chosen = [word.partition("=")[2] for word in flags.overrides if word.startswith("hydra/launcher=")]
        assert flags.multirun and set(chosen) <= EXTRAS.keys()
        assert read_request([word for word in flags.overrides if not word.startswith("hydra")], multirun=True).jobs


@pytest.mark.parametrize("path", re.findall(r"\]\((\S+)\)", PAGE))
def test_its_links_lead_somewhere(path: str) -> None:
    assert (ROOT / "docs" / path).exists()
