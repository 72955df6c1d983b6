"""A topology of another's, in a file: it is built, trained, decoded and refused as ours are."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from lightning_tx.cli import main
from lightning_tx.cli.compose import compose
from lightning_tx.core.errors import ConfigError
from lightning_tx.decoding.generate import generate
from lightning_tx.model.build import build_model
from lightning_tx.runs.config import RunConfig
from lightning_tx.runs.identity import identity
from lightning_tx.runs.loading import load_run
from lightning_tx.runs.store import get_store
from lightning_tx.runs.train import train
from lightning_tx.testing.suite import check_choice, failures
from lightning_tx.testing.values import randomise
from tests.decoding.models import BOS, EOS, INPUTS, SPECIAL, searched, strategy
from tests.model.configs import PARTS, small_model, tokens

RUN = [
    *["task=translation", "task.select_by=loss", "data=number_words", "data.size=400", "data.largest=9999"],
    *["tokenizer=character", "model=gru", "model.d_model=64", "model.max_seq_len=96", "task.validation_sentences=20"],
    *["trainer.max_steps=120", "trainer.val_every=60", "trainer.batch_size=32", "trainer.accelerator=cpu"],
    *["optimizer.lr=1e-2", "schedule.warmup_steps=10", "trainer.precision=32"],
]


def gru() -> Any:
    """A model in float64, every parameter random, in evaluation mode."""
    parts = {group: {"name": name} for group, name in PARTS.items()}
    model = build_model({"model": {"name": "gru", "d_model": 16}, **parts}, vocab_size=50, source_vocab_size=40)
    return randomise(model.double()).eval()


def torch_gru(own: Any) -> nn.GRU:
    """PyTorch's layer with the weights of one of ours."""
    theirs = nn.GRU(16, 16, batch_first=True).double()
    with torch.no_grad():
        for name, layer in (("ih", own.in_proj), ("hh", own.state_proj)):
            getattr(theirs, f"weight_{name}_l0").copy_(layer.weight)
            getattr(theirs, f"bias_{name}_l0").copy_(layer.bias)
    return theirs


@torch.no_grad()
def states_of_torch(model: Any, source: Tensor, source_lengths: list[int], target: Tensor) -> Tensor:
    embedded = pack_padded_sequence(model.source_embedding(source), torch.tensor(source_lengths), True, False)
    encoded = torch_gru(model.encoder)(embedded)
    assert pad_packed_sequence(encoded[0], True)[0].shape[1] == max(source_lengths)
    return torch_gru(model.decoder)(model.token_embedding(target), encoded[1])[0]


def test_its_states_are_those_of_torch() -> None:
    model, lengths = gru(), [7, 4, 1]
    source, target = tokens(3, 7, vocab_size=40), tokens(3, 5, seed=1)
    mask = torch.arange(7)[None] < torch.tensor(lengths)[:, None]
    expected = states_of_torch(model, source, lengths, target)
    with torch.no_grad():
        found = model(source, target, source_token_mask_BS=mask, padding_last=True).x
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("beams", [1, 4])
def test_it_generates_through_the_cache_what_it_does_without(beams: int) -> None:
    model = gru()
    sources = [[token % 40 for token in row] for row in INPUTS]
    decoding = strategy("greedy") if beams == 1 else strategy("beam", num_beams=beams)
    found = generate(model, sources, decoding, **SPECIAL, max_new_tokens=6, batch_size=3)
    for source, sequence, score, finished in zip(sources, found.sequences, found.scores, found.finished, strict=True):
        expected, expected_score = searched(model, source, 6, beams, penalty=float(beams > 1))
        assert sequence + [EOS] * finished == expected
        assert score == pytest.approx(expected_score, abs=1e-9)
    assert found.cache_bytes == 16 * 8 * 3 * beams  # a state a beam, whatever its length


def test_it_conforms() -> None:
    results = check_choice("model", "gru", {"name": "gru"})
    assert failures(results) == []
    passed = {result.property for result in results if result.status == "passed"}
    assert {"cached_rows_can_be_chosen", "padding_on_the_left", "sees_the_source", "gradients"} <= passed
    skipped = {result.property: result.reason for result in results if result.status == "skipped"}
    assert skipped["sees_what_the_pattern_allows"] == "the model has no stacks of layers"


def test_the_command_checks_it(plugins: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "model/gru", plugins]) == 0
    assert capsys.readouterr().out.startswith("model/gru ")


def test_it_learns_to_translate_and_is_rebuilt(root: Path, plugins: str) -> None:
    config = compose([*RUN, plugins, f"root={root}"])
    store = get_store(config)
    record = train(RunConfig.parse(config), name="gru", labels={"model": "gru", "attention": "gqa"}, store=store)
    # A character of 30 or so costs log 30 = 3.4 nats by chance.
    assert record.metrics["last/loss"] < 1.5
    assert record.choices == {"model": "gru"}
    files = plugins.removeprefix("plugins=[").removesuffix("]").split(",")
    loaded = load_run(record.run_id, root=root, plugins=files)
    assert loaded.model.head.name == "lm_head"
    reader, writer = loaded.tokenizers.source, loaded.tokenizers.target
    special = {"bos_id": writer.bos_id, "eos_id": writer.eos_id, "pad_id": writer.pad_id}
    source = [[*reader.encode("seven"), reader.eos_id]]
    for name in ("greedy", "beam"):
        assert generate(loaded.model, source, strategy(name), **special, max_new_tokens=20).sequences[0]


def test_parts_that_it_does_not_read_leave_its_identity(root: Path, plugins: str) -> None:
    plain, other = (
        RunConfig.parse(compose([*RUN, plugins, f"root={root}", *words]))
        for words in ([], ["attention=gqa", "norm=none", "positions=rope"])
    )
    assert identity(plain) == identity(other)
    assert not any(other.reads(group) for group in PARTS) and other.reads("model.d_model")
    assert identity(plain) != identity(RunConfig.parse(compose([*RUN, plugins, f"root={root}", "model.d_model=32"])))


def test_a_part_that_it_does_not_read_cannot_be_varied(
    root: Path, plugins: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "-m", *RUN, plugins, f"root={root}", "attention=gqa,mha", "study=none_reads"]) == 2
    assert "attention: it is varied, but no run reads it; nothing in model=gru does." in capsys.readouterr().err


@pytest.mark.parametrize("adapter", ["last_layer", "prefix", "bottleneck"])
def test_adapters_of_layers_are_refused(root: Path, plugins: str, adapter: str) -> None:
    with pytest.raises(ConfigError) as raised:
        RunConfig.parse(compose([*RUN, plugins, f"root={root}", f"adapter={adapter}"]))
    (problem,) = raised.value.problems
    assert problem.startswith("adapter.name: it changes layers of a stack, and this model has none")
    assert f"adapter={adapter}" in problem and "model=gru" in problem


def test_its_head_alone_can_be_trained(root: Path, plugins: str) -> None:
    adapter = ["adapter=last_layer", "adapter.num_layers=0", "adapter.final_norm=false", "adapter.head=true"]
    config = RunConfig.parse(compose([*RUN, plugins, f"root={root}", *adapter]))
    model = build_model(config.model, vocab_size=30)
    assert [name for name, parameter in model.named_parameters() if parameter.requires_grad] == ["lm_head.weight"]


def test_it_counts_among_those_that_generate() -> None:
    with pytest.raises(
        ConfigError, match=r"'encoder' does not generate text\. Choices: decoder, encoder_decoder, gru\."
    ):
        generate(small_model("encoder"), [[BOS]], strategy("greedy"), **SPECIAL, max_new_tokens=1)
