"""Models run by several processes, each on its part of the sequences, give what one process gives."""

from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn

from lightning_tx.components.adapter.base import ADAPTER
from lightning_tx.core.context import Memory
from lightning_tx.core.errors import ConfigError
from lightning_tx.kernels.cache import Cache
from lightning_tx.model.sharding import shard, shared_inputs, unshard
from tests import ring as processes
from tests.model.configs import small_model, tokens

T = 24
EXACT = {"rtol": 0, "atol": 1e-10}
INDEX = torch.arange(T)[None]
REAL = (torch.tensor([[0], [9]]) <= INDEX) & (torch.tensor([[17], [T]]) > INDEX)
ROWS: dict[str, dict[str, Tensor]] = {
    "plain": {},
    "documents": {"documents_BT": INDEX // torch.tensor([[10], [7]])},
    "padding": {"token_mask_BT": REAL},
}
GROUPED = {"name": "multi_head", "num_kv_heads": 2}
LOCAL = {"name": "local", "window": 5}
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "rope": ("decoder", {}),
    "grouped heads, alibi, local": ("decoder", {"positions": "alibi", "attention": GROUPED, "pattern": LOCAL}),
    "latent": ("decoder", {"attention": "latent", "norm": "rmsnorm"}),
    "encoder": ("encoder", {"attention": GROUPED}),
    "local encoder, alibi": ("encoder", {"positions": "alibi", "pattern": LOCAL}),
}
CASES = [(name, rows) for name in MODELS for rows in ROWS]


def loss_of(states: Tensor, real: Tensor | None) -> Tensor:
    """A sum over the real tokens that no entry cancels out in."""
    per_token = (states * torch.linspace(0.5, 1.5, states.shape[-1], dtype=states.dtype)).square().sum(dim=-1)
    return (per_token if real is None else per_token * real).sum()


def gradients(model: nn.Module) -> dict[str, Tensor]:
    return {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}


def run(group: dist.ProcessGroup, name: str, rows: str) -> dict[str, Any]:
    topology, parts = MODELS[name]
    model = small_model(topology, **parts)
    inputs = shared_inputs(tokens(2, T), group, **ROWS[rows])
    states = model(**inputs, group=group).x
    loss_of(states, inputs["token_mask_BT"]).backward()
    for gradient in gradients(model).values():
        dist.all_reduce(gradient, group=group)
    return {"states": unshard(states, group), "gradients": gradients(model)}


def refusals(group: dist.ProcessGroup) -> dict[str, str]:
    inputs, memory = shared_inputs(tokens(2, T), group), Memory(torch.zeros(2, 3, 16, dtype=torch.float64))
    model, both = small_model(), small_model("encoder_decoder")
    states = model.embed(inputs["tokens_BT"])
    tries = {
        "length": lambda: shared_inputs(tokens(2, T + 1), group),
        "positions": lambda: model(inputs["tokens_BT"], group=group),
        "cache": lambda: model(**inputs, cache=Cache(), group=group),
        "memory": lambda: both.decoder(states, positions_BT=inputs["positions_BT"], memory=memory, group=group),
        "learned": lambda: small_model(positions="learned")(**inputs, group=group),
        "t5": lambda: small_model(positions="t5_relative")(**inputs, group=group),
        "dropout": lambda: small_model(attention={"dropout": 0.1}).train()(**inputs, group=group),
        "prefix": lambda: ADAPTER.create({"name": "prefix"}).apply(model)(**inputs, group=group),
    }
    said = {}
    for name, attempt in tries.items():
        with pytest.raises(ConfigError) as error:
            attempt()
        said[name] = str(error.value)
    return said


def work(group: dist.ProcessGroup) -> dict[str, Any]:
    found: dict[str, Any] = {f"{name}, {rows}": run(group, name, rows) for name, rows in CASES}
    with torch.no_grad():
        states = small_model(positions="t5_relative")(**shared_inputs(tokens(2, T), group), group=group).x
    real = shard(REAL, group)
    return found | {"t5": unshard(states, group), "real": unshard(real, group), "refusals": refusals(group)}


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[int, list[dict[str, Any]]]:
    return processes.run(work, tmp_path_factory.mktemp("sharding"))


@pytest.mark.parametrize("size", processes.SIZES)
@pytest.mark.parametrize(("name", "rows"), CASES)
def test_states_and_gradients_are_those_of_one_process(found: Any, name: str, rows: str, size: int) -> None:
    topology, parts = MODELS[name]
    model, real = small_model(topology, **parts), ROWS[rows].get("token_mask_BT")
    states = model(tokens(2, T), **ROWS[rows]).x
    loss_of(states, real).backward()
    chosen = slice(None) if real is None else real
    for process in found[size]:
        ours = process[f"{name}, {rows}"]
        torch.testing.assert_close(ours["states"][chosen], states[chosen], **EXACT)
        assert ours["gradients"].keys() == gradients(model).keys()
        for key, gradient in gradients(model).items():
            torch.testing.assert_close(ours["gradients"][key], gradient, rtol=1e-12, atol=1e-10, msg=key)


@pytest.mark.parametrize("size", processes.SIZES)
def test_a_bias_that_learns_is_there_outside_of_training(found: Any, size: int) -> None:
    for process in found[size]:
        expected = small_model(positions="t5_relative")(tokens(2, T)).x
        torch.testing.assert_close(process["t5"], expected, **EXACT)
        assert torch.equal(process["real"], REAL)


@pytest.mark.parametrize("size", processes.SIZES)
def test_what_does_not_go_together_is_refused(found: Any, size: int) -> None:
    beginnings = {
        "length": f"group: a sequence of {T + 1} tokens does not divide into {2 * size} pieces",
        "positions": "positions_BT: None, but",
        "cache": "cache: does not go with a group",
        "memory": "memory: does not go with a group",
        "learned": f"positions: this choice knows 16 positions (model.max_seq_len), but the tokens of the group go up "
        f"to position {T - 1}.",
        "t5": "positions.name: a bias that learns does not go with",
        "dropout": "attention.dropout: 0.1 does not go with",
        "prefix": "adapter.name: prefix does not go with",
    }
    for process in found[size]:
        for name, beginning in beginnings.items():
            assert process["refusals"][name].startswith(beginning)
