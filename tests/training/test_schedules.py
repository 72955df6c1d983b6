import math

import pytest

from lightning_tx.core.errors import ConfigError
from lightning_tx.schedule.base import SCHEDULE


def schedule(name, *, lr=2.0, max_steps=100, d_model=64, **options):
    return SCHEDULE.create({"name": name, **options}, lr, max_steps, d_model)


def test_noam_is_equation_3_of_the_paper() -> None:
    noam = schedule("noam", lr=None, d_model=512, factor=0.5, warmup_steps=4000)
    for step in (1, 7, 3999, 4000, 4001, 100_000):
        expected = 0.5 * 512**-0.5 * min(step**-0.5, step * 4000**-1.5)
        assert noam(step) == pytest.approx(expected, rel=1e-12)


def test_inverse_sqrt_peaks_at_lr_and_has_the_shape_of_noam() -> None:
    ours, noam = schedule("inverse_sqrt", warmup_steps=50), schedule("noam", lr=None, warmup_steps=50)
    assert ours(50) == 2.0
    ratios = {round(ours(step) / noam(step), 9) for step in (1, 20, 50, 51, 400)}
    assert len(ratios) == 1


def test_cosine_warms_up_and_ends_at_its_fraction() -> None:
    cosine = schedule("cosine", warmup_steps=10, final_fraction=0.1)
    assert [cosine(step) for step in (1, 5, 10)] == pytest.approx([0.2, 1.0, 2.0])
    assert cosine(55) == pytest.approx(2.0 * (0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi / 2))))
    assert cosine(100) == pytest.approx(0.2)
    assert cosine(1000) == pytest.approx(0.2)


def test_constant_stays_after_its_warm_up() -> None:
    assert [schedule("constant", warmup_steps=4)(step) for step in (1, 2, 4, 5, 99)] == [0.5, 1.0, 2.0, 2.0, 2.0]


def test_a_rate_that_would_be_ignored_or_is_missing_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"optimizer\.lr: 2\.0 has no effect"):
        schedule("noam", lr=2.0)
    with pytest.raises(ConfigError, match=r"optimizer\.lr: null"):
        schedule("cosine", lr=None)
