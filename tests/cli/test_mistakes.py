"""Whatever is wrong with a command line or a config file is one error that names it and says how to write it."""

import codecs
import shlex
from importlib.util import find_spec
from pathlib import Path

import pytest

from lightning_tx.cli import main
from lightning_tx.cli.grammar import forced
from lightning_tx.cli.request import read_request
from lightning_tx.core.errors import ConfigError
from lightning_tx.tracking.store import Store
from tests.tiny import tiny_overrides

HEADER = b"# @package _global_\n"


@pytest.fixture
def refused(tmp_path, monkeypatch, capsys):
    """Runs a command that is refused in an empty folder; gives what is said."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str, code: int = 2) -> str:
        assert main(arguments) == code
        said = capsys.readouterr().err
        assert said.startswith("error: ") and "Traceback" not in said and "hydra.cc" not in said
        return said.removeprefix("error: ").strip()

    return run


@pytest.fixture
def experiment(tmp_path):
    """Writes an experiment; gives the file."""

    def write(name: str, content: bytes) -> Path:
        file = tmp_path / "conf" / "experiment" / f"{name}.yaml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        return file

    return write


@pytest.mark.parametrize("line", [("seed=0",), ("-m", "seed=0,1")])
@pytest.mark.parametrize(
    ("content", "key", "words"),
    [
        (b"trainer:\n  max_steps: 1\n", "experiment.trainer", []),
        (b"# of mine\nmodel: {num_layers: 1}\n", "experiment.model", []),
        (b"defaults:\n  - smoke\nmargin: 1%\n", "experiment.margin", []),
        (codecs.BOM_UTF8 + HEADER + b"trainer: {max_steps: 1}\n", "experiment.trainer", ["byte order mark"]),
    ],
)
def test_an_experiment_whose_settings_nothing_reads_is_refused(refused, experiment, line, content, key, words) -> None:
    experiment("other", HEADER + b"seed: 1\nmodel: {num_layers: 1}\n")
    file = experiment("mine", content)
    said = refused("train", "--config-dir", "conf", "experiment=mine", *line)
    assert said.startswith(f"{key}: nothing reads") and "\n" not in said
    assert f"'{file}' must be # @package _global_" in said and "other.yaml" not in said
    assert all(word in said for word in words)


def test_a_value_below_the_key_experiment_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"^experiment\.seed: nothing reads"):
        read_request(["experiment=smoke", "experiment.seed=4"], multirun=False)


def test_an_experiment_that_inherits_one_of_the_same_folder_needs_no_second_first_line(experiment, tmp_path) -> None:
    experiment("base", b"seed: 3\n")
    experiment("mine", HEADER + b"defaults:\n  - base\n")
    (job,) = read_request(["experiment=mine"], multirun=False, config_dirs=[str(tmp_path / "conf")]).jobs
    assert job.config["seed"] == 3


@pytest.mark.parametrize(
    ("key", "homes"),
    [
        ("lr", ["optimizer.lr"]),
        ("max_steps", ["trainer.max_steps"]),
        ("d_model", ["model.d_model"]),
        ("dropout", ["attention.dropout", "model.dropout"]),
        ("num_experts", ["feed_forward.num_experts"]),  # an option of what is not chosen
    ],
)
def test_an_option_without_its_group_is_told_where_it_belongs(refused, key, homes) -> None:
    said = refused("train", f"{key}=3")
    assert said.startswith(f"{key}: unknown key. Did you mean ")
    assert all(f"'{home}'" in said for home in homes)


@pytest.mark.parametrize(
    ("line", "keys"),
    [
        (["positions=rop", "model.d_model=33", "trainer.max_steps=ten"], ["positions", "model.", "trainer.max_steps"]),
        (["-m", "norm=rmsnorm,batch", "seed=0,one"], ["norm", "seed"]),
        (["optimizer=adamx", "optimizer.beta=3", "lr=3", "schedule=cos"], ["optimizer", "schedule", "lr"]),
        (["feed_forward=glu", "task=masked", "seed=-1"], ["feed_forward", "task", "seed"]),
    ],
)
def test_unknown_choices_do_not_hide_other_mistakes(refused, line, keys) -> None:
    first, *problems = refused("train", *line).splitlines()
    assert first == f"{len(keys)} problems:"
    for key in keys:
        assert sum(problem.startswith(f"  - {key}") for problem in problems) == 1, problems


def test_what_does_not_go_with_a_default_is_no_mistake_of_who_chose_something_else(refused) -> None:
    """RoPE, which stands in for the unknown choice, would ask for even heads."""
    assert "\n" not in refused("train", "positions=rop", "model.head_dim=3")


@pytest.mark.parametrize(
    "value", ["data (1).txt", "naïve.txt", "a#b.txt", "it's", 'say "so" (2)', "data;v2", "a(1),b(2)", "end (\\"]
)
def test_a_value_that_wants_quotes_is_written_with_them(refused, value) -> None:
    said = refused("train", f"data.path={value}", "seed=0")
    assert said.startswith(f"data.path: {value!r} cannot be read without quotes; write ")
    (line,) = shlex.split(said.partition("write ")[2].partition("; each")[0].removesuffix("."))
    (job,) = read_request(["data=text_file", line], multirun=False).jobs
    assert job.config["data"]["path"] == value


def test_a_folder_below_home_is_written_out(refused) -> None:
    assert f"""'root="{Path.home() / "x"}"'""" in refused("report", "root=~/x")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("seed", ["'seed'", "KEY=VALUE"]),
        ("file.txt", ["'file.txt'", "blanks"]),
        ("=3", ["'=3'", "no key"]),
        ("data.path={x", ["data.path: '{x'", "pairs"]),
        ("hydra.sweeper.params={seed: 0,1}", ["hydra.sweeper.params", "quotes of its own"]),
        ("sch#eme=3", ["'sch#eme'", "key"]),
    ],
)
def test_a_line_that_quotes_do_not_mend_is_named(refused, line, words) -> None:
    said = refused("train", line)
    assert "\n" not in said and all(word in said for word in words), said


def test_all_lines_that_cannot_be_read_are_said_at_once(refused) -> None:
    assert refused("train", "data.path=a (1)", "seed", "study=a#b").startswith("3 problems:")
    assert refused("train", "--cfg", "job", "data.path=a (1)", "study=a#b").startswith("2 problems:")


@pytest.mark.parametrize("more", [[], ["--cfg", "job"], ["-m", "seed=0,1"]])
@pytest.mark.parametrize(
    ("content", "words"),
    [
        (HEADER + b"trainer:\n\tmax_steps: 1\n", ["line 3", "blanks, not tabs"]),
        (HEADER + b"seed: 1\nseed: 2\n", ["line 3", "duplicate key seed"]),
        (HEADER + b"study: [a\n", ["line 3", "expected"]),
        (HEADER + b"# na\xefve\nseed: 1\n", ["UTF-8"]),
        (HEADER + b"study: a\x00b\n", ["special characters"]),
    ],
)
def test_a_file_that_is_no_yaml_is_named_with_the_line(refused, experiment, content, words, more) -> None:
    file = experiment("mine", content)
    said = refused("train", "--config-dir", "conf", "experiment=mine", *more)
    assert "\n" not in said and all(word in said for word in words), said
    assert str(file) in said or more == ["--cfg", "job"]


def test_a_folder_of_configs_that_does_not_exist_is_named(refused) -> None:
    assert refused("train", "--config-dir", "nowhere") == "--config-dir: 'nowhere' is no folder."


@pytest.mark.parametrize("value", ["", " ", "[]"])
def test_an_empty_list_of_plugins_in_the_environment_is_none(monkeypatch, value) -> None:
    monkeypatch.setenv("LTX_PLUGINS", value)
    assert read_request([], multirun=False).jobs[0].config["plugins"] == []
    assert main(["components", "norm"]) == 0


@pytest.mark.parametrize("command", [["train", "seed=0"], ["report"], ["ui"], ["generate", "last", "a"]])
def test_an_empty_root_in_the_environment_is_refused(refused, monkeypatch, tmp_path, command) -> None:
    monkeypatch.setenv("LTX_ROOT", "")
    assert refused(*command).startswith("LTX_ROOT: it is set, but empty")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("line", "start"),
    [
        ("hydra.sweeper.params=3", "hydra.sweeper.params: 3 is not a mapping"),
        ("hydra.sweeper.params=[seed]", "hydra.sweeper.params: ['seed'] is not a mapping"),
        ("hydra.sweeper.params={norm: 'rmsnorm,batch'}", "norm: there is no choice 'batch'"),
        ("+hydra.sweeper.params.seed=0,1", "+hydra.sweeper.params.seed: settings of Hydra have one value"),
    ],
)
def test_what_cannot_be_swept_is_refused(refused, line, start) -> None:
    assert refused("train", "-m", line).startswith(start)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"], ["'joblib' is not installed", "'lightning_tx[joblib]'"]),
        (["hydra/launcher=submitit_slurm"], ["'submitit_slurm' is not installed", "'lightning_tx[submitit]'", "basic"]),
        (["hydra/launcher=submitit_lokal"], ["Did you mean 'submitit_local'", "basic", "joblib"]),
        (["hydra.launcher.n_jobs=2"], ["hydra.launcher.n_jobs: the launcher has no such option", "submitit_local"]),
    ],
)
def test_a_launcher_that_is_not_there_is_told_with_what_brings_it(refused, line, words) -> None:
    if find_spec("hydra_plugins.hydra_joblib_launcher") or find_spec("submitit"):
        pytest.skip("there are launchers here")
    said = refused("train", "-m", "seed=0,1", *line)
    assert all(word in said for word in words) and "\n" not in said


def test_settings_of_the_sweeper_are_swept() -> None:
    for line in ("hydra.sweeper.params={seed: '0,1'}", '+hydra.sweeper.params.seed="0,1"'):
        request = read_request([line], multirun=True)
        assert [job.config["seed"] for job in request.jobs] == [0, 1]


@pytest.mark.parametrize("group", ["norm", "pattern", "positions", "model", "schedule", "decoding", "data"])
def test_a_group_that_is_needed_cannot_be_left_out(refused, group) -> None:
    said = refused("train", f"~{group}")
    assert said.startswith(group) and "missing. Choices: " in said and "\n" not in said


@pytest.mark.parametrize(
    ("line", "launched"),
    [
        ("adapter.rank=4", "++adapter.rank=4"),
        ("seed=0", "++seed=0"),
        ("adapter=lora", "adapter=lora"),
        ("+model.x=1", "+model.x=1"),
        ("~study", "~study"),
        ("hydra.job.name=a=b", "hydra.job.name=a=b"),
        ("hydra/launcher=basic", "hydra/launcher=basic"),
    ],
)
def test_values_are_launched_whether_or_not_a_file_has_their_keys(line, launched) -> None:
    assert forced(line) == launched


@pytest.mark.parametrize(
    ("varied", "fixed"),
    [
        (["adapter=lora,rslora"], ["adapter.rank=4"]),
        (["feed_forward=moe,switch"], ["feed_forward.num_experts=4"]),
        (["adapter=lora,dora"], ["~adapter.dropout"]),
    ],
)
def test_an_option_of_a_group_that_varies_can_be_fixed(root, text, tmp_path, monkeypatch, varied, fixed) -> None:
    monkeypatch.chdir(tmp_path)
    short = ["trainer.max_steps=1", "trainer.val_every=1"]
    assert main(["train", "-m", *tiny_overrides(root, text, *short), *varied, *fixed]) == 0
    assert [run.status for run in Store.open(root).runs()] == ["FINISHED", "FINISHED"]


def test_a_failure_of_a_library_takes_a_line(refused, tmp_path, monkeypatch) -> None:
    """An error that nobody foresaw, met by several commands."""

    def fail(*_: object, **__: object) -> None:
        raise LookupError("planted")

    monkeypatch.setattr("lightning_tx.tracking.store.Store.get", fail)
    for command in (["report"], ["generate", "last", "a"], ["diff", "a", "b"]):
        said = refused(*command, "--root", "runs", code=1)
        assert said.startswith("LookupError: planted (at ") and "LTX_DEBUG=1" in said
        assert "\n" not in said and "traceback.txt" not in said
    monkeypatch.setenv("LTX_DEBUG", "1")
    with pytest.raises(Exception, match="planted"):
        main(["report", "--root", "runs"])


@pytest.mark.parametrize("debug", ["", "1"])
@pytest.mark.parametrize(("where", "recorded"), [("runs.train.identify", False), ("training.fit.fit", True)])
def test_a_traceback_file_is_named_where_there_is_one(
    root, text, tmp_path, monkeypatch, capsys, where, recorded, debug
) -> None:
    def fail(*_, **__) -> None:
        raise KeyError("planted")

    monkeypatch.setattr(f"lightning_tx.{where}", fail)
    monkeypatch.setenv("LTX_DEBUG", debug)
    monkeypatch.chdir(tmp_path)
    assert main(["train", *tiny_overrides(root, text)]) == 1
    out = capsys.readouterr().out
    assert "failed: KeyError: 'planted' (at " in out and "test_mistakes.py" in out
    assert ("traceback.txt" in out) == recorded and ("Traceback" in out) == bool(debug)
    runs = Store.open(root).runs()
    assert [Store.open(root).artifact_path(run.run_id, "traceback.txt").exists() for run in runs] == [True] * recorded


@pytest.mark.parametrize(
    "word", ["norm=3", "adapter=null", "hydra/launcher=[1]", "experiment=1.5", "~norm=[a,b]", "~block=7"]
)
def test_a_choice_that_is_no_name_is_refused(refused, word) -> None:
    key, _, value = word.lstrip("~").partition("=")
    for line in ([word], ["-m", word, "seed=0,1"], [word, "--cfg", "job"]):
        assert refused("train", *line) == f"{key}: there is no choice {value}; a choice is a name, such as 'none'."
