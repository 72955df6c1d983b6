import torch
from my_component import MyComponent

from lightning_tx.testing import conformance
from lightning_tx.testing.places import context, dims, site

test_conforms = conformance("attention/my_component")


def test_it_is_its_formula_query_by_query() -> None:
    torch.manual_seed(0)
    sizes = dims(d_model=6, num_heads=2, head_dim=3)
    attention = MyComponent(sizes, site("self_attention"), bias=True).double()
    x = torch.randn(1, 5, 6, dtype=torch.float64)
    q, k = attention.q_proj(x)[0], attention.k_proj(x)[0]
    heads = torch.zeros(5, 6, dtype=torch.float64)
    for t in range(5):
        for head in (slice(0, 3), slice(3, 6)):
            scores = torch.stack([q[t, head] @ k[s, head] / 3**0.5 for s in range(t + 1)])
            heads[t, head] = sum(p * k[s, head] for s, p in enumerate(scores.softmax(dim=0)))
    torch.testing.assert_close(attention(x, context(5)).x[0], attention.o_proj(heads))
