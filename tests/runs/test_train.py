"""A plain dict becomes a checked, trained and recorded run."""

import copy
import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

import lightning_tx
from lightning_tx.cli.compose import compose
from lightning_tx.core import names
from lightning_tx.core.errors import ConfigError, DivergedError
from lightning_tx.model.adapters import Adapters
from lightning_tx.runs.config import RunConfig
from lightning_tx.runs.facts import settle_precision
from lightning_tx.runs.identity import identify, identity
from lightning_tx.runs.loading import load_from, load_run
from lightning_tx.runs.materials import materials_of
from lightning_tx.runs.recorded import weights_of
from lightning_tx.runs.store import open_store
from lightning_tx.runs.train import train
from lightning_tx.studies.outcomes import outcome_of
from lightning_tx.task.causal_lm import CausalLM
from lightning_tx.tracking.code import code_digest
from lightning_tx.tracking.errors import RunFinished
from lightning_tx.tracking.study import Study
from lightning_tx.training.checkpoint import LAST, Checkpoints
from tests.tiny import problems_of_run, tiny_config

DETERMINISTIC = ("train/loss", "train/grad_norm", "train/lr", "val/loss", "val/perplexity", "val/bits_per_byte")


def run(config, study=None):
    store = open_store(config)
    return store, train(RunConfig.parse(config), name="tiny", labels={"positions": "rope"}, store=store, study=study)


def test_a_sound_config_has_no_problems(root, text) -> None:
    assert problems_of_run(tiny_config(root, text)) == []


@pytest.mark.parametrize(
    ("override", "start", "word"),
    [
        ("model.num_layer=3", "model.num_layer: ", "'num_layers'"),
        ("model.num_heads=abc", "model.num_heads: ", "'abc'"),
        ("model.dropout=1.5", "model.dropout: ", "1.5"),
        ("model.num_heads=3", "model.num_heads: ", "1, 2, 4, 8, 16"),
        ("attention.num_kv_heads=3", "attention.num_kv_heads: ", "1, 2"),
        ("model.head_dim=3", "model.head_dim: ", "even"),
        ("trainer.max_steps=0", "trainer.max_steps: ", "greater than 0"),
        ("trainer.precision=16", "trainer.precision: ", "bf16-mixed"),
        ("trainer.max_step=3", "trainer.max_step: ", "'max_steps'"),
        ("data.path=/nowhere", "data.path: ", "/nowhere"),
        ("data.path=???", "data.path: ", "missing"),
        ("schedule=noam", "optimizer.lr: ", "null"),
        ("optimizer.lr=null", "optimizer.lr: ", "null"),
        ("adapter=lora adapter.targets=[x_proj]", "adapter.targets: ", "q_proj"),
        ("model=encoder", "model.name: ", "'encoder'"),
        ("sead=1", "sead: ", "'seed'"),
        ("seed=-1", "seed: ", "-1"),
        ("model.overrides=[{layers: 9, feed_forward: relu}]", "model.overrides[0]: ", "nowhere"),
        ("trainer.final_validations=0", "trainer.final_validations: ", "greater than 0"),
        ("trainer.final_validations=2 trainer.average=3", "trainer.final_validations: 2 ", "trainer.average=3"),
        ("margin=0", "margin: 0 ", "above 0"),
        ("margin=1kg", "margin: '1kg' ", "1%"),
    ],
)
def test_each_mistake_is_one_sentence_that_names_key_value_and_choices(root, text, override, start, word) -> None:
    (problem,) = problems_of_run(
        tiny_config(root, text, *([override] if "overrides" in override else override.split()))
    )
    assert problem.startswith(start)
    assert word in problem


@pytest.mark.parametrize(("content", "word"), [(b"", "empty"), (b"\x00\x01\xff", "binary")])
def test_a_file_that_is_no_text_is_refused(root, tmp_path: Path, content: bytes, word: str) -> None:
    path = tmp_path / "data.txt"
    path.write_bytes(content)
    (problem,) = problems_of_run(tiny_config(root, path))
    assert problem.startswith("data.path: ") and word in problem


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["adapter=lora", "attention=none"], ["adapter=lora", "attention=none"]),
        (["positions=rope", "model.head_dim=3"], ["positions=rope", "model.head_dim"]),
        (["schedule=cosine", "optimizer.lr=null"], ["schedule=cosine", "optimizer.lr"]),
        (["schedule=noam"], ["schedule=noam", "optimizer.lr"]),
        (["task=masked_lm", "model=decoder"], ["task=masked_lm", "'decoder'"]),
        (["task=translation"], ["task=translation", "'decoder'"]),
        (["data=number_words"], ["task=causal_lm", "'number_words'"]),
    ],
)
def test_two_choices_that_cannot_work_together_are_both_named(root, overrides, words) -> None:
    problems = problems_of_run(compose([f"root={root}", *overrides]))
    assert any(all(word in problem for word in words) for problem in problems), problems


def test_all_problems_come_at_once(root, text) -> None:
    wrong = ["model.typo=1", "norm.eps=-1", "trainer.clip=1", "seed=x", "schedule.factor=2", "data.path=/nowhere"]
    keys = {problem.partition(":")[0] for problem in problems_of_run(tiny_config(root, text, *wrong))}
    assert keys == {"model.typo", "norm.eps", "trainer.clip", "seed", "schedule.factor", "data.path"}


class TestIdentity:
    def test_where_and_how_a_run_is_recorded_does_not_change_it(self, root, text, tmp_path) -> None:
        plain = identify(RunConfig.parse(tiny_config(root, text)))
        other = tiny_config(
            tmp_path / "other", text, "tracking.flush_seconds=1", "trainer.log_every=3", "study=x", "margin=1%"
        )
        assert identify(RunConfig.parse(other)) == plain

    @pytest.mark.parametrize("override", ["seed=1", "positions=none", "positions.base=500", "trainer.max_steps=13"])
    def test_what_is_learnt_changes_it(self, root, text, override) -> None:
        assert identify(RunConfig.parse(tiny_config(root, text, override))) != identify(
            RunConfig.parse(tiny_config(root, text))
        )

    def test_an_option_left_at_its_default_does_not_change_it(self, root, text) -> None:
        config = tiny_config(root, text)
        shorter = copy.deepcopy(config)
        del shorter["positions"]["pairing"], shorter["model"]["tie_embeddings"], shorter["trainer"]["compile"]
        assert identify(RunConfig.parse(shorter)) == identify(RunConfig.parse(config))

    def test_the_data_change_it(self, root, text, tmp_path) -> None:
        other = tmp_path / "other.txt"
        other.write_text(text.read_text().replace("make", "is"))
        assert identify(RunConfig.parse(tiny_config(root, other))) != identify(RunConfig.parse(tiny_config(root, text)))
        same = tmp_path / "same.txt"
        same.write_text(text.read_text())
        # The path is part of the config: another path is said to be another run, content or not.
        assert identify(RunConfig.parse(tiny_config(root, same))) != identify(RunConfig.parse(tiny_config(root, other)))


def test_a_run_is_trained_recorded_and_rebuilt(root, text) -> None:
    config = tiny_config(root, text)
    store, record = run(config)
    assert record.status == "FINISHED"
    assert store.history(record.run_id, "val/loss")[-1][0] == 12
    losses = dict(store.history(record.run_id, "val/loss"))
    assert losses[12] < losses[6] < 6.0
    assert record.metrics["best/loss"] == min(losses.values())
    assert record.metrics["best/step"] == 12
    assert record.metrics["test/loss"] < 6.0
    assert record.metrics["last/loss"] == losses[12] and record.metrics["last/step"] == 12
    assert record.metrics["last_test/loss"] == record.metrics["test/loss"]
    assert record.tags[names.METRIC] == "last/loss" and record.tags[names.DIRECTION] == "min"
    assert record.measures == CausalLM.measures

    loaded = load_run(record.run_id, root=root)
    tokens = torch.tensor([loaded.tokenizers.target.encode("3 and 4 make")])
    assert loaded.tokenizers.target.decode(tokens[0].tolist()) == "3 and 4 make"
    assert not loaded.model.training
    assert record.metrics["params/total"] == sum(parameter.numel() for parameter in loaded.model.parameters())
    weights = load_file(store.artifact_path(record.run_id, "model.safetensors"))
    assert torch.equal(loaded.model.token_embedding.weight, weights["token_embedding.weight"])
    with pytest.raises(RunFinished):
        run(config)


def test_facts_say_what_a_run_was_made_of(root, text) -> None:
    config = tiny_config(root, text, "trainer.precision=32")
    _, record = run(config)
    materials = materials_of(RunConfig.parse(config))
    facts = dict(record.facts)
    targets = [int(facts.pop(name)) for name in ("validation_targets", "test_targets")]
    for name, count in zip(("validation", "test"), targets, strict=True):
        documents = getattr(materials.splits, name)
        # Of a document's bytes and its two marks all but the first token are predicted.
        assert count == sum(len(document.encode()) + 1 for document in documents)
    assert facts == {
        "data": materials.splits.digest,
        "validation_data": materials.splits.digests["validation"],
        "test_data": materials.splits.digests["test"],
        "tokenizer": materials.tokenizers.digest,
        "objective": "causal_lm: each token from those before it",
        "precision": "32",
        "device": "cpu",
        "threads": str(torch.get_num_threads()),
        "torch": torch.__version__,
        "lightning_tx": lightning_tx.__version__,
        "code": code_digest(),
    }
    costs = record.metrics
    # Twelve steps of four rows of 16 tokens, of which those at the end of a document have no target.
    assert costs["train/positions"] == 12 * 4 * 16 and 12 * 4 * 8 < costs["train/tokens"] <= 12 * 4 * 16
    assert costs["flops/total"] == 3 * costs["flops/forward_per_token"] * costs["train/positions"]
    assert costs["time/train_seconds"] > 0


def test_a_prefix_shows_in_the_targets(root, text) -> None:
    _, whole = run(tiny_config(root, text))
    _, prefix = run(tiny_config(root, text, "pattern=prefix", "pattern.length=4"))
    for name in ("validation_targets", "test_targets"):
        assert int(prefix.facts[name]) < int(whole.facts[name])


class Killed(Exception):
    """Stands for whatever ends a process."""


@pytest.mark.parametrize("stop", [3, 4, 7, 9])
def test_a_resumed_run_is_bit_equal_to_an_unbroken_one(root, text, tmp_path, monkeypatch, stop) -> None:
    """Over several epochs, with dropout, accumulation, and a stop between two points of the curve."""
    overrides = ["model.dropout=0.2", "trainer.accumulate=2", "trainer.checkpoint_every=2", "trainer.batch_size=16"]
    overrides += ["trainer.log_every=3"]
    whole = tiny_config(root, text, *overrides)
    store, unbroken = run(whole)

    original = Checkpoints.on_train_batch_start

    def dying(self, trainer, *rest) -> None:
        original(self, trainer, *rest)
        if trainer.global_step == stop:
            raise Killed

    study = Study.open(store, "broken")
    with monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "on_train_batch_start", dying)
        with pytest.raises(Killed):
            run(whole, study)
    first = study.runs()[0]
    assert first.status == "FAILED"
    assert (store.folder(first.run_id) / LAST).exists()
    torch.manual_seed(99)  # whatever happened in between
    _, resumed = run(whole, study)
    assert resumed.run_id == first.run_id
    for key in DETERMINISTIC:
        assert store.history(resumed.run_id, key) == store.history(unbroken.run_id, key), key
    weights = [load_file(store.artifact_path(each.run_id, "model.safetensors")) for each in (unbroken, resumed)]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    for key in ("test/loss", "last/loss", "last_test/loss", "train/tokens", "train/positions", "flops/total"):
        assert resumed.metrics[key] == unbroken.metrics[key], key
    assert resumed.facts == unbroken.facts and names.FACTS_CHANGED not in resumed.tags


@pytest.mark.parametrize("keep", ["best", "last", "none"])
def test_a_finished_run_keeps_what_was_asked_for_and_no_states(root, text, keep) -> None:
    store, kept = run(tiny_config(root, text, f"trainer.keep={keep}", "adapter=lora", "adapter.rank=2"))
    files = {path.name for path in store.folder(kept.run_id).iterdir()}
    assert files <= {"lock", "holder.txt", names.TOKENIZER_FILE}, files
    weights = {names.WEIGHTS_FILE, names.ADAPTER_FILE}
    assert weights & {*store.artifacts(kept.run_id)} == (set() if keep == "none" else weights)
    with pytest.raises(RunFinished):  # what is kept makes no other run
        run(tiny_config(root, text, "adapter=lora", "adapter.rank=2"))
    if keep == "none":
        for use in (load_from, weights_of):
            with pytest.raises(ConfigError, match=r"trained with trainer\.keep=none, which keeps no weights; delete"):
                use(store, kept.run_id)
    else:
        assert load_from(store, kept.run_id).record.run_id == kept.run_id


def test_an_adapter_starts_from_the_weights_of_another_run(root, text) -> None:
    store, base = run(tiny_config(root, text))
    config = tiny_config(root, text, f"init_from={base.run_id}", "adapter=lora", "adapter.rank=2")
    _, tuned = run(config)
    before = load_file(store.artifact_path(base.run_id, "model.safetensors"))
    after = load_file(store.artifact_path(tuned.run_id, "model.safetensors"))
    assert all(torch.equal(after[name], value) for name, value in before.items())
    assert tuned.metrics["params/trainable"] == 3 * 2 * (16 + 16)
    assert tuned.metrics["best/loss"] < base.metrics["best/loss"]
    # The adapter alone lies beside the whole, and fits the run that it started from.
    assert "adapter.safetensors" not in store.artifacts(base.run_id)
    adapters = Adapters(load_run(base.run_id, root=root).model)
    adapters.load("tuned", store.artifact_path(tuned.run_id, "adapter.safetensors"))
    adapters.use("tuned")
    assert any("lora_B" in name for name in after)
    assert all(torch.equal(adapters.model.state_dict()[name], value) for name, value in after.items())


def test_a_run_to_start_from_is_looked_for_before_anything_trains(root, text, monkeypatch) -> None:
    (problem,) = problems_of_run(tiny_config(root / "empty", text, "init_from=nowhere"))
    assert "nothing is recorded" in problem and not (root / "empty").exists()
    config = tiny_config(root, text)
    with monkeypatch.context() as patch:
        patch.setattr("lightning_tx.training.fit.fit", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            run(config)
    (unfinished,) = open_store(config).runs()
    (problem,) = problems_of_run(tiny_config(root, text, "init_from=nowhere"))
    assert problem.startswith("init_from: there is no run 'nowhere'") and unfinished.run_id in problem
    (problem,) = problems_of_run(tiny_config(root, text, f"init_from={unfinished.run_id}"))
    assert problem.startswith(f"init_from: '{unfinished.run_id}': ") and "model.safetensors" in problem


def test_the_run_to_start_from_is_settled_when_the_config_is_read(root, text) -> None:
    _, base = run(tiny_config(root, text))
    config = RunConfig.parse(tiny_config(root, text, "init_from=last", "seed=1"))
    assert config.raw["init_from"] == base.run_id
    whole = RunConfig.parse(tiny_config(root, text, f"init_from={base.run_id}", "seed=1"))
    assert identity(config) == identity(whole) != identity(RunConfig.parse(tiny_config(root, text, "seed=1")))


def test_weights_of_another_shape_are_refused(root, text) -> None:
    _, base = run(tiny_config(root, text))
    with pytest.raises(ConfigError, match="init_from"):
        run(tiny_config(root, text, f"init_from={base.run_id}", "model.d_model=32"))


def test_a_run_that_diverged_is_recorded_as_such(root, text, monkeypatch) -> None:
    original = Checkpoints.on_train_batch_start

    def poisoning(self, trainer, module, *rest) -> None:
        original(self, trainer, module, *rest)
        if trainer.global_step == 8:
            with torch.no_grad():
                nn.init.constant_(module.model.token_embedding.weight, math.nan)

    monkeypatch.setattr(Checkpoints, "on_train_batch_start", poisoning)
    config = tiny_config(root, text)
    with pytest.raises(DivergedError):
        run(config)
    (record,) = open_store(config).runs()
    assert record.status == "FAILED" and "diverged at step 9: " in record.tags["ltx.reason"]
    assert outcome_of(record, "last/loss") == "diverged"


class TestPrecisionOfAStudy:
    """This machine multiplies bfloat16, or not, as each test says."""

    @pytest.fixture
    def native(self, monkeypatch):
        def become(native: bool) -> None:
            monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: native)

        become(True)
        return become

    @pytest.fixture
    def wide(self, root, text):
        return RunConfig.parse(tiny_config(root, text, "model.d_model=128"))

    @pytest.fixture
    def narrow(self, root, text):
        return RunConfig.parse(tiny_config(root, text))

    def test_it_is_what_every_run_would_choose(self, native, wide, narrow) -> None:
        store = open_store(wide.raw)
        assert settle_precision(Study.open(store, "wide"), [wide, wide]) == (
            "bf16-mixed",
            "for all runs of study 'wide', this CPU multiplies bfloat16",
        )
        precision, reason = settle_precision(Study.open(store, "mixed"), [wide, narrow])
        assert precision == 32 and "'mixed'" in reason and "d_model 16" in reason

    def test_the_first_sweep_decides(self, native, wide, narrow) -> None:
        store = open_store(wide.raw)
        study = Study.open(store, "s")
        settle_precision(study, [narrow])
        assert settle_precision(study, [wide])[0] == 32
        assert store.run(study.run_id).tags[names.PRECISION] == "32"

    def test_runs_that_say_their_precision_decide_nothing(self, native, root, text, wide) -> None:
        study = Study.open(open_store(wide.raw), "s")
        told = RunConfig.parse(tiny_config(root, text, "trainer.precision=32"))
        assert settle_precision(study, [told]) is None
        assert settle_precision(study, [told, wide])[0] == "bf16-mixed"

    def test_a_machine_without_bfloat16_does_as_the_study_and_says_so(self, native, wide) -> None:
        study = Study.open(open_store(wide.raw), "s")
        settle_precision(study, [wide])
        native(False)
        precision, reason = settle_precision(study, [wide])
        assert precision == "bf16-mixed" and "multiplies no bfloat16" in reason

    @pytest.mark.parametrize("kept", ["32", "bf16-mixed"])
    def test_a_run_takes_that_of_its_study(self, native, wide, narrow, kept) -> None:
        config = wide if kept == "32" else narrow
        store = open_store(config.raw)
        study = Study.open(store, "s")
        study.keep_precision(kept)
        said: list[str] = []
        train_it = {"name": "tiny", "labels": {}, "store": store}
        record = train(config, **train_it, study=study, say=said.append)
        assert record.facts["precision"] == kept and f"precision {kept}: for all runs of study 's'" in said[0]
        alone = train(config, **train_it)
        assert alone.facts["precision"] != kept and names.PRECISION not in alone.tags


class TestMargin:
    def test_a_run_without_a_study_has_none(self, root, text) -> None:
        config = tiny_config(root, text, "margin=0.01")
        with pytest.raises(ConfigError, match=r"margin: 0\.01 .*study=NAME"):
            run(config)
        assert open_store(config).runs() == []

    def test_it_is_stated_before_the_first_run_ends(self, root, text) -> None:
        config = tiny_config(root, text, "margin=1%")
        study = Study.open(open_store(config), "s")
        run(config, study)
        assert study.margin is not None and study.margin.text == "1%"
        with pytest.raises(RunFinished):
            run(config, study)
        with pytest.raises(ConfigError, match="before results are known"):
            run(tiny_config(root, text, "margin=2%", "seed=3"), study)
        assert len(study.runs()) == 1
