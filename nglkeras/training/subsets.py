"""Divide samples into parts at random, always the same ones."""

import numpy as np


def random(samples: int, count: int) -> list[np.ndarray]:
    """Return the rows of each part; fewer parts if one would have less than two samples."""
    order = np.random.default_rng(0).permutation(samples)
    return np.array_split(order, max(1, min(count, samples // 2)))


def with_all_classes(labels: np.ndarray, count: int) -> list[np.ndarray]:
    """Return parts that have a like share of each class; none where a sample has several."""
    if labels.ndim != 2:
        return []
    classes = labels[:, 0] if labels.shape[1] == 1 else labels.argmax(axis=-1)
    if labels.shape[1] > 1 and not np.array_equal(labels, np.eye(labels.shape[1])[classes]):
        return []
    _, counts = np.unique(classes, return_counts=True)
    count = min(count, len(labels) // 2, counts.min())
    if count < 2:
        return []
    order = np.random.default_rng(0).permutation(len(labels))
    order = order[np.argsort(classes[order], kind="stable")]
    return [order[start::count] for start in range(count)]
