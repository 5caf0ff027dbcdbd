"""Near-duplicate pairs -> groups around a representative, without chains."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt


def star_groups(count: int, pairs: Sequence[tuple[int, int]], lengths: Sequence[int]) -> list[int]:
    """The representative of each of `count` items (itself where it is kept).

    An item is removed only in favour of an item that it is a duplicate of itself, never through a
    third one: of a chain A~B~C with A and C unlike, A never stands for C. Representatives are taken
    greedily: most duplicates first, then the longest text, then the earliest.
    """
    neighbours: list[list[int]] = [[] for _ in range(count)]
    for first, second in pairs:
        neighbours[first].append(second)
        neighbours[second].append(first)
    representative = [-1] * count
    for item in sorted(range(count), key=lambda i: (-len(neighbours[i]), -lengths[i], i)):
        if representative[item] >= 0:
            continue
        representative[item] = item
        for other in neighbours[item]:
            if representative[other] < 0:
                representative[other] = item
    return representative


def group_members(representative: Sequence[int]) -> dict[int, list[int]]:
    """Representative -> its group, itself included; only groups of two and more."""
    members: dict[int, list[int]] = {}
    for item, head in enumerate(representative):
        members.setdefault(head, []).append(item)
    return {head: group for head, group in sorted(members.items()) if len(group) > 1}


def diameter(vectors: npt.NDArray[np.float32], group: Sequence[int]) -> float:
    """1 - the smallest cosine between two members of the group, in float64; vectors (n, d)."""
    rows = vectors[list(group)].astype(np.float64)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return float(max(0.0, 1.0 - (rows @ rows.T).min()))
