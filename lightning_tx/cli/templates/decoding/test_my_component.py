import torch
from my_component import MyComponent

from lightning_tx.testing import conformance

test_conforms = conformance("decoding/my_component")


def test_it_draws_what_is_probable_enough_as_often_as_it_should() -> None:
    logits_BV = torch.tensor([0.5, 0.3, 0.15, 0.05]).log().expand(20_000, 4)
    decoding = MyComponent(min_p=0.25)
    noise_B1 = decoding.noise(range(20_000), 1, torch.device("cpu"))
    drawn_B = decoding.choose(logits_BV, noise_B1[:, 0])
    shares = torch.bincount(drawn_B, minlength=4) / 20_000
    kept = 0.5 + 0.3 + 0.15
    expected = torch.tensor([0.5 / kept, 0.3 / kept, 0.15 / kept, 0.0])
    torch.testing.assert_close(shares, expected, atol=0.02, rtol=0)
    assert shares[3] == 0
