"""Priorities of many places, sampled in proportion to them. Pure."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


class SumTree:
    """A binary tree whose leaves are priorities and whose other nodes are the sums of their two children.

    Setting a priority and finding the place of a sum take log2(size) steps, many places at once (Schaul et al.,
    arXiv 1511.05952, appendix B.2.1). Node 1 is the root, the children of node i are 2 i and 2 i + 1.
    """

    def __init__(self, size: int) -> None:
        """`size` places, all of priority 0."""
        self._levels = max(1, (size - 1).bit_length())
        self._leaves = 1 << self._levels
        self._sums = np.zeros(2 * self._leaves)

    @property
    def total(self) -> float:
        """Sum of all priorities."""
        return float(self._sums[1])

    def set(self, places: NDArray[np.int64], priorities: NDArray[np.float64] | float) -> None:
        """Give places, int64 [M], priorities of at least 0; of a place that is named twice the last one holds."""
        nodes = places + self._leaves
        self._sums[nodes] = priorities
        for _ in range(self._levels):
            nodes = nodes >> 1
            self._sums[nodes] = self._sums[2 * nodes] + self._sums[2 * nodes + 1]

    def priorities(self, places: NDArray[np.int64]) -> NDArray[np.float64]:
        """Priorities of places, [M] for [M]."""
        return self._sums[places + self._leaves]

    def find(self, sums: NDArray[np.float64]) -> NDArray[np.int64]:
        """The first place at which the sum of all priorities so far exceeds each of `sums`, float64 [M] in [0, total).

        It has a priority above 0, whatever rounding did to the sums; the total must be above 0.
        """
        remaining, nodes = sums.copy(), np.ones(len(sums), dtype=np.int64)
        for _ in range(self._levels):
            left, right = self._sums[2 * nodes], self._sums[2 * nodes + 1]
            goes_right = (remaining >= left) & (right > 0)
            remaining -= np.where(goes_right, left, 0.0)
            nodes = 2 * nodes + goes_right
        return nodes - self._leaves
