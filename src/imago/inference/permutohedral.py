"""Gaussian filtering in many dimensions at once: the permutohedral lattice (Adams, Baek and Davis 2010).

Each pixel, a point of d numbers (place and colour, say), lies in a simplex of d + 1 lattice points; its values are laid
onto them, the lattice is blurred along its d + 1 directions, and the values are read off again. The cost grows with the
pixels, not with their square. NumPy alone: keys are packed into one integer, found by sorting, and a step to a
neighbour is the same number added to every key.
"""

from __future__ import annotations

import math

import numpy as np


class Lattice:
    """The lattice of ``features`` float (N, d), each already divided by its standard deviation."""

    def __init__(self, features: np.ndarray) -> None:
        points, d = features.shape
        elevated = _elevate(features)  # (N, d + 1), in the plane of sum 0
        base, rank = _nearest(elevated)
        weights = np.zeros((points, d + 2))
        rows = np.arange(points)[:, None]
        share = (elevated - base) / (d + 1)
        np.add.at(weights, (rows, d - rank), share)
        np.add.at(weights, (rows, d + 1 - rank), -share)
        weights[:, 0] += 1 + weights[:, d + 1]
        self.weights = weights[:, : d + 1].astype(np.float32)  # (N, d + 1), barycentric
        corner = np.arange(d + 1)
        # Corner k of a simplex lies k to the right of the base point, or k - (d + 1) where the rank is high.
        canonical = np.where(corner[None, :] <= d - corner[:, None], corner[:, None], corner[:, None] - (d + 1))
        # Coordinates of all corners but the last, which follows from the others: (N, d + 1, d).
        corners = base[:, None, :d].astype(np.int64) + canonical[corner[None, :, None], rank[:, None, :d]]
        low = corners.min(axis=(0, 1)) - (d + 1)
        span = corners.max(axis=(0, 1)) - low + (d + 2)
        if math.prod(int(s) for s in span) >= 2**62:
            raise ValueError("the features spread too far for one lattice; use larger standard deviations")
        strides = np.concatenate([np.cumprod(span[::-1])[-2::-1], [1]])
        keys, index = np.unique((corners - low) @ strides, return_inverse=True)
        self.index = index.reshape(points, d + 1)
        self.size = len(keys)
        self.neighbors = []
        for direction in range(d + 1):
            step = np.ones(d, np.int64)
            if direction < d:
                step[direction] = -d
            offset = int(step @ strides)
            self.neighbors.append((_find(keys, keys + offset), _find(keys, keys - offset)))
        self.scale = 1 / (1 + 2.0**-d)

    def filter(self, values: np.ndarray) -> np.ndarray:
        """float (N, K) -> float32 (N, K): the sum over all points, each weighed by its Gaussian."""
        flat = self.index.ravel()
        lattice = np.zeros((self.size + 1, values.shape[1]), np.float32)  # the last row stands for "no such neighbour"
        for column in range(values.shape[1]):
            laid = (self.weights * values[:, column : column + 1]).ravel()
            lattice[:-1, column] = np.bincount(flat, laid, minlength=self.size)
        for after, before in self.neighbors:
            lattice[:-1] += 0.5 * (lattice[after] + lattice[before])
        out = np.zeros(values.shape, np.float32)
        for corner in range(self.weights.shape[1]):
            out += self.weights[:, corner : corner + 1] * lattice[self.index[:, corner]]
        return out * np.float32(self.scale)


def _elevate(features: np.ndarray) -> np.ndarray:
    """(N, d) -> (N, d + 1): onto the plane of sum 0, so scaled that blurring makes a Gaussian of deviation 1."""
    d = features.shape[1]
    axis = np.arange(1, d + 1)
    scaled = features * ((d + 1) * math.sqrt(2 / 3) / np.sqrt(axis * (axis + 1)))
    # Coordinate j: the sum of the scaled features from j on, less j times the one before.
    tails = np.concatenate([np.cumsum(scaled[:, ::-1], axis=1)[:, ::-1], np.zeros((len(features), 1))], axis=1)
    tails[:, 1:] -= axis * scaled
    return tails


def _nearest(elevated: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The nearest lattice point of remainder 0, float (N, d + 1), and the rank of each coordinate's distance to it."""
    d = elevated.shape[1] - 1
    base = np.round(elevated / (d + 1)) * (d + 1)
    order = np.argsort(-(elevated - base), axis=1, kind="stable")
    rank = np.empty_like(order)
    np.put_along_axis(rank, order, np.arange(d + 1)[None, :], axis=1)
    rank += np.round(base.sum(axis=1) / (d + 1)).astype(rank.dtype)[:, None]  # bring it back into the plane
    low, high = rank < 0, rank > d
    base += (d + 1) * (low.astype(np.float64) - high)
    rank += (d + 1) * (low.astype(rank.dtype) - high)
    return base, rank


def _find(keys: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Where each wanted key stands among the sorted ``keys``; their count where it does not."""
    at = np.searchsorted(keys, wanted)
    there = keys[np.minimum(at, len(keys) - 1)] == wanted
    return np.where(there, at, len(keys))
