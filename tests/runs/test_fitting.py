"""What shows once the data are read is said before anything trains, and nothing is recorded."""

from dataclasses import replace
from pathlib import Path

import pytest

from lightning_tx.cli import main
from lightning_tx.cli.compose import compose
from lightning_tx.runs.config import RunConfig
from lightning_tx.runs.fitting import problems_with
from lightning_tx.runs.identity import identify
from lightning_tx.runs.materials import materials_of
from lightning_tx.runs.store import open_store
from lightning_tx.runs.train import train
from lightning_tx.task.base import TASK
from lightning_tx.tracking.store import Store
from tests.tiny import problems_of_run, tiny_config, tiny_overrides


def problems(raw: dict) -> list[str]:
    config = RunConfig.parse(raw)
    return problems_with(config, materials_of(config))


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    for stem in ("train", "val"):
        for language in ("de", "en"):
            (tmp_path / f"{stem}.{language}").write_text("a sentence of many words\n" * 30)
    return tmp_path


@pytest.mark.parametrize(
    ("words", "start"),
    [
        (["model.vocab_size=100"], "model.vocab_size: 100 is smaller than the tokenizer's vocabulary of 260"),
        (["model.max_seq_len=100000"], "trainer.batch_size: 4 rows of model.max_seq_len 100000 tokens need"),
        (["trainer.batch_size=100000"], "trainer.batch_size: 100000 rows of model.max_seq_len 16 tokens need"),
        (["model.vocab_size=300"], None),
        (["trainer.batch_size=null", "trainer.batch_tokens=64"], None),
    ],
)
def test_sizes_that_do_not_go_with_the_data(root: Path, text: Path, words: list[str], start: str | None) -> None:
    found = problems(tiny_config(root, text, *words))
    assert [problem for problem in found if start is None or not problem.startswith(start)] == []
    assert len(found) == (start is not None)


def test_sentences_that_are_all_too_long(root: Path, pairs: Path) -> None:
    words = ["experiment=translation", "data=parallel_files", f"data.path={pairs}", "data.source=de", "data.target=en"]
    words += ["data.validation=val", "tokenizer=byte", f"root={root}", "model.max_seq_len=8"]
    (problem,) = problems(compose(words))
    assert problem.startswith("model.max_seq_len: 8 is shorter than every pair to train on")


def test_weights_of_another_shape(root: Path, text: Path) -> None:
    base = RunConfig.parse(tiny_config(root, text))
    run = train(base, name="base", labels={}, store=open_store(base.raw))
    (problem,) = problems(tiny_config(root, text, "init_from=last", "model.d_model=32"))
    assert problem.startswith(f"init_from: '{run.run_id}': ") and "weights of another model" in problem
    assert problems(tiny_config(root, text, "init_from=last", "adapter=lora", "seed=1")) == []


def test_a_sweep_with_one_such_run_records_nothing(root: Path, text: Path, capsys: pytest.CaptureFixture) -> None:
    line = [
        "train",
        *tiny_overrides(root, text),
        "-m",
        "study=mine",
        "model.vocab_size=null,100",
        "model.max_seq_len=16",
    ]
    assert main(line) == 2
    error = capsys.readouterr().err
    assert "model.vocab_size: 100" in error and "(in model.vocab_size=100" in error
    store = Store.open(root)
    assert store.runs() == [] and store.studies() == []


@pytest.mark.parametrize("name", ["ja-mecab", "ko-mecab"])
def test_a_tokenizer_whose_library_is_missing(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lightning_tx.task.translation.find_spec", lambda module: None)
    with pytest.raises(Exception, match=rf"task.bleu_tokenize: '{name}' needs a library .*sacrebleu\[{name[:2]}\]"):
        RunConfig.parse(compose(["experiment=translation", f"task.bleu_tokenize={name}"]))


@pytest.fixture
def other_text(tmp_path: Path) -> Path:
    path = tmp_path / "other.txt"
    path.write_text("".join(f"Zwölf Boxkämpfer jagen {number} Eier.\n" for number in range(900)))
    return path


LEARNS = ["tokenizer=bpe", "tokenizer.vocab_size=300"]


@pytest.fixture
def base_run(root: Path, text: Path) -> str:
    config = RunConfig.parse(tiny_config(root, text, *LEARNS))
    return train(config, name="base", labels={}, store=open_store(config.raw)).run_id


def test_a_run_that_starts_from_another_has_its_tokenizer(root: Path, base_run: str, other_text: Path) -> None:
    raw = tiny_config(root, other_text, *LEARNS, "init_from=last")
    config = RunConfig.parse(raw)
    ours, alone = materials_of(config).tokenizers, materials_of(RunConfig.parse({**raw, "init_from": None})).tokenizers
    recorded = Store.get(root).run(base_run).facts["tokenizer"]
    assert ours.digest == recorded != alone.digest
    assert problems(raw) == []
    assert train(config, name="tuned", labels={}, store=open_store(raw)).facts["tokenizer"] == recorded


@pytest.mark.parametrize(
    "words", [["tokenizer=bpe", "tokenizer.vocab_size=299"], ["tokenizer=byte"], ["tokenizer=character"]]
)
def test_another_tokenizer_than_that_of_the_weights_is_refused(
    root: Path, base_run: str, other_text: Path, words: list[str]
) -> None:
    found = problems(tiny_config(root, other_text, *words, "init_from=last"))
    assert found[0].startswith(f"init_from: '{base_run}' was trained with another tokenizer (")
    assert found[0].endswith("tokenizer=base takes that run's own.")


def test_the_tokenizer_of_the_weights_can_be_asked_for_whatever_it_is(
    root: Path, base_run: str, other_text: Path
) -> None:
    raw = tiny_config(root, other_text, "tokenizer=base", "init_from=last")
    config, same = RunConfig.parse(raw), RunConfig.parse(tiny_config(root, other_text, *LEARNS, "init_from=last"))
    assert problems(raw) == []
    assert config.tokenizer == same.tokenizer and identify(config) == identify(same)
    assert config.raw["tokenizer"] == Store.get(root).config(base_run)["tokenizer"]
    assert materials_of(config).tokenizers.digest == Store.get(root).run(base_run).facts["tokenizer"]


def test_the_tokenizer_of_no_run_is_refused(root: Path, text: Path) -> None:
    (problem,) = problems_of_run(tiny_config(root, text, "tokenizer=base"))
    assert problem == "tokenizer: base is that of the run to start from; name that: init_from=RUN."
    (problem,) = problems_of_run(tiny_config(root, text, "tokenizer=base", "init_from=nowhere"))
    assert problem.startswith("init_from: there is no run 'nowhere'")


def test_a_special_token_that_the_tokenizer_of_the_weights_lacks(root: Path, text: Path) -> None:
    # Hidden tokens need a token of their own; a causal model's tokenizer has none, a masked one's serves both.
    for first, second, fits in (("causal_lm", "masked_lm", False), ("masked_lm", "causal_lm", True)):
        models = {"causal_lm": "decoder", "masked_lm": "encoder"}
        config = RunConfig.parse(
            tiny_config(root, text, f"task={first}", f"model={models[first]}", "model.num_layers=1")
        )
        run = train(config, name=first, labels={}, store=open_store(config.raw))
        raw = tiny_config(root, text, f"task={second}", f"model={models[first]}", f"init_from={run.run_id}")
        assert (materials_of(_unchecked(raw)).tokenizers.digest == run.facts["tokenizer"]) is fits


def _unchecked(raw: dict) -> RunConfig:
    """The config of a task that the model does not go with: what its data are made of can be asked all the same."""
    fitting = RunConfig.parse(
        {**raw, "task": {"name": "masked_lm" if raw["model"]["name"] == "encoder" else "causal_lm"}}
    )
    return replace(fitting, task=TASK.parse(raw["task"]))
