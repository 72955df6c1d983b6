import copy
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn

from lightning_tx.components.adapter.lora import Lora
from lightning_tx.components.adapter.low_rank import LowRankLinear
from lightning_tx.components.adapter.none import NoAdapter
from lightning_tx.core.errors import ConfigError
from lightning_tx.core.schemes import Normal
from lightning_tx.kernels.dropout import Dropout
from lightning_tx.model.init import initialise
from lightning_tx.testing.values import randomise

RANK, ALPHA = 3, 12.0
TARGETS = ["q_proj", "v_proj"]


class Layer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.q_proj = nn.Linear(8, 12)
        self.v_proj = nn.Linear(8, 12, bias=False)
        self.o_proj = nn.Linear(12, 8)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.o_proj(self.q_proj(x) * self.v_proj(x).tanh())


class Model(nn.Module):
    def __init__(self, tied: bool = False) -> None:
        super().__init__()
        self.embedding = nn.Embedding(20, 8)
        self.layers = nn.ModuleList([Layer(), Layer()])
        self.lm_head = nn.Linear(8, 20, bias=False)
        if tied:
            self.lm_head.weight = self.embedding.weight

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embedding(tokens)
        for layer in self.layers:
            x = layer(x)
        return self.lm_head(x)


TOKENS = torch.arange(20).view(4, 5)


def base() -> Model:
    model = Model().double()
    randomise(model)
    return model


def adapted(model: nn.Module, **options: Any) -> nn.Module:
    options = {"rank": RANK, "alpha": ALPHA, "targets": TARGETS} | options
    model = Lora(**options).apply(model)
    randomise_updates(model)
    return model


def randomise_updates(model: nn.Module) -> None:
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora" in name:
                parameter.normal_(generator=generator)


def with_peft(model: nn.Module, ours: nn.Module) -> nn.Module:
    """The model adapted by peft, with our matrices."""
    config = LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules=TARGETS, lora_dropout=0.0, bias="none")  # type: ignore[arg-type]
    reference = get_peft_model(model, config)
    with torch.no_grad():
        for name, parameter in reference.named_parameters():
            if "lora" in name:
                own = name.removeprefix("base_model.model.").removesuffix(".default.weight")
                parameter.copy_(ours.get_parameter(own))
    return reference


def test_forward_and_gradients_are_those_of_peft() -> None:
    ours = adapted(base())
    theirs = with_peft(base(), ours)
    torch.testing.assert_close(ours(TOKENS), theirs(TOKENS), rtol=0, atol=1e-12)
    for model in (ours, theirs):
        model(TOKENS).square().sum().backward()
    trained = {name: parameter.grad for name, parameter in ours.named_parameters() if parameter.requires_grad}
    expected = {
        name.removeprefix("base_model.model.").removesuffix(".default.weight"): parameter.grad
        for name, parameter in theirs.named_parameters()
        if parameter.requires_grad
    }
    assert trained.keys() == expected.keys()
    for name, gradient in trained.items():
        torch.testing.assert_close(gradient, expected[name], rtol=1e-10, atol=1e-10)
    assert all(parameter.grad is None for parameter in ours.parameters() if not parameter.requires_grad)


def test_merged_is_wrapped_and_that_of_peft() -> None:
    adapter = Lora(rank=RANK, alpha=ALPHA, targets=TARGETS)
    ours = adapted(base())
    theirs = with_peft(base(), ours)
    wrapped = ours(TOKENS)
    merged = adapter.merge(ours)
    torch.testing.assert_close(merged(TOKENS), wrapped, rtol=0, atol=1e-11)
    assert not any(isinstance(module, LowRankLinear) for module in merged.modules())
    expected = theirs.merge_and_unload().state_dict()  # type: ignore[operator]
    assert merged.state_dict().keys() == expected.keys() == base().state_dict().keys()
    for name, value in merged.state_dict().items():
        torch.testing.assert_close(value, expected[name], rtol=0, atol=1e-12)


def test_merging_low_precision_sums_in_float32() -> None:
    model = adapted(base().bfloat16())
    layer = model.get_submodule("layers.0.q_proj")
    exact = layer.weight.double() + ALPHA / RANK * layer.lora_B.double() @ layer.lora_A.double()
    Lora(rank=RANK, alpha=ALPHA, targets=TARGETS).merge(model)
    found = model.get_parameter("layers.0.q_proj.weight")
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.double(), exact, rtol=2**-8, atol=1e-6)


def test_it_starts_as_the_base_and_with_the_paper_s_distribution() -> None:
    torch.manual_seed(0)
    model = base()
    before = model(TOKENS)
    state = copy.deepcopy(model.state_dict())
    Lora(rank=200, targets=TARGETS).apply(model)
    torch.testing.assert_close(model(TOKENS), before, rtol=0, atol=0)
    assert all(torch.equal(model.state_dict()[name], value) for name, value in state.items())
    initialise(model, seed=0, linear_std=None, embedding_std=1.0)
    a, b = model.get_parameter("layers.0.q_proj.lora_A"), model.get_parameter("layers.0.q_proj.lora_B")
    assert not b.any()
    reference = nn.init.kaiming_uniform_(torch.empty(200, 8), a=5**0.5)
    assert a.abs().max().item() == pytest.approx(reference.abs().max().item(), rel=0.02)
    assert a.std().item() == pytest.approx(reference.std().item(), rel=0.05)


def test_the_base_keeps_the_initialisation_it_declared() -> None:
    plain, wrapped = Model(), Model()
    for model in (plain, wrapped):
        model.get_submodule("layers.0.q_proj").initial = {"weight": Normal(0.001)}  # type: ignore[assignment]
    Lora(targets=TARGETS).apply(wrapped)
    for model in (plain, wrapped):
        initialise(model, seed=0, linear_std=None, embedding_std=1.0)
    for name, value in plain.state_dict().items():
        assert torch.equal(wrapped.state_dict()[name], value), name
    assert plain.get_parameter("layers.0.q_proj.weight").std() < 0.002


@pytest.mark.parametrize("rank", [1, 4])
def test_what_is_trained_and_what_is_saved(rank: int) -> None:
    adapter = Lora(rank=rank, targets=TARGETS)
    model = adapter.apply(base())
    trained = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert sum(parameter.numel() for parameter in trained.values()) == 2 * 2 * rank * (8 + 12)
    saved = adapter.state_dict(model)
    assert saved.keys() == trained.keys()
    assert all(torch.equal(saved[name], trained[name]) for name in saved)


@pytest.mark.parametrize(
    ("targets", "wrapped"),
    [
        (["layers.1.q_proj"], {"layers.1.q_proj"}),
        (["layers.0.*"], {"layers.0.q_proj", "layers.0.v_proj", "layers.0.o_proj"}),
        (["o_*", "lm_head"], {"layers.0.o_proj", "layers.1.o_proj", "lm_head"}),
        (["q_proj", "q_proj"], {"layers.0.q_proj", "layers.1.q_proj"}),
    ],
)
def test_targets_are_names_or_patterns(targets: list[str], wrapped: set[str]) -> None:
    model = Lora(targets=targets).apply(Model())
    assert {name for name, module in model.named_modules() if isinstance(module, LowRankLinear)} == wrapped


def test_dropout_falls_on_the_update_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    model = adapted(base(), dropout=0.1)
    torch.testing.assert_close(model.eval()(TOKENS), adapted(base())(TOKENS), rtol=0, atol=0)
    monkeypatch.setattr(Dropout, "forward", lambda self, x: torch.zeros_like(x))
    torch.testing.assert_close(model.train()(TOKENS), base()(TOKENS), rtol=0, atol=1e-12)


def test_what_cannot_be_adapted_is_refused_with_every_problem() -> None:
    model = Model(tied=True)
    with pytest.raises(ConfigError) as raised:
        Lora(targets=["q_proj", "query", "lm_head"]).apply(model)
    missing, tied = raised.value.problems
    assert missing.startswith("adapter.targets: 'query' ")
    assert "lm_head, o_proj, q_proj, v_proj" in missing
    assert tied.startswith("adapter.targets: 'lm_head' ")
    assert "model.tie_embeddings" in tied
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_no_adapter_changes_nothing() -> None:
    model, adapter = base(), NoAdapter()
    assert adapter.merge(adapter.apply(model)) is model
    assert adapter.state_dict(model) == {}
    assert all(parameter.requires_grad for parameter in model.parameters())
