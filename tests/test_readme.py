"""Every command of the README is run, and every piece of its Python."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from lightning_tx.cli import COMMANDS, main
from lightning_tx.cli.compose import labels_in
from lightning_tx.cli.session import hydra_session
from tests import documents

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
#: What continuous integration runs itself, and what needs a terminal or a run's id.
ELSEWHERE = {"make ablation", "make test", "make ui", "ltx diff RUN RUN", 'eval "$(ltx completion bash)"'}
#: Added to a command that takes minutes, so that it takes a second.
SMALLER = {
    "ltx train experiment=translation": "data.largest=999 data.size=null model.d_model=16 model.num_encoder_layers=1 "
    "model.num_decoder_layers=1 trainer.max_steps=2 trainer.val_every=2 task.validation_sentences=2"
}


def blocks(language: str) -> list[str]:
    return [block.text for block in documents.blocks(README, language)]


def commands() -> list[str]:
    lines = documents.commands(README)
    cells = [cell for row in re.findall(r"^\|.*\|$", README, re.MULTILINE) for cell in re.findall(r"`([^`]+)`", row)]
    return [*lines, *(cell for cell in cells if cell.startswith(("ltx ", "make ", "eval ")))]


def test_the_readme_has_commands_and_they_exist() -> None:
    assert len(commands()) > 12
    for command in commands():
        first, second, *_ = [*shlex.split(command), ""]
        assert command in ELSEWHERE or (first == "ltx" and second in COMMANDS), command


def test_its_commands_run_in_their_order(root, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LTX_ROOT", str(root))
    (tmp_path / "README.md").write_text(README, encoding="utf-8")
    (tmp_path / "numbers.txt").write_text("seven\neight\n", encoding="utf-8")
    for command in commands():
        if command not in ELSEWHERE:
            arguments = shlex.split(f"{command} {SMALLER.get(command, '')}")[1:]
            assert main(arguments) == 0, f"{command}\n{capsys.readouterr()}"


def test_its_table_of_choices_is_what_there_is() -> None:
    names = "positions|attention|pattern|norm|block|feed_forward|adapter|model|task|data|tokenizer|decoding"
    table = dict(re.findall(rf"^\| `({names})` \| (.*) \|$", README, re.MULTILINE))
    assert len(table) == 12
    with hydra_session():
        for group, listed in table.items():
            assert sorted(listed.split(", ")) == labels_in(group), group


@pytest.mark.parametrize("example", blocks("python"))
def test_its_python_runs(root, example: str) -> None:
    # A shorter run than the smoke test's shows as much.
    example = example.replace('"experiment=smoke"', '"experiment=smoke", "trainer.max_steps=2", "tokenizer=byte"')
    subprocess.run([sys.executable, "-c", example], check=True, cwd=ROOT, env={**os.environ, "LTX_ROOT": str(root)})


@pytest.mark.parametrize("path", re.findall(r"\]\(([^)h\s][^)\s]*)\)", README))
def test_its_links_lead_somewhere(path: str) -> None:
    assert (ROOT / path).exists()
