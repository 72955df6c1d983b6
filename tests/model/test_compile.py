from typing import Any

import pytest
import torch

from tests.model.configs import small_model, tokens


@pytest.mark.parametrize("topology", ["decoder", "encoder", "encoder_decoder"])
@pytest.mark.parametrize("padded", [False, True])
def test_compiles_without_graph_breaks(topology: str, padded: bool) -> None:
    torch._dynamo.reset()
    model = small_model(topology, positions="rope", attention={"num_kv_heads": 2})
    inputs = [tokens(2, 6, seed=seed) for seed in range(model.num_inputs)]
    mask = torch.tensor([[1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 0, 0]]).bool()
    masks = {"token_mask_BT": mask} if padded else {}
    if padded and topology == "encoder_decoder":
        masks["source_token_mask_BS"] = mask
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(*inputs, **masks).x, model(*inputs, **masks).x, rtol=0, atol=1e-12)


@pytest.mark.parametrize("topology", ["decoder", "encoder", "encoder_decoder"])
def test_compiles_what_reaches_across_layers(topology: str) -> None:
    torch._dynamo.reset()
    sizes = {"overrides": [{"layers": 1, "positions": {"name": "none"}}]}
    model = small_model(topology, sizes=sizes, block="hyper_connections", attention={"value_residual": True})
    inputs = [tokens(2, 6, seed=seed) for seed in range(model.num_inputs)]
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(*inputs).x, model(*inputs).x, rtol=0, atol=1e-12)


@pytest.mark.parametrize("pattern", [{"name": "local", "window": 3}, {"name": "strided", "stride": 4}])
def test_compiles_without_graph_breaks_where_a_masked_sequence_is_cut_into_chunks(pattern: dict[str, Any]) -> None:
    torch._dynamo.reset()
    model = small_model(pattern=pattern)
    compiled, inputs = torch.compile(model, fullgraph=True, backend="eager"), tokens(1, 260)
    torch.testing.assert_close(compiled(inputs).x, model(inputs).x, rtol=0, atol=1e-12)
