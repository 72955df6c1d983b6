import pytest

from lightning_tx.model.build import build_model
from lightning_tx.model.count import Counts, count_parameters, forward_flops_per_token, parameter_table
from tests.model.configs import config

TRANSLATION = config(
    "encoder_decoder",
    sizes={
        "d_model": 128,
        "d_ff": 512,
        "num_encoder_layers": 4,
        "num_decoder_layers": 4,
        "vocab_size": 50_000,  # padded to 50,048
    },
    positions="sinusoidal",
    attention={"bias": True},
    block="post_norm",
    feed_forward={"name": "relu", "bias": True},
)


def llama3(layers: int, d_model: int, d_ff: int, heads: int) -> dict:
    return config(
        sizes={
            "num_layers": layers,
            "d_model": d_model,
            "d_ff": d_ff,
            "num_heads": heads,
            "vocab_size": 128_256,
            "tie_embeddings": False,
        },
        positions={"base": 500_000.0},
        attention={"num_kv_heads": 8},
        norm="rmsnorm",
        feed_forward="swiglu",
    )


def test_the_translation_model_has_its_published_size() -> None:
    model = build_model(TRANSLATION, device="meta")
    assert model.token_embedding.num_embeddings == 50_048
    assert count_parameters(model) == Counts(total=8_257_536, trainable=8_257_536, active=8_257_536)


@pytest.mark.parametrize("rank", [1, 8, 32])
def test_lora_trains_9216_parameters_for_each_rank(rank: int) -> None:
    adapter = {"name": "lora", "rank": rank, "targets": ["q_proj", "k_proj", "v_proj"]}
    counts = count_parameters(build_model(TRANSLATION | {"adapter": adapter}, device="meta"))
    assert counts.trainable == 9_216 * rank
    assert counts.total == 8_257_536 + 9_216 * rank


@pytest.mark.parametrize(
    ("shape", "total"),
    [
        ((32, 4096, 14336, 32), 8_030_261_248),
        ((80, 8192, 28672, 64), 70_553_706_496),
        ((126, 16384, 53248, 128), 405_853_388_800),
    ],
    ids=["8B", "70B", "405B"],
)
def test_llama3_has_its_published_sizes(shape: tuple[int, int, int, int], total: int) -> None:
    assert count_parameters(build_model(llama3(*shape), device="meta")).total == total


def test_a_shared_parameter_counts_once() -> None:
    tied, untied = (
        count_parameters(build_model(config(sizes={"tie_embeddings": tied}), device="meta")).total
        for tied in (True, False)
    )
    assert untied - tied == 64 * 16


def test_the_table_adds_up() -> None:
    model = build_model(config(sizes={"tie_embeddings": False}) | {"adapter": {"name": "lora", "rank": 2}})
    counts = count_parameters(model)
    rows = parameter_table(model, 1)
    assert [name for name, _, _ in rows] == ["token_embedding", "stack", "lm_head"]
    assert sum(total for _, total, _ in rows) == counts.total
    assert sum(trainable for _, _, trainable in rows) == counts.trainable > 0
    assert "stack.layers" in [name for name, _, _ in parameter_table(model, 2)]


MOE = {"name": "moe", "num_experts": 8, "top_k": 2}


def test_of_the_experts_those_of_one_token_are_active() -> None:
    """The decoder of nanoMoE: a mixture as every second feed-forward, a dense one elsewhere."""
    overrides = [{"layers": "1::2", "feed_forward": {**MOE, "num_shared_experts": 1, "expert": {"name": "gelu"}}}]
    model = build_model(config(sizes={"num_layers": 4, "overrides": overrides}), device="meta")
    dense = count_parameters(build_model(config(sizes={"num_layers": 4}), device="meta"))
    matrices, router = 2 * 16 * 24, 8 * 16
    counts = count_parameters(model)
    assert counts.total == dense.total + 2 * (8 * matrices + router)  # the shared one is where the dense one was
    assert counts.active == dense.active + 2 * (2 * matrices + router)
    layers = [layer.sublayers["feed_forward"] for layer in model.stack.layers]  # pyright: ignore[reportAttributeAccessIssue]
    assert [type(layer).__name__ for layer in layers] == ["GELU", "MixtureOfExperts"] * 2


def test_flops_are_those_of_the_experts_a_token_meets() -> None:
    dense, mixture = (forward_flops_per_token(config(feed_forward=kind)) for kind in ("swiglu", MOE))
    assert mixture - dense == 2 * 2 * (3 * 16 * 24 + 8 * 16)  # in each layer one more expert, and the router


@pytest.mark.parametrize("num_kv_heads", [4, 1])
@pytest.mark.parametrize(("feed_forward", "matrices"), [("gelu", 2), ("swiglu", 3)])
def test_flops_of_a_decoder(num_kv_heads: int, feed_forward: str, matrices: int) -> None:
    length, width, inner, heads, head, vocabulary, layers = 16, 16, 24, 4, 4, 64, 2
    kv_width = num_kv_heads * head
    projections = 2 * (width * width + 2 * width * kv_width + width * width)
    attention = 2 * 2 * heads * head * length  # queries with all keys, weights with all values
    expected = layers * (projections + attention + 2 * matrices * width * inner) + 2 * width * vocabulary
    found = config(attention={"num_kv_heads": num_kv_heads}, feed_forward=feed_forward)
    assert forward_flops_per_token(found) == expected


def test_flops_of_an_encoder_decoder() -> None:
    length, width, inner, vocabulary = 16, 16, 24, 64
    attention = 2 * 4 * width * width + 2 * 2 * width * length
    feed_forward = 2 * 2 * width * inner
    expected = 2 * (attention + feed_forward) + 2 * (2 * attention + feed_forward) + 2 * width * vocabulary
    assert forward_flops_per_token(config("encoder_decoder")) == expected


@pytest.mark.parametrize("topology", ["decoder", "encoder"])
@pytest.mark.parametrize("pattern", ["local", "strided", "fixed", "global_local"])
def test_a_sparse_pattern_costs_what_its_parts_cost(pattern: str, topology: str) -> None:
    def of_attention(pattern: str, length: int) -> float:
        sizes = {"max_seq_len": length}
        whole = forward_flops_per_token(config(topology, sizes=sizes, pattern=pattern, positions="alibi"))
        return whole - forward_flops_per_token(config(topology, sizes=sizes, attention="none"))

    # What does not grow with the length are the projections; the rest of full attention grows like the length.
    assert of_attention(pattern, 8192) < of_attention("full", 8192) / 5
    assert of_attention(pattern, 2048) < of_attention("full", 2048) / 1.5
