from my_component import MyComponent

from lightning_tx.testing import conformance

test_conforms = conformance("schedule/my_component")


def test_it_rises_to_its_peak_and_falls_to_nothing() -> None:
    schedule = MyComponent(0.8, 10, 64, warmup_steps=2)
    rates = [schedule(step) for step in range(1, 13)]
    falling = [0.8 * left / 9 for left in (9, 8, 7, 6, 5, 4, 3, 2, 1, 0, 0)]
    assert all(abs(rate - other) < 1e-12 for rate, other in zip(rates, [0.4, *falling], strict=True))
