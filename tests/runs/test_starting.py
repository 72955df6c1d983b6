"""``init_from`` of a run that was trained with an adapter: merged, continued, or refused."""

import shutil
from collections.abc import Callable
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from peft import LoraConfig, inject_adapter_in_model
from safetensors.torch import load_file
from torch import Tensor

from lightning_tx.cli import main
from lightning_tx.data.batch import IGNORE
from lightning_tx.runs.assembly import assemble
from lightning_tx.runs.config import RunConfig
from lightning_tx.runs.fitting import problems_with
from lightning_tx.runs.identity import identify
from lightning_tx.runs.loading import load_run
from lightning_tx.runs.materials import materials_of
from lightning_tx.runs.notes import notes_on
from lightning_tx.runs.store import open_store
from lightning_tx.runs.train import train
from lightning_tx.tracking.records import RunRecord
from lightning_tx.tracking.store import Store
from tests.tiny import problems_of_run, tiny_config, tiny_overrides

Train = Callable[..., RunRecord]

TARGETS = ["q_proj", "v_proj", "down_proj"]
LORA = ("adapter=lora", "adapter.rank=2", f"adapter.targets=[{','.join(TARGETS)}]")
#: Enough to move every weight that is trained, and too little to move any.
MOVING, STILL = ("optimizer.lr=0.02", "seed=3"), ("optimizer.lr=1e-12", "seed=3")
TOKENS = torch.arange(5, 21).view(2, 8)


def run(root: Path, text: Path, *words: str) -> RunRecord:
    config = RunConfig.parse(tiny_config(root, text, *words))
    assert problems_with(config, materials_of(config)) == []
    return train(config, name="tiny", labels={}, store=open_store(config.raw))


@pytest.fixture
def trained(root: Path, text: Path) -> Train:
    """Trains a tiny run."""
    return partial(run, root, text)


@pytest.fixture(scope="module")
def bases(template: Path, text: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """A store with a run for each of three adapters, and their ids."""
    root = tmp_path_factory.mktemp("bases")
    shutil.copyfile(template, root / "mlflow.db")
    chosen = {"none": (), "lora": LORA, "bottleneck": ("adapter=bottleneck",)}
    return root, {name: run(root, text, *words, "trainer.max_steps=1").run_id for name, words in chosen.items()}


def start(run: RunRecord, word: str) -> str:
    return f"init_from={{run: {run.run_id}, adapter: {word}}}"


def weights(run: RunRecord, root: Path) -> dict[str, Tensor]:
    return load_file(Store.get(root).artifact_path(run.run_id, "model.safetensors"))


def logits(run: RunRecord, root: Path) -> Tensor:
    model: Any = load_run(run.run_id, root=root).model
    with torch.no_grad():
        return model.head.logits(model(TOKENS).x)


def assert_close(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


MERGEABLE = ["rslora", "dora", "pissa", "last_layer"]


@pytest.mark.parametrize("words", [LORA, *((f"adapter={name}",) for name in MERGEABLE)])
def test_a_merged_adapter_computes_the_same(root: Path, text: Path, trained: Train, words: tuple[str, ...]) -> None:
    base = trained(*words, *MOVING)
    config = RunConfig.parse(tiny_config(root, text, f"init_from={base.run_id}", *STILL))
    (note,) = notes_on(config, materials_of(config))
    assert note.startswith(f"init_from: the adapter '{words[0][8:]}' of run {base.run_id} is merged into its weights, ")
    merged = trained(f"init_from={base.run_id}", *STILL)
    assert_close(logits(merged, root), logits(base, root))
    assert not any("lora_" in name for name in weights(merged, root))
    assert merged.metrics["params/trainable"] == merged.metrics["params/total"]


@pytest.mark.parametrize(
    "words", [("adapter=lora", "adapter.rank=3"), ("adapter=bottleneck", "adapter.norms=false"), ("adapter=pissa",)]
)
def test_a_new_adapter_starts_on_the_merged_base_and_leaves_it(
    root: Path, trained: Train, words: tuple[str, ...]
) -> None:
    base = trained(*LORA, *MOVING)
    assert_close(logits(trained(start(base, "merge"), *words, *STILL), root), logits(base, root))
    before, after = weights(base, root), weights(trained(start(base, "merge"), *words, *MOVING), root)
    plain = [name for name in before if "lora_" not in name]
    for name in plain:
        expected, layer = before[name], name.removesuffix(".weight")
        if f"{layer}.lora_A" in before:
            # alpha is 16 and the rank 2.
            expected = expected + 8.0 * before[f"{layer}.lora_B"] @ before[f"{layer}.lora_A"]
            assert not torch.allclose(expected, before[name], atol=1e-3)
        torch.testing.assert_close(after[name], expected, rtol=0, atol=1e-6)
    assert any(name.endswith(("lora_B", "adapter_up.weight")) and bool(after[name].any()) for name in after)


def test_a_new_adapter_starts_from_the_weights_of_the_other_run(root: Path, trained: Train) -> None:
    base = trained(*MOVING)
    before = weights(base, root)
    words = ("adapter=pissa", "adapter.rank=2", "adapter.alpha=2", f"init_from={base.run_id}")
    after = weights(trained(*words, *MOVING), root)
    starts = [name.removesuffix(".start_A") for name in after if name.endswith(".start_A")]
    assert starts
    for name in starts:
        u, s, v = torch.linalg.svd(before[f"{name}.weight"], full_matrices=False)
        assert_close(after[f"{name}.start_B"] @ after[f"{name}.start_A"], u[:, :2] @ s[:2].diag() @ v[:2])
        assert not torch.allclose(after[f"{name}.lora_A"], after[f"{name}.start_A"], atol=1e-4)


def test_a_continued_adapter_learns_what_peft_does(root: Path, text: Path, trained: Train) -> None:
    words = ["optimizer.lr=0.001", "optimizer.weight_decay=0", "schedule=constant", "trainer.gradient_clip=null"]
    steps = ["trainer.max_steps=5", "trainer.val_every=5", "~schedule.warmup_steps"]
    bare = trained(*MOVING)
    first = trained(f"init_from={bare.run_id}", *LORA, *MOVING)
    line = [start(first, "continue"), *LORA, *words, *steps, "seed=5"]
    second = trained(*line)

    config = RunConfig.parse(tiny_config(root, text, *line))
    loader, learnt = assemble(config, materials_of(config)).train, weights(first, root)
    loader.set_epoch(0)
    reference: Any = load_run(bare.run_id, root=root).model
    reference = inject_adapter_in_model(LoraConfig(r=2, lora_alpha=16, target_modules=TARGETS), reference)
    own = {
        name.replace(".default.weight", ""): parameter
        for name, parameter in reference.named_parameters()
        if parameter.requires_grad
    }
    with torch.no_grad():
        for name, parameter in own.items():
            parameter.copy_(learnt[name])
    optimizer = torch.optim.AdamW(own.values(), lr=0.001, betas=(0.9, 0.98), eps=1e-9, weight_decay=0)
    for batch in islice(loader, 5):
        scores = reference.head.logits(reference(batch.tokens_BT, documents_BT=batch.documents_BT).x)
        optimizer.zero_grad()
        F.cross_entropy(scores.flatten(0, 1), batch.targets_BT.flatten().long(), ignore_index=IGNORE).backward()
        optimizer.step()
    found = weights(second, root)
    assert own and {name for name in found if "lora_" in name} == set(own)
    for name, parameter in own.items():
        assert_close(found[name], parameter.detach())
        assert not torch.allclose(found[name], learnt[name], atol=1e-3)


@pytest.mark.parametrize(
    "words", [LORA, *((f"adapter={name}",) for name in ("dora", "pissa", "bottleneck", "prefix", "last_layer"))]
)
def test_a_continued_adapter_goes_on_from_where_it_was(root: Path, trained: Train, words: tuple[str, ...]) -> None:
    first = trained(*words, *MOVING)
    assert_close(logits(trained(start(first, "continue"), *words, *STILL), root), logits(first, root))
    second = trained(start(first, "continue"), *words, *MOVING)
    before, after = weights(first, root), weights(second, root)
    own = set(load_file(Store.get(root).artifact_path(second.run_id, "adapter.safetensors")))
    assert own and all(torch.equal(after[name], before[name]) for name in before.keys() - own)
    assert not all(torch.equal(after[name], before[name]) for name in own)
    assert all(torch.equal(after[name], before[name]) for name in own if ".start_" in name)
    assert second.metrics["params/trainable"] == first.metrics["params/trainable"]


def test_chains(root: Path, trained: Train) -> None:
    first = trained(*LORA, *MOVING)
    second = trained(start(first, "merge"), "adapter=dora", *MOVING)
    third = trained(start(second, "continue"), "adapter=dora", *MOVING)
    assert not torch.allclose(logits(third, root), logits(second, root), atol=1e-3)
    fourth = trained(f"init_from={third.run_id}", *STILL)
    assert_close(logits(fourth, root), logits(third, root))
    assert_close(logits(trained(f"init_from={fourth.run_id}", *LORA, *STILL), root), logits(third, root))


def test_what_becomes_of_the_adapter_is_part_of_the_identity_and_recorded(
    root: Path, text: Path, trained: Train, capsys: pytest.CaptureFixture[str]
) -> None:
    base = trained(*LORA)

    def config(*words: str) -> RunConfig:
        return RunConfig.parse(tiny_config(root, text, *words))

    merge, going_on = (config(start(base, word), *LORA, "seed=1") for word in ("merge", "continue"))
    assert identify(merge) != identify(going_on)
    assert merge.raw["init_from"] == {"run": base.run_id, "adapter": "merge"}
    assert identify(config("init_from=last")) == identify(config("init_from={run: last, adapter: merge}"))
    runs = [trained(start(base, word), *LORA, *STILL) for word in ("merge", "continue")]
    capsys.readouterr()
    assert main(["diff", *[run.run_id for run in runs], "--root", str(root)]) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "init_from" in line]
    assert "init_from.adapter" in line and "merge" in line and "continue" in line


ASKS = (
    "init_from: run '{id}' was trained with adapter=lora. Say what becomes of that: "
    "init_from={{run: {id}, adapter: merge}} folds it into the weights, on which adapter={own} starts afresh; "
    "init_from={{run: {id}, adapter: continue}} trains it further."
)
ANOTHER = "init_from: the adapter of run '{id}' is to be continued, but this run has another: "
UNMERGEABLE = (
    "init_from: run '{id}' was trained with adapter=bottleneck, and bottleneck cannot be merged into the base: a "
    "nonlinearity stands between its two maps. It can be trained further: init_from={{run: {id}, adapter: continue}} "
    "with adapter=bottleneck and its options."
)


@pytest.mark.parametrize(
    ("base", "words", "expected"),
    [
        ("lora", ["init_from={id}", *LORA], ASKS.replace("{own}", "lora")),
        ("lora", ["init_from={id}", "adapter=prefix"], ASKS.replace("{own}", "prefix")),
        (
            "lora",
            ["init_from={{run: {id}, adapter: continue}}", *LORA, "adapter.rank=4", "adapter.dropout=0.1"],
            f"{ANOTHER}adapter.rank is 2 there and 4 here, adapter.dropout is 0.0 there and 0.1 here.",
        ),
        (
            "lora",
            ["init_from={{run: {id}, adapter: continue}}", "adapter=dora"],
            f"{ANOTHER}adapter.name is 'lora' there and 'dora' here.",
        ),
        (
            "lora",
            ["init_from={{run: {id}, adapter: continue}}"],
            f"{ANOTHER}adapter.name is 'lora' there and 'none' here.",
        ),
        ("bottleneck", ["init_from={id}"], UNMERGEABLE),
        ("bottleneck", ["init_from={{run: {id}, adapter: merge}}", *LORA], UNMERGEABLE),
        (
            "none",
            ["init_from={{run: {id}, adapter: merge}}", *LORA],
            "init_from.adapter: 'merge', but run '{id}' was trained without an adapter; say init_from={id}.",
        ),
        (
            "none",
            ["init_from={{run: {id}, adapter: fold}}"],
            "init_from.adapter: 'fold' should be 'merge' or 'continue'.",
        ),
        (
            "none",
            ["init_from={{run: {id}, adaptor: merge}}"],
            "init_from.adaptor: unknown key. Did you mean 'adapter'? Keys of init_from: adapter, run.",
        ),
        ("none", ["init_from={{adapter: merge}}"], "init_from.run: missing; it has no default."),
        (
            "none",
            ["init_from=[last]"],
            "init_from: ['last'] should be the name of a run, or a mapping of run and adapter.",
        ),
    ],
)
def test_what_cannot_be_is_refused(
    bases: tuple[Path, dict[str, str]], text: Path, base: str, words: list[str], expected: str
) -> None:
    root, ids = bases
    config = tiny_config(root, text, *[word.format(id=ids[base]) for word in words])
    assert problems_of_run(config) == [expected.format(id=ids[base])]


def test_a_config_may_leave_its_adapter_out(bases: tuple[Path, dict[str, str]], text: Path) -> None:
    root, ids = bases
    raw = {**tiny_config(root, text), "init_from": ids["lora"]}
    del raw["adapter"]
    assert RunConfig.parse(raw).raw["init_from"] == {"run": ids["lora"], "adapter": "merge"}


def test_merged_weights_of_another_shape_are_refused_before_anything_trains(
    bases: tuple[Path, dict[str, str]], text: Path
) -> None:
    root, ids = bases
    config = RunConfig.parse(tiny_config(root, text, f"init_from={ids['lora']}", "model.d_model=32"))
    (problem,) = problems_with(config, materials_of(config))
    where = f"init_from: '{ids['lora']}': run {ids['lora']}, its adapter merged, "
    assert problem.startswith(f"{where}holds the weights of another model: they differ in ")


def test_on_the_command_line(root: Path, text: Path, trained: Train, capsys: pytest.CaptureFixture[str]) -> None:
    base = trained(*LORA, *MOVING)
    line = ["train", *tiny_overrides(root, text, *LORA, *STILL), "-m", "study=next"]
    ways = ",".join(f"{{run: {base.run_id[:8]}, adapter: {word}}}" for word in ("merge", "continue"))
    assert main([*line, f"init_from={ways}"]) == 0
    output = capsys.readouterr().out
    assert f"note: init_from: the adapter 'lora' of run {base.run_id} is merged" in output.replace("\n", " ")
    runs = Store.get(root).runs("next")
    assert [run.params["init_from.adapter"] for run in runs] == ["merge", "continue"]
    assert len({run.identity for run in runs}) == 2
    assert all(run.params["init_from.run"] == base.run_id for run in runs)
    for run in runs:
        assert_close(logits(run, root), logits(base, root))
