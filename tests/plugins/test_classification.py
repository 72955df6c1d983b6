"""A task of another's, in a file, with a head of ours: texts sorted into classes by a body that pools and by stacks."""

import random
from pathlib import Path
from typing import Any

import pytest
import torch

from lightning_tx.cli import main
from lightning_tx.cli.compose import compose
from lightning_tx.core import names
from lightning_tx.core.errors import ConfigError
from lightning_tx.runs.config import RunConfig
from lightning_tx.runs.loading import load_run
from lightning_tx.runs.store import get_store
from lightning_tx.runs.train import train
from lightning_tx.testing.suite import check_choice, failures

WORDS = {
    "animal": ["cat", "dog", "horse", "mouse", "owl"],
    "plant": ["oak", "fern", "moss", "rose", "elm"],
    "stone": ["flint", "chalk", "slate", "marble", "quartz"],
}
FILLERS = ["the", "a", "old", "small", "sees", "near", "and"]


def examples(number: int, seed: int) -> list[tuple[str, str]]:
    """Texts of 3 to 12 words, one of which says which class they belong to."""
    draw = random.Random(seed)
    found = []
    for _ in range(number):
        label = draw.choice(list(WORDS))
        words = [draw.choice(FILLERS) for _ in range(draw.randint(2, 11))]
        words.insert(draw.randint(0, len(words)), draw.choice(WORDS[label]))
        found.append((" ".join(words), label))
    return found


def overrides(root: Path, plugins: str, *more: str, alive: bool = False) -> list[str]:
    """A run of a second, on files of labelled texts; in two classes where it is asked whether something is alive."""
    folder = root / ("alive" if alive else "kinds")
    folder.mkdir(parents=True, exist_ok=True)
    for seed, (name, number) in enumerate({"train": 300, "val": 60, "test": 60}.items()):
        texts, labels = zip(*examples(number, seed), strict=True)
        labels = [str(label != "stone") for label in labels] if alive else labels
        for suffix, column in {"text": texts, "label": labels}.items():
            (folder / f"{name}.{suffix}").write_text("".join(f"{line}\n" for line in column), encoding="utf-8")
    return [
        *["task=classification", "data=parallel_files", f"data.path={folder}", "data.source=text", "data.target=label"],
        *["data.test=test", "tokenizer=byte", "model.max_seq_len=96", "model.d_model=32"],
        *["trainer.batch_size=16", "trainer.accelerator=cpu", "trainer.precision=32", "trainer.max_steps=150"],
        *["trainer.val_every=75", "optimizer.lr=1e-2", "schedule.warmup_steps=5", plugins, f"root={root}", *more],
    ]


def run(words: list[str]) -> Any:
    config = compose(words)
    said: list[str] = []
    record = train(RunConfig.parse(config), name="sorted", labels={}, store=get_store(config), say=said.append)
    return record, said


def files_of(plugins: str) -> list[str]:
    return plugins.removeprefix("plugins=[").removesuffix("]").split(",")


@pytest.mark.parametrize(
    "model", [["model=bag_of_words"], ["model=encoder", "model.num_layers=1", "trainer.max_steps=80"]]
)
def test_a_body_learns_to_sort_and_is_rebuilt(root: Path, plugins: str, model: list[str]) -> None:
    record, _ = run(overrides(root, plugins, *model, "tokenizer=bpe", "tokenizer.vocab_size=400"))
    assert record.metrics["last_test/accuracy"] > 0.95
    loaded = load_run(record.run_id, root=root, plugins=files_of(plugins))
    text = loaded.tokenizers.source.encode("the old horse sees a")
    tokens = torch.tensor([[loaded.tokenizers.source.bos_id, *text, loaded.tokenizers.source.eos_id]])
    assert sorted(WORDS)[loaded.model.head.logits(loaded.model(tokens).x).argmax()] == "animal"


def test_both_conform() -> None:
    results = check_choice("model", "bag_of_words", {"name": "bag_of_words"})
    assert failures(results) == []
    passed = {result.property for result in results if result.status == "passed"}
    assert {"padding_on_the_right", "rows_are_independent", "shape_dtype_device", "bfloat16"} <= passed
    assert failures(check_choice("task", "classification", {"name": "classification"})) == []


def test_a_task_of_tokens_refuses_states_of_examples(root: Path, text: Path, plugins: str) -> None:
    words = ["model=bag_of_words", "task=masked_lm", "data=text_file", f"data.path={text}", plugins, f"root={root}"]
    with pytest.raises(ConfigError, match="'bag_of_words' does not read one text from both sides"):
        RunConfig.parse(compose(words))


class TestAnotherHead:
    """``init_from``: the weights of a body, and a head of another kind or size."""

    SMALL = ("model=decoder", "model.num_layers=1", "model.num_heads=2", "trainer.max_steps=2", "trainer.val_every=2")
    STILL = "optimizer.lr=1e-9"

    def test_one_of_another_size_starts_fresh_and_this_is_told(self, root: Path, plugins: str) -> None:
        three, said = run(overrides(root, plugins, *self.SMALL))
        assert not any("starts fresh" in line for line in said)
        record, said = run(overrides(root, plugins, *self.SMALL, f"init_from={three.run_id}", self.STILL, alive=True))
        told = [line for line in said if "starts fresh" in line]
        assert len(told) == 1 and "'classifier'" in told[0] and three.run_id in told[0]
        assert record.tags[names.FRESH_HEAD] == "classifier"
        first, second = (load_run(each.run_id, root=root, plugins=files_of(plugins)).model for each in (three, record))
        assert (classes_of(first), classes_of(second)) == (3, 2)
        body = {name: value for name, value in first.state_dict().items() if not name.startswith("classifier.")}
        for name, value in body.items():
            torch.testing.assert_close(second.state_dict()[name], value, rtol=0, atol=1e-6)

    def test_one_of_the_same_size_is_taken(self, root: Path, plugins: str) -> None:
        first, _ = run(overrides(root, plugins, *self.SMALL))
        again, said = run(overrides(root, plugins, *self.SMALL, f"init_from={first.run_id}", self.STILL))
        assert names.FRESH_HEAD not in again.tags and not any("starts fresh" in line for line in said)
        heads = [load_run(each.run_id, root=root, plugins=files_of(plugins)).model.head for each in (first, again)]
        torch.testing.assert_close(heads[0].weight, heads[1].weight, rtol=0, atol=1e-6)

    def test_one_of_another_kind_starts_fresh_and_other_bodies_are_refused(
        self, root: Path, text: Path, plugins: str
    ) -> None:
        before = ["task=causal_lm", "data=text_file", f"data.path={text}", "tokenizer=byte", "model.max_seq_len=96"]
        first, _ = run([*before, *self.SMALL, "model.d_model=32", "trainer.accelerator=cpu", f"root={root}"])
        start = f"init_from={first.run_id}"
        with pytest.raises(ConfigError, match=r"another model: they differ in stack\.layers\.1"):
            run(overrides(root, plugins, *self.SMALL, start, "model.num_layers=2"))
        for targets in ("q_proj", "q_proj,classifier"):
            with pytest.raises(ConfigError, match="would start fresh and stay so"):
                run(overrides(root, plugins, *self.SMALL, start, "adapter=lora", f"adapter.targets=[{targets}]"))
        record, said = run(overrides(root, plugins, *self.SMALL, start))
        assert record.tags[names.FRESH_HEAD] == "classifier" and sum("starts fresh" in line for line in said) == 1

    def test_it_stands_on_a_body_that_an_adapter_was_merged_into(self, root: Path, text: Path, plugins: str) -> None:
        before = ["task=causal_lm", "data=text_file", f"data.path={text}", "tokenizer=byte", "model.max_seq_len=96"]
        before += [*self.SMALL, "model.d_model=32", "trainer.accelerator=cpu", f"root={root}"]
        first, _ = run([*before, "adapter=lora", "adapter.rank=2", "optimizer.lr=0.1"])
        record, said = run(overrides(root, plugins, *self.SMALL, f"init_from={first.run_id}", self.STILL))
        assert record.tags[names.FRESH_HEAD] == "classifier" and sum("starts fresh" in line for line in said) == 1
        adapted = load_run(first.run_id, root=root).model
        tuned = load_run(record.run_id, root=root, plugins=files_of(plugins)).model
        tokens = torch.arange(5, 21).view(2, 8)
        with torch.no_grad():
            states = [model(tokens).x for model in (adapted, tuned)]
        torch.testing.assert_close(*states, rtol=0, atol=1e-5)


def classes_of(model: Any) -> int:
    return model.head.out_features


def test_what_sorts_does_not_write(root: Path, plugins: str, capsys: pytest.CaptureFixture[str]) -> None:
    record, _ = run(overrides(root, plugins, "model=decoder", "model.num_layers=1", "trainer.max_steps=2"))
    assert main(["generate", record.run_id, "text", "--root", str(root), plugins]) == 2
    assert "the model 'decoder' was trained with the head 'classifier'" in capsys.readouterr().err
