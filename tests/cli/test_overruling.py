"""What a choice says and another takes back is refused, unless the command line says which it is."""

from pathlib import Path

import pytest

from lightning_tx.cli.compose import compose
from lightning_tx.cli.request import read_request
from lightning_tx.core.errors import ConfigError


@pytest.fixture
def folder(tmp_path: Path) -> str:
    """Two sizes of one's own, and an experiment."""
    files = {
        "model/tiny": "defaults: [decoder]\nd_model: 64\n",
        "model/small": "name: decoder\nd_model: 96\nnum_heads: 8\n",
        "experiment/sized": "# @package _global_\nmodel: {d_model: 32}\nattention: {bias: true}\n",
    }
    for name, text in files.items():
        path = tmp_path / f"{name}.yaml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return str(tmp_path)


def problems(line: str, *, multirun: bool = False, folder: str | None = None) -> list[str]:
    folders = [folder] if folder else []
    with pytest.raises(ConfigError) as error:
        read_request(line.split(), multirun=multirun, config_dirs=folders)
    return error.value.problems


def test_sizes_that_an_experiment_takes_back_are_refused(folder: str) -> None:
    """All three would be one and the same model."""
    assert problems("experiment=sized model=decoder,tiny,small", multirun=True, folder=folder) == [
        f"model: '{label}' says model.d_model={size}, but experiment=sized makes it 32; "
        "say on the command line which it is."
        for label, size in (("tiny", 64), ("small", 96))
    ]
    assert len(problems("experiment=sized model=tiny", folder=folder)) == 1


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (
            "model=llama3_8b attention=mqa",
            "attention: 'mqa' says attention.num_kv_heads=1, but another choice makes it 8",
        ),
        (
            "experiment=multi30k_tiny data.path=x tokenizer=bpe_512",
            "tokenizer: 'bpe_512' says tokenizer.vocab_size=512",
        ),
        ("experiment=smoke model=llama3_8b", "model: 'llama3_8b' says model.d_model=4096, model.num_layers=32"),
    ],
)
def test_every_group_and_every_preset_is_looked_at(line: str, says: str) -> None:
    assert problems(line)[0].startswith(says)
    with pytest.raises(ConfigError, match="say on the command line"):
        compose(line.split())


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (
            "experiment=multi30k_tiny data.path=x tokenizer=byte",
            "tokenizer: 'byte' has no vocab_size, which experiment=multi30k_tiny sets for others; "
            "leave it out by ~tokenizer.vocab_size.",
        ),
        (
            "experiment=transformer_tiny_multi30k data.path=x decoding=greedy",
            "decoding: 'greedy' has no num_beams, which experiment=transformer_tiny_multi30k sets for others; "
            "leave it out by ~decoding.num_beams.",
        ),
        (
            "model=llama3_8b positions=none",
            "positions: 'none' has no base, which another choice sets for others; leave it out by ~positions.base.",
        ),
    ],
)
def test_an_option_of_another_component_is_told_with_how_to_leave_it_out(line: str, problem: str) -> None:
    assert problems(line) == [problem]
    assert read_request([*line.split(), problem.rsplit(" ", 1)[1].rstrip(".")], multirun=False).jobs


def test_the_command_line_says_which_it_is(folder: str) -> None:
    line = "experiment=sized model=tiny,small model.d_model=48"
    jobs = read_request(line.split(), multirun=True, config_dirs=[folder]).jobs
    assert [(job.config["model"]["d_model"], job.config["model"]["num_heads"]) for job in jobs] == [(48, 4), (48, 8)]


@pytest.mark.parametrize(
    "line",
    [
        "experiment=sized attention=gqa",  # an option at the component's default says nothing
        "experiment=smoke data=text_file data.path=x tokenizer=byte schedule=constant",
        "experiment=smoke model=encoder",
        "experiment=sized model=small ~model.d_model",
        "model=llama3_8b",
        "feed_forward=moe +feed_forward.expert.bias=true",
    ],
)
def test_what_says_nothing_of_its_own_is_taken(line: str, folder: str) -> None:
    assert read_request(line.split(), multirun=False, config_dirs=[folder]).jobs
