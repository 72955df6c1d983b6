"""The options of ``ltx train`` stand before, between and after the overrides."""

import logging
from contextlib import suppress

import pytest

from lightning_tx.cli import main
from lightning_tx.cli.flags import Flags
from lightning_tx.core.errors import ConfigError


@pytest.mark.parametrize(
    "line",
    ["-m seed=0,1 norm=none", "seed=0,1 norm=none -m", "seed=0,1 --multirun norm=none", "seed=0,1 --multi norm=none"],
)
def test_options_and_overrides_are_told_apart_in_any_order(line: str) -> None:
    flags = Flags.parse(line.split())
    assert flags.multirun and not flags.only_shows and flags.overrides == ["seed=0,1", "norm=none"]
    assert flags.arguments[-1].startswith("-m") or flags.arguments[-1].startswith("--multi")
    assert flags.arguments[:-1] == flags.overrides


def test_an_option_keeps_its_value() -> None:
    flags = Flags.parse(["--config-dir", "mine", "seed=1", "--cfg", "job", "-p", "norm"])
    assert flags.config_dirs == ["mine"] and flags.only_shows and not flags.multirun
    assert flags.arguments == ["seed=1", "--config-dir", "mine", "--cfg", "job", "-p", "norm"]


@pytest.mark.parametrize("option", ["--config-name", "--config-path", "--experimental-rerun"])
def test_another_config_than_the_checked_one_is_refused(option: str) -> None:
    with pytest.raises(ConfigError, match=option):
        Flags.parse([option, "other", "seed=1"])
    assert Flags.parse([option, "other", "--cfg", "job"]).only_shows


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("--cfg job --info", "--cfg, --info: one of them at a time"),
        ("--help --hydra-help", "--help, --hydra-help"),
        ("--run -m seed=0,1", "--run: it trains one run, which does not go with --multirun"),
        ("--cfg job -r", "does not go with --cfg"),
        ("--package norm", "--package: it says how --cfg shows"),
        ("--resolve seed=0", "--resolve: it says how --cfg shows"),
        ("-sc install=bash", "ltx completion bash"),
        ("--cfg job seed=0,1", "seed: several values (seed=0,1) need --multirun (-m)"),
    ],
)
def test_options_that_cannot_be_followed_are_refused_in_a_sentence(line: str, words: str, capsys) -> None:
    assert main(["train", *line.split()]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("error: ") and words in err and err.count("\n") == 1


def test_an_unknown_option_leaves_with_a_message(capsys) -> None:
    with pytest.raises(SystemExit) as left:
        Flags.parse(["--nonsense"])
    assert left.value.code == 2 and "--nonsense" in capsys.readouterr().err


@pytest.fixture
def logging_as_before():
    """Hydra sets up logging to show things; what comes later shall not be shown."""
    root = logging.getLogger()
    before = root.level, list(root.handlers)
    yield
    root.setLevel(before[0])
    root.handlers[:] = before[1]


@pytest.mark.usefixtures("logging_as_before")
def test_of_a_sweep_it_is_said_which_job_is_shown(capsys) -> None:
    assert main(["train", "-m", "--cfg", "job", "norm=layernorm,rmsnorm", "seed=0,1"]) == 0
    assert capsys.readouterr().err == "Of 4 jobs the first is shown: norm=layernorm seed=0\n"


@pytest.mark.usefixtures("logging_as_before")
@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("--cfg job --package norm norm=layernorm", "name: layernorm"),
        ("norm=layernorm --package norm --cfg job", "name: layernorm"),
        ("--cfg job -p norm experiment=ablation", "name: rmsnorm"),
        ("-m --cfg job -p norm norm=layernorm,rmsnorm seed=0,1", "name: layernorm"),
        ("--cfg hydra -p hydra.sweeper", "hydra_plugins.lightning_tx.Rows"),
        ("--info defaults", "positions/rope"),
        ("seed=0,1 -m --info", "positions/rope"),
        ("-m --info defaults positions=none,rope", "positions/none"),
        ("-m --help seed=0,1", "feed_forward: "),
        ("-m --cfg all seed=4,5", "seed: 4"),
        ("--cfg job --resolve seed=6", "seed: 6"),
        ("--help", "feed_forward: "),
        ("--hydra-help", "hydra/launcher"),
    ],
)
def test_hydra_shows_what_it_is_asked_for(line: str, words: str, capsys) -> None:
    with suppress(SystemExit):  # after a help
        assert main(["train", *line.split()]) == 0
    assert words in capsys.readouterr().out
