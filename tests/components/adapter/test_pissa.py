import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, inject_adapter_in_model
from torch import Tensor, nn

from lightning_tx.components.adapter.pissa import Pissa, PissaGrouped, PissaLinear
from lightning_tx.core.errors import ConfigError
from lightning_tx.kernels.grouped_linear import GroupedLinear
from lightning_tx.model.adapters import Adapters
from lightning_tx.testing.values import randomise
from tests.components.adapter.models import TARGETS, logits
from tests.model.configs import small_model

R, SCALE = 3, 5.0 / 3


def started(model: nn.Module, **options: Any) -> nn.Module:
    adapter = Pissa(rank=R, alpha=5.0, targets=TARGETS, **options)
    adapter.apply(model)
    adapter.start_from_base(model)
    return model


def largest(weight: Tensor, rank: int) -> Tensor:
    """The best approximation of a matrix at a rank."""
    u, s, v = torch.linalg.svd(weight, full_matrices=False)
    return u[:, :rank] @ s[:rank].diag() @ v[:rank]


def test_it_starts_as_pefts_does_and_learns_as_that() -> None:
    ours = started(small_model())
    options = LoraConfig(r=R, lora_alpha=5, target_modules=TARGETS, init_lora_weights="pissa")
    theirs: Any = inject_adapter_in_model(options, small_model().float()).double()  # peft refuses float64
    theirs.load_state_dict(small_model().state_dict(), strict=False)
    for name, module in ours.named_modules():
        if isinstance(module, PissaLinear):
            peft = theirs.get_submodule(name)
            A, B = peft.lora_A["default"].weight, peft.lora_B["default"].weight
            # peft decomposes in float32; singular vectors are unique up to their sign.
            torch.testing.assert_close(module.lora_B @ module.lora_A, (B @ A).to(module.weight), rtol=0, atol=1e-5)
            signs = (module.lora_A * A).sum(dim=1).sign()
            torch.testing.assert_close(module.lora_A * signs[:, None], A.to(module.weight), rtol=0, atol=1e-4)
            torch.testing.assert_close(SCALE * module.lora_B @ module.lora_A, largest(module.weight, R))
            with torch.no_grad():  # and from the very same point
                peft.base_layer.weight.copy_(module.weight - SCALE * module.start_B @ module.start_A)
                A.data, B.data = module.lora_A.data.clone(), module.lora_B.data.clone()
    torch.testing.assert_close(logits(ours), logits(small_model()), rtol=0, atol=1e-12)
    for _ in range(2):
        for model in (ours, theirs):
            logits(model).square().mean().backward()
            with torch.no_grad():
                for parameter in model.parameters():
                    if parameter.grad is not None:
                        parameter.sub_(parameter.grad, alpha=0.05)
                        parameter.grad = None
    assert not torch.allclose(logits(ours), logits(small_model()), atol=1e-3)
    torch.testing.assert_close(logits(ours), logits(theirs), rtol=0, atol=1e-10)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_its_update_is_exactly_zero_at_first(dtype: torch.dtype) -> None:
    linear, x = nn.Linear(5, 7, dtype=dtype), torch.randn(3, 5, generator=torch.Generator().manual_seed(0)).to(dtype)
    layer = PissaLinear.of(linear, 2, 1.5, 0.0)
    layer.start_from_base()
    assert bool(layer.lora_A.any()) and torch.equal(layer(x), linear(x))


@pytest.mark.parametrize("bias", [False, True])
def test_experts_are_linear_layers_side_by_side(bias: bool) -> None:
    experts = GroupedLinear(3, 5, 7, bias=bias).double()
    randomise(experts)
    grouped = PissaGrouped.of(experts, 2, 1.5, 0.0)
    grouped.start_from_base()
    x, counts = (
        torch.randn(6, 5, generator=torch.Generator().manual_seed(4), dtype=torch.float64),
        torch.tensor([2, 0, 4]),
    )
    assert torch.equal(grouped(x, counts), experts(x, counts))
    for expert in range(3):
        found = 1.5 * grouped.lora_B.weight[expert] @ grouped.lora_A.weight[expert]
        torch.testing.assert_close(found, largest(experts.weight[expert], 2), rtol=0, atol=1e-12)
    randomise(grouped.lora_A, seed=2), randomise(grouped.lora_B, seed=3)
    change = 1.5 * (grouped.lora_B.weight @ grouped.lora_A.weight - grouped.start_B @ grouped.start_A)
    expected = copy.deepcopy(experts)
    expected.weight.data += change
    torch.testing.assert_close(grouped(x, counts), expected(x, counts), rtol=0, atol=1e-12)
    torch.testing.assert_close(grouped.merged()(x, counts), expected(x, counts), rtol=0, atol=1e-12)


def test_it_starts_from_what_the_base_holds_now_and_goes_with_its_own_start(tmp_path: Path) -> None:
    adapters = Adapters(small_model())
    adapters.add("one", {"name": "pissa", "rank": R})
    adapters.use("one")
    before = logits(adapters.model)
    torch.testing.assert_close(before, logits(small_model()), rtol=0, atol=1e-12)
    randomise_trained(adapters.model)
    moved = logits(adapters.model)
    adapters.save("one", tmp_path / "one.safetensors")
    # Read on a base whose decomposition another library would give other signs.
    others = Adapters(small_model())
    others.load("read", tmp_path / "one.safetensors")
    others.use("read")
    torch.testing.assert_close(logits(others.model), moved, rtol=0, atol=0)
    assert not torch.allclose(moved, before)
    others.use(None)
    others.model.to(torch.float32)
    others.use("read")
    assert {value.dtype for value in others.state_dict("read").values()} == {torch.float32}


def test_a_rank_beyond_the_matrix_is_refused() -> None:
    with pytest.raises(
        ConfigError, match=r"adapter.rank: 17 is more than the 16 singular values of a matrix of 16 × 16"
    ):
        Pissa(rank=17, targets=["q_proj"]).apply(small_model())


def randomise_trained(model: nn.Module) -> None:
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter += 0.3 * torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
