"""Token sequences that share beginnings, packed into one sequence that holds every shared token once.

A pack is a prefix tree written as a list of tokens: each token's position in the text is its
depth, and it attends to its ancestors alone. One forward pass over the pack gives each sequence
the logits that it would have had alone, without padding (tree attention, as in SpecInfer,
arXiv:2305.09781 section 4.2, and in cascade inference).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np


@dataclass
class TokenTree:
    """N nodes; node i is a token below its parent. The root (-1) is what comes before the tree."""

    tokens: list[int] = field(default_factory=list)  # N token ids
    depths: list[int] = field(default_factory=list)  # N distances from the root, from 0
    paths: list[tuple[list[int], int]] = field(default_factory=list)  # of each sequence: its nodes, how many were known
    children: dict[tuple[int, int], int] = field(default_factory=dict)  # (parent, token) -> node

    def add(self, sequence: Sequence[int]) -> list[int]:
        """Adds a sequence; returns the node of each of its tokens."""
        known = self.known(sequence)
        parent, nodes = -1, list[int]()
        for depth, token in enumerate(sequence):
            if depth >= known:
                self.children[parent, token] = len(self.tokens)
                self.tokens.append(token)
                self.depths.append(depth)
            parent = self.children[parent, token]
            nodes.append(parent)
        self.paths.append((nodes, known))
        return nodes

    def known(self, sequence: Sequence[int]) -> int:
        """How many tokens of the sequence, from its beginning, the tree holds."""
        parent = -1
        for depth, token in enumerate(sequence):
            node = self.children.get((parent, token))
            if node is None:
                return depth
            parent = node
        return len(sequence)

    def attention(self) -> np.ndarray:
        """(N, N) bool: [i, j] is whether node j is node i or one of its ancestors."""
        mask = np.zeros((len(self.tokens), len(self.tokens)), dtype=bool)
        for nodes, known in self.paths:
            path = np.array(nodes)
            new = path[known:]
            depth = np.arange(len(path))
            mask[new[:, None], path[None, :]] = depth[known:, None] >= depth[None, :]
        return mask


def shared_length(sequences: Sequence[Sequence[int]]) -> int:
    """How many tokens all the sequences begin with in common."""
    if not sequences:
        return 0
    lists = [list(sequence) for sequence in sequences]
    low, high = min(lists), max(lists)  # all others lie between these two in lexicographic order
    return next((i for i, (a, b) in enumerate(zip(low, high, strict=False)) if a != b), min(len(low), len(high)))


def plan_packs(groups: Sequence[Sequence[Sequence[int]]], size: int) -> list[tuple[list[int], int]]:
    """Splits groups of sequences into packs of about `size` tree nodes; a group stays whole.

    Groups go in lexicographic order, so that neighbours share most. A group that shares over half
    of its tokens with the pack before it may stretch that pack to twice the size.

    Returns:
        (positions of the groups, nodes) of each pack.
    """
    packs: list[tuple[list[int], int]] = []
    tree, members = TokenTree(), list[int]()
    for group in sorted(range(len(groups)), key=lambda i: ([list(sequence) for sequence in groups[i]], i)):
        alone = TokenTree()
        for sequence in groups[group]:
            alone.add(sequence)
        known = max(map(tree.known, groups[group]))
        limit = 2 * size if 2 * known > max(map(len, groups[group])) else size
        if members and len(tree.tokens) + len(alone.tokens) - known > limit:
            packs.append((members, len(tree.tokens)))
            tree, members = TokenTree(), []
        for sequence in groups[group]:
            tree.add(sequence)
        members.append(group)
    return [*packs, (members, len(tree.tokens))] if members else packs
