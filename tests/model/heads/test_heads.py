"""Heads against PyTorch's own functions, and their place in a model."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lightning_tx.core.errors import ConfigError
from lightning_tx.model.body import Body
from lightning_tx.model.build import build_model
from lightning_tx.model.heads.classifier import Classifier, mean_state
from lightning_tx.model.heads.language_model import LanguageModelHead
from lightning_tx.model.sizes import Sizes
from tests.model.configs import config, small_model, tokens


@pytest.mark.parametrize("cap", [None, 0.5])
@pytest.mark.parametrize("bias", [False, True])
def test_scores_of_tokens_and_their_cross_entropy(bias: bool, cap: float | None) -> None:
    head = LanguageModelHead(6, 10, rows=16, bias=bias, logit_cap=cap).double()
    x, targets = torch.randn(7, 6, dtype=torch.float64), torch.arange(7)
    expected = F.linear(x, head.weight, head.bias)
    expected = expected if cap is None else cap * torch.tanh(expected / cap)
    torch.testing.assert_close(head.logits(x), expected)
    torch.testing.assert_close(
        head.cross_entropy(x, targets, 0.1), F.cross_entropy(expected, targets, reduction="sum", label_smoothing=0.1)
    )
    assert (head.vocab_size, head.out_features) == (10, 16)


def test_a_model_may_bound_the_scores_of_tokens() -> None:
    model, capped = (build_model(config(sizes={"logit_cap": cap})) for cap in (None, 0.3))
    x = 5 * torch.randn(3, model.d_model)
    torch.testing.assert_close(capped.head.logits(x), 0.3 * torch.tanh(model.head.logits(x) / 0.3))


def test_a_tied_head_is_the_embedding() -> None:
    embedding = nn.Embedding(10, 6)
    assert LanguageModelHead(6, 10, tied_to=embedding).weight is embedding.weight


def test_the_mean_state_is_that_of_real_tokens() -> None:
    x, mask = torch.randn(3, 4, 2), torch.tensor([[1, 1, 1, 1], [0, 1, 1, 0], [0, 0, 0, 0]], dtype=torch.bool)
    padded = x.masked_fill(~mask[:, :, None], math.inf)
    expected = torch.stack([x[0].mean(dim=0), x[1, 1:3].mean(dim=0), torch.zeros(2)])
    torch.testing.assert_close(mean_state(padded, mask), expected)
    torch.testing.assert_close(mean_state(x, None), x.mean(dim=1))


def test_a_classifier_takes_states_of_tokens_and_of_examples() -> None:
    head = Classifier(2, 3)
    x_BTD, mask = torch.randn(4, 5, 2), torch.rand(4, 5) < 0.7
    of_examples = head.logits(mean_state(x_BTD, mask))
    torch.testing.assert_close(head.logits(x_BTD, mask), of_examples)
    labels = torch.tensor([0, 2, 1, 1])
    expected = -of_examples.log_softmax(dim=-1)[torch.arange(4), labels].sum()
    torch.testing.assert_close(head.cross_entropy(of_examples, labels), expected)


def test_parameters_are_called_as_in_the_body_and_in_the_head() -> None:
    model = build_model(config(sizes={"tie_embeddings": False, "output_bias": True}))
    own = {name.partition(".")[0] for name, _ in model.named_parameters()}
    assert own == {"token_embedding", "stack", "lm_head"}
    assert {"lm_head.weight", "lm_head.bias", "token_embedding.weight"} <= set(model.state_dict())

    def classifier(body: Body, sizes: Sizes) -> Classifier:
        return Classifier(body.d_model, sizes.known("num_classes"))

    sorts = build_model(config(), num_classes=3, head=classifier)
    assert sorts.head.logits(sorts(tokens(2, 4)).x).shape == (2, 3)
    # The body starts as it does under any other head.
    assert torch.equal(sorts.token_embedding.weight, model.token_embedding.weight)  # pyright: ignore
    assert "lm_head.weight" not in sorts.state_dict()


def test_a_size_that_is_not_known_is_named() -> None:
    with pytest.raises(ConfigError, match=r"^num_classes: "):
        Sizes(vocab_size=3).known("num_classes")


def test_stacks_are_told_in_the_order_of_the_computation() -> None:
    assert list(small_model("encoder_decoder").stacks) == ["encoder", "decoder"]
    model = small_model()
    assert model.stacks == {"stack": model.stack}
    names = {f"stack.{name}" for name in (*model.stack.sublayers, *model.stack.norms)}
    assert names <= {name for name, _ in model.named_modules()}
