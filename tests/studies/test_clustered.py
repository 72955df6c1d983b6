"""The expected values are R's: clubSandwich 0.5.8, ``vcovCR(lm(...), cluster = seed, type = "CR2")``."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from lightning_tx.studies.cell_model import one_hot
from lightning_tx.studies.clustered import ClusteredFit

FOLDER = Path(__file__).parent


def read(name):
    """Real numbers of a made-up study with runs missing."""
    return pd.read_csv(FOLDER / name, keep_default_na=False).astype({"value": float})


class Cells:
    """The fit of one mean a cell and one shift a seed, as ``lm(value ~ 0 + cell + seed)``."""

    def __init__(self):
        table = read("unbalanced.csv")
        cells = table.positions + " " + table.attention
        self.names = sorted(set(cells))
        index = [self.names.index(cell) for cell in cells]
        design = np.hstack([one_hot(index, len(self.names)), one_hot(table.seed, 5)[:, 1:]])
        self.fit = ClusteredFit(design, table.value.to_numpy(), table.seed.to_numpy())

    def weights(self, **of_cells):
        weights = np.zeros(len(self.names) + 4)
        for cell, weight in of_cells.items():
            weights[self.names.index(cell.replace("_", " "))] = weight
        return weights


@pytest.mark.parametrize(
    ("level", "baseline", "estimate", "error", "degrees"),
    [
        ("gqa", "mha", 0.0316037719298237, 0.0525178923760009, 3.84273051401582),
        ("rope", "none", -0.082209490329741, 0.0244800339268408, 3.73754293969322),
        ("sin", "none", 0.00995109464172472, 0.0489284873433788, 3.78424579042648),
    ],
)
def test_contrasts_agree_with_clubsandwich(level, baseline, estimate, error, degrees):
    cells = Cells()
    pairs = [(cell, cell.replace(level, baseline)) for cell in cells.names if level in cell.split()]
    weights = sum(
        cells.weights(**{a.replace(" ", "_"): 1 / len(pairs), b.replace(" ", "_"): -1 / len(pairs)}) for a, b in pairs
    )
    assert cells.fit.contrast(weights) == pytest.approx((estimate, error, degrees), rel=1e-9)


def test_a_joint_test_agrees_with_clubsandwich():
    cells = Cells()
    rows = [
        cells.weights(**{f"{positions}_gqa": 1, f"{positions}_mha": -1, "none_gqa": -1, "none_mha": 1})
        for positions in ("rope", "sin")
    ]
    assert cells.fit.joint(np.stack(rows)) == pytest.approx(
        (2.43983236789559, 2, 2.65189936019805, 0.250558823169261), rel=1e-9
    )
    # How the hypothesis is written does not matter.
    mixed = np.stack([rows[0] + 2 * rows[1], rows[0] - 0.3 * rows[1]])
    assert cells.fit.joint(mixed) == pytest.approx(cells.fit.joint(np.stack(rows)), rel=1e-9)


def test_one_run_of_each_of_two_groups_in_every_cluster_is_the_paired_t_test():
    random = np.random.default_rng(0)
    a, b = random.normal(size=6), random.normal(size=6)
    cluster = np.tile(np.arange(6), 2)
    design = np.hstack([one_hot(np.repeat([0, 1], 6), 2), one_hot(cluster, 6)[:, 1:]])
    weights = np.array([1.0, -1, 0, 0, 0, 0, 0])
    estimate, error, degrees = ClusteredFit(design, np.concatenate([a, b]), cluster).contrast(weights)
    reference = stats.ttest_rel(a, b)
    assert (estimate / error, degrees) == pytest.approx((reference.statistic, reference.df))


def test_fewer_than_two_clusters_that_say_anything_give_no_error():
    # Cells 0 and 1 share the first cluster only; the second has cell 0 twice and says nothing of their difference.
    design = np.array([[1.0, 0, 0], [0, 1, 0], [1, 0, 1], [1, 0, 1]])
    fit = ClusteredFit(design, np.array([1.0, 3.0, 2.0, 2.5]), np.array([0, 0, 1, 1]))
    assert fit.contrast(np.array([-1.0, 1, 0])) == (pytest.approx(2.0), None, 0.0)


def test_more_contrasts_than_clusters_can_tell_are_not_tested():
    random = np.random.default_rng(0)
    cluster = np.repeat(np.arange(2), 4)
    design = np.hstack([one_hot(np.tile(np.arange(4), 2), 4), one_hot(cluster, 2)[:, 1:]])
    weights = np.hstack([np.eye(3), -np.ones((3, 1)), np.zeros((3, 1))])
    assert ClusteredFit(design, random.normal(size=8), cluster).joint(weights) is None
