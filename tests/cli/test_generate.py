"""``ltx generate``: a recorded run writes, on a machine that has its store alone."""

import io
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from lightning_tx.cli import main
from lightning_tx.cli.compose import compose
from lightning_tx.core.errors import ConfigError
from lightning_tx.decoding.greedy import Greedy
from lightning_tx.runs.config import RunConfig
from lightning_tx.runs.loading import LoadedRun, load_run
from lightning_tx.runs.store import open_store
from lightning_tx.runs.train import train
from lightning_tx.runs.writing import write
from lightning_tx.tracking.store import Store
from tests.tiny import tiny_config

TRANSLATION = [
    "data=number_words",
    "data.largest=400",
    "data.size=null",
    "data.validation_fraction=0.05",
    "data.test_fraction=0.05",
    "tokenizer=byte",
    "task=translation",
    "task.max_length_ratio=0.2",
    "task.validation_sentences=1",
    "positions=learned",
    "model=encoder_decoder",
    "model.d_model=16",
    "model.num_heads=2",
    "model.num_encoder_layers=1",
    "model.num_decoder_layers=1",
    "model.max_seq_len=64",
    "model.tie_embeddings=false",
    "model.linear_std=0.7",  # what is written depends on what is read, before anything is learnt
    "trainer.batch_size=16",
    "trainer.max_steps=6",
    "trainer.val_every=6",
    "trainer.accelerator=cpu",
    "schedule.warmup_steps=2",
]
NUMBERS = ["twenty-one", "three hundred and forty", "seven"]


def trained(config: dict[str, Any], name: str) -> str:
    """The id of a finished run."""
    return train(RunConfig.parse(config), name=name, labels={}, store=open_store(config)).run_id


@pytest.fixture(scope="module")
def store(template, text, tmp_path_factory) -> tuple[Path, dict[str, str]]:
    """A root, and the ids of its runs: a translator, a decoder and an encoder."""
    root = tmp_path_factory.mktemp("generate") / "multirun"
    root.mkdir()
    shutil.copyfile(template, root / "mlflow.db")
    short = ["trainer.max_steps=2", "trainer.val_every=2"]
    configs = {
        "translator": compose([*TRANSLATION, f"root={root}"]),
        "decoder": tiny_config(root, text, "positions=learned", *short),
        "encoder": tiny_config(root, text, "model=encoder", "task=masked_lm", *short),
    }
    return root, {name: trained(config, name) for name, config in configs.items()}


@pytest.fixture(scope="module")
def loaded(store) -> dict[str, LoadedRun]:
    root, runs = store
    return {name: load_run(runs[name], root=root) for name in ("translator", "decoder")}


@pytest.fixture
def ltx(store, capsys, monkeypatch):
    """Runs ``ltx generate``; gives exit code, output and error output."""

    def run(name: str, *arguments: str, stdin: bytes = b"") -> tuple[int, str, str]:
        root, runs = store
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        code = main(["generate", "--root", str(root), runs.get(name, name), *arguments])
        return code, *capsys.readouterr()

    return run


@torch.no_grad()
def one_by_one(loaded: LoadedRun, text: str, limit: int) -> str:
    """Greedy decoding in the plainest way: one text, no cache, the whole sequence again for each token."""
    tokenizer, model = loaded.tokenizers.target, loaded.model
    given = tokenizer.encode(text)
    written: list[int] = []
    while len(written) < limit:
        if model.num_inputs == 2:
            states = model(torch.tensor([[*given, tokenizer.eos_id]]), torch.tensor([[tokenizer.bos_id, *written]])).x
        else:
            states = model(torch.tensor([[tokenizer.bos_id, *given, *written]])).x
        scores = model.head.logits(states[0, -1])[: tokenizer.vocab_size]
        scores[[tokenizer.bos_id, tokenizer.pad_id]] = float("-inf")
        written.append(int(scores.argmax()))
        if written[-1] == tokenizer.eos_id:
            break
    return tokenizer.decode(written)


def one_line(text: str) -> str:
    return " ".join(text.splitlines())


def test_each_text_is_translated_as_it_would_be_alone(ltx, loaded) -> None:
    code, out, err = ltx("translator", *NUMBERS)
    assert code == 0
    limits = [int(0.2 * (len(text) + 1)) + 10 for text in NUMBERS]
    expected = [one_line(one_by_one(loaded["translator"], *pair)) for pair in zip(NUMBERS, limits, strict=True)]
    assert out == "".join(f"{line}\n" for line in expected) and len(set(expected)) == len(NUMBERS)
    assert err.startswith("greedy: ") and err.count("\n") == 1
    assert all(word in err for word in ("to the first token", "per token", "tokens/s", "cache ", " bytes"))


def test_a_prompt_is_continued_from_its_beginning_to_the_last_position(ltx, loaded) -> None:
    code, out, _ = ltx("decoder", "3 and 4")
    assert code == 0
    # <bos> and seven bytes take half of the 16 positions; the last token needs none.
    assert out == one_by_one(loaded["decoder"], "3 and 4", 9) + "\n"
    _, shorter, _ = ltx("decoder", "3 and 4", "--max-new-tokens", "2")
    assert shorter == one_by_one(loaded["decoder"], "3 and 4", 2) + "\n"


def test_a_file_the_standard_input_and_the_command_line_are_read_alike(ltx, tmp_path) -> None:
    _, expected, _ = ltx("translator", *NUMBERS)
    content = b"\xef\xbb\xbf" + "\r\n".join([NUMBERS[0], "", *NUMBERS[1:]]).encode()
    (tmp_path / "numbers.txt").write_bytes(content + b"\n")
    _, from_file, _ = ltx("translator", "--file", str(tmp_path / "numbers.txt"))
    _, from_stdin, _ = ltx("translator", "--batch-size", "2", stdin=content)
    first, *rest = expected.splitlines()
    assert from_file.split("\n") == from_stdin.split("\n") == [first, "", *rest, ""]  # nothing in, nothing out


def test_words_stand_in_any_place_and_some_choose_the_decoding(ltx, store) -> None:
    _, runs = store
    beam = ["decoding=beam", "decoding.num_beams=3"]
    _, expected, err = ltx("translator", *beam, *NUMBERS)
    assert err.startswith("beam-num_beams-3: ")
    arguments = ["--max-new-tokens", "50", NUMBERS[0], beam[1], "--seed", "1", *NUMBERS[1:], beam[0]]
    assert ltx("translator", *arguments)[0] == 0
    _, again, _ = ltx("translator", NUMBERS[0], beam[0], "--seed", "1", *NUMBERS[1:], beam[1])
    assert again == expected
    assert ltx("translator", "--seed", "1", "--", "-x=1")[0] == 0
    assert ltx(runs["translator"][:8], *beam, *NUMBERS)[:2] == (0, expected)


def test_chance_is_a_function_of_the_seed(ltx) -> None:
    sample = ["decoding=sample", "decoding.temperature=2.0", *NUMBERS]
    outputs = [ltx("translator", *sample, "--seed", seed)[1] for seed in ("0", "0", "1")]
    assert outputs[0] == outputs[1] != outputs[2]


def test_texts_are_cleaned_as_the_data_were(loaded) -> None:
    data = {"name": "parallel_files", "path": "not/here", "lowercase": True, "strip_html": True}
    run = replace(loaded["translator"], config={**loaded["translator"].config, "data": data})
    outputs, _ = write(run, {"1": "<b>SEVEN</b>  Hundred", "2": "<br/>", "3": "seven hundred"}, Greedy())
    plain, _ = write(loaded["translator"], {"1": "seven hundred", "2": "SEVEN Hundred"}, Greedy())
    assert outputs == [plain[0], "", plain[0]]
    assert plain[0] != plain[1]


def test_the_store_alone_is_enough(store, tmp_path, capsys, monkeypatch, ltx) -> None:
    root, runs = store
    _, expected, _ = ltx("translator", *NUMBERS)
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(root, elsewhere, ignore=shutil.ignore_patterns("cache", "runs"))
    away = root.rename(root.with_name("away"))
    try:
        monkeypatch.chdir(tmp_path)
        assert main(["generate", runs["translator"], *NUMBERS, "--root", "elsewhere"]) == 0
        assert capsys.readouterr().out == expected
    finally:
        away.rename(root)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["elsewhere"]


def test_an_output_file_is_written_in_one_step(ltx, tmp_path) -> None:
    target = tmp_path / "new" / "out.txt"
    _, expected, _ = ltx("translator", *NUMBERS)
    assert ltx("translator", *NUMBERS, "--output", str(target))[:2] == (0, "")
    assert target.read_bytes() == expected.encode()
    assert ltx("translator", "x" * 64, "--output", str(target))[0] == 2
    assert target.read_bytes() == expected.encode() and len(list(target.parent.iterdir())) == 1


@pytest.mark.parametrize(
    ("name", "arguments", "words"),
    [
        ("translator", ["ok", "x" * 64], ["TEXT 2: ", "65 tokens", "model.max_seq_len = 64"]),
        ("decoder", ["x" * 16], ["TEXT 1: ", "17 tokens", "model.max_seq_len = 16"]),
        ("encoder", ["x"], ["model.name: ", "'encoder'", "decoder, encoder_decoder"]),
        ("translator", ["x", "decoding=beem"], ["decoding: ", "'beem'", "'beam'"]),
        ("translator", ["x", "decoding.num_beams=3"], ["decoding.num_beams: ", "unknown key"]),
        ("translator", ["x", "decoding=beam", "decoding.num_beams=0"], ["decoding.num_beams: ", "greater than 0"]),
        ("translator", ["x", "data.path=y"], ["data.path: ", "Choices: decoding"]),
        ("translator", ["x", "--file", "y"], ["--file: ", "not both"]),
        ("translator", ["--file", "not/here"], ["--file: ", "not/here", "No such file"]),
        ("translator", [], ["TEXT: ", "standard input is empty"]),
        ("translator", ["\udcff"], ["TEXT 1: ", "UTF-8"]),
        ("translator", ["x", "--output", "."], ["--output: ", "folder"]),
    ],
)
def test_bad_input_is_one_error(ltx, name, arguments, words) -> None:
    code, out, err = ltx(name, *arguments)
    assert (code, out) == (2, "")
    assert err.startswith("error: ") and err.count("\n") == 1
    assert all(word in err for word in words), err


def test_bad_lines_are_named_with_their_file(ltx, tmp_path) -> None:
    bad = tmp_path / "bad.txt"
    bad.write_bytes(b"one\ntw\xffo\n")
    code, _, err = ltx("translator", "--file", str(bad))
    assert code == 2 and f"line 2 of '{bad}'" in err and "byte 3, 0xff" in err
    bad.write_text("one\n" + "".join("x" * length + "\n" for length in range(60, 80)))
    code, _, err = ltx("translator", "--file", str(bad))
    assert code == 2 and f"line 6 of '{bad}': it has 65 tokens" in err and "line 5 " not in err
    assert "11 problems" in err and "6 more inputs" in err


def test_a_wrong_id_is_answered_with_those_there_are(ltx, store) -> None:
    _, runs = store
    wrong = f"{runs['decoder'][:-1]}{'0' if runs['decoder'][-1] != '0' else '1'}"
    code, _, err = ltx(wrong, "x")
    assert code == 2 and f"there is no run '{wrong}'" in err and f"Did you mean '{runs['decoder']}'" in err
    assert all(f"{run} ({name}, FINISHED)" in err for name, run in runs.items())
    code, _, err = ltx(runs["decoder"][:5], "x")
    assert code == 2 and "shorter than 6" in err and runs["decoder"] in err


@pytest.mark.parametrize(
    ("file", "words"),
    [
        ("model.safetensors", ["has no model.safetensors", "status is FINISHED"]),
        ("tokenizer.json", ["its tokenizer (", "is not the one it was trained with ("]),
    ],
)
def test_a_run_with_other_or_without_files_is_refused(store, tmp_path, file, words) -> None:
    root, runs = store
    copy = tmp_path / "multirun"
    shutil.copytree(root, copy, ignore=shutil.ignore_patterns("cache", "runs"))
    path = Store.open(copy).artifact_path(runs["translator"], file)
    assert path.is_relative_to(copy)
    if file == "tokenizer.json":
        path.write_text(path.read_text().replace('"<unk>"', '"<unk>" '))
    else:
        path.unlink()
    with pytest.raises(ConfigError) as caught:
        load_run(runs["translator"], root=copy)
    assert all(word in str(caught.value) for word in words), caught.value


def test_weights_of_another_run_are_refused(store, tmp_path) -> None:
    root, runs = store
    copy = tmp_path / "multirun"
    shutil.copytree(root, copy, ignore=shutil.ignore_patterns("cache", "runs"))
    ours, theirs = (
        Store.open(copy).artifact_path(runs[name], "model.safetensors") for name in ("translator", "decoder")
    )
    shutil.copyfile(theirs, ours)
    with pytest.raises(ConfigError, match="weights of another model"):
        load_run(runs["translator"], root=copy)
