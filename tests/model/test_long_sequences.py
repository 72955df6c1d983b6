"""Sequences long enough for the parts of a pattern, in whole models."""

from typing import Any

import pytest
import torch

from tests.model.configs import small_model, tokens

LENGTH = 1100
PATTERNS = [
    {"name": "local", "window": 100},
    {"name": "strided", "stride": 32},
    {"name": "fixed", "block": 32, "summary": 2},
    {"name": "global_local", "window": 60, "num_global": 4},
]


def documents(length: int) -> dict[str, torch.Tensor]:
    index = torch.arange(length)[None].expand(2, -1)
    return {"documents_BT": index // 400, "positions_BT": index % 400}


def left_padding(length: int) -> dict[str, torch.Tensor]:
    return {"token_mask_BT": torch.arange(length)[None] >= torch.tensor([[0], [60]])}


@pytest.mark.parametrize("tokens_are", [lambda length: {}, documents, left_padding], ids=["whole", "packed", "padded"])
@pytest.mark.parametrize("topology", ["decoder", "encoder"])
@pytest.mark.parametrize("pattern", PATTERNS, ids=lambda pattern: pattern["name"])
def test_the_parts_change_no_state(
    pattern: dict[str, Any], topology: str, tokens_are: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = small_model(topology, pattern=pattern, positions="alibi", sizes={"num_layers": 1})
    inputs, known = tokens(2, LENGTH), tokens_are(LENGTH)
    found = model(inputs, **known).x
    monkeypatch.setattr("lightning_tx.kernels.sparse_attention.WORTH_SPLITTING", (10**9, 1))
    expected = model(inputs, **known).x
    real = known.get("token_mask_BT", torch.ones(2, LENGTH, dtype=torch.bool))
    torch.testing.assert_close(found[real], expected[real], rtol=0, atol=1e-10)
