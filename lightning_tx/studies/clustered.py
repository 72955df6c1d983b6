"""Least squares whose errors are clustered: standard errors that few clusters do not fool.

Errors inside a cluster may depend on each other in any way; clusters are independent. The variance of a contrast is
estimated by CR2 (the residuals of each cluster adjusted so that the estimate is unbiased if the errors are in truth
independent and alike), and compared with a t distribution whose degrees of freedom follow Satterthwaite. Several
contrasts at once are tested by an approximate Hotelling T². Where every cluster has one observation of each of two
groups, all of it is the paired t-test.

Source: Bell and McCaffrey 2002, Survey Methodology 28(2); Pustejovsky and Tipton 2018, Journal of Business & Economic
Statistics 36(4), arXiv:1601.01981 (CR2 with fixed effects; the tests that R's clubSandwich calls "Satterthwaite" and
"HTZ").
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

#: Eigenvalues below this are zero: directions that a cluster's own columns explain completely.
TINY = 1e-12


class Contrast(NamedTuple):
    """A weighted sum of coefficients.

    Attributes:
        estimate: its value.
        error: standard error; None where fewer than two clusters say anything about it.
        degrees: Satterthwaite's degrees of freedom of the error, 0 without one.
    """

    estimate: float
    error: float | None
    degrees: float


class Joint(NamedTuple):
    """A test that several contrasts are all zero.

    Attributes:
        statistic: of the F distribution.
        degrees: of its numerator.
        rest_degrees: of its denominator.
        p_value: the chance of a larger statistic.
    """

    statistic: float
    degrees: int
    rest_degrees: float
    p_value: float


class ClusteredFit:
    """An ordinary least-squares fit with errors clustered.

    Args:
        design: shape [runs, columns], of full column rank.
        values: shape [runs].
        cluster: number of the cluster of each run, from 0, shape [runs].

    Attributes:
        coefficients: shape [columns].
        residuals: shape [runs].
    """

    def __init__(self, design: NDArray[np.float64], values: NDArray[np.float64], cluster: NDArray[np.intp]) -> None:
        self._design, self._cluster = design, cluster
        self._inverse = np.linalg.inv(design.T @ design)
        self.coefficients = self._inverse @ (design.T @ values)
        self.residuals = values - design @ self.coefficients
        self._num_clusters = int(cluster.max()) + 1
        self._members = [np.flatnonzero(cluster == number) for number in range(self._num_clusters)]
        self._adjustments = [self._adjustment(rows) for rows in self._members]

    def contrast(self, weights: NDArray[np.float64]) -> Contrast:
        """The sum of the coefficients times ``weights``, shape [columns]."""
        estimate = float(weights @ self.coefficients)
        adjusted = self._adjusted(weights)
        telling = self._by_cluster(adjusted**2)
        if np.count_nonzero(telling > TINY * telling.sum()) < 2:
            return Contrast(estimate, None, 0.0)
        products = self._products(adjusted, adjusted)
        degrees = np.trace(products) ** 2 / np.sum(products**2)
        scores = self._by_cluster(adjusted * self.residuals)
        return Contrast(estimate, float(np.sqrt(scores @ scores)), float(degrees))

    def joint(self, weights: NDArray[np.float64]) -> Joint | None:
        """Whether all contrasts, shape [contrasts, columns], are zero; None where the clusters are too few to tell."""
        size = len(weights)
        if size >= self._num_clusters:
            return None
        adjusted = np.stack([self._adjusted(row) for row in weights])
        products = np.array([[self._products(a, b) for b in adjusted] for a in adjusted])
        expected = np.trace(products, axis1=2, axis2=3)
        root = _power(expected, -0.5)
        if np.linalg.matrix_rank(expected) < size:
            return None
        # In units in which the expected variance is the identity.
        products = np.einsum("as,bt,stij->abij", root, root, products)
        variances = np.einsum("ssij,ttij->st", products, products) + np.einsum("stij,tsij->st", products, products)
        degrees = size * (size + 1) / variances.sum()
        rest = degrees - size + 1
        scores = np.stack([self._by_cluster(row * self.residuals) for row in root @ adjusted])
        variance = scores @ scores.T
        if rest <= 0 or np.linalg.matrix_rank(variance) < size:
            return None
        estimate = root @ weights @ self.coefficients
        statistic = rest / (degrees * size) * float(estimate @ np.linalg.solve(variance, estimate))
        return Joint(statistic, size, float(rest), float(stats.f.sf(statistic, size, rest)))

    def _adjustment(self, rows: NDArray[np.intp]) -> NDArray[np.float64]:
        own = self._design[rows]
        return _power(np.eye(len(rows)) - own @ self._inverse @ own.T, -0.5)

    def _adjusted(self, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """What each residual counts, so that the sums over clusters have the variance of the contrast."""
        plain = self._design @ (self._inverse @ weights)
        adjusted = np.empty_like(plain)
        for rows, adjustment in zip(self._members, self._adjustments, strict=True):
            adjusted[rows] = adjustment @ plain[rows]
        return adjusted

    def _by_cluster(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.bincount(self._cluster, values, self._num_clusters).astype(np.float64)

    def _products(self, a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
        """Covariances of the clusters' sums for two contrasts if errors are independent, shape [clusters, clusters]."""
        return np.diag(self._by_cluster(a * b)) - self._sums(a) @ self._inverse @ self._sums(b).T

    def _sums(self, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        sums = np.zeros((self._num_clusters, self._design.shape[1]))
        np.add.at(sums, self._cluster, weights[:, None] * self._design)
        return sums


def _power(matrix: NDArray[np.float64], exponent: float) -> NDArray[np.float64]:
    """A power of a symmetric matrix over the directions in which it is not zero."""
    values, vectors = np.linalg.eigh(matrix)
    kept = values > TINY
    return (vectors[:, kept] * values[kept] ** exponent) @ vectors[:, kept].T
