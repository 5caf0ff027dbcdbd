import random

import numpy as np

from stages.lib.llm.token_tree import TokenTree, plan_packs, shared_length


def random_sequences(seed: int, count: int) -> list[list[int]]:
    draw = random.Random(seed)
    heads = [[draw.randrange(3) for _ in range(draw.randrange(1, 6))] for _ in range(4)]
    return [draw.choice(heads) + [draw.randrange(3) for _ in range(draw.randrange(1, 6))] for _ in range(count)]


def test_tree_holds_each_prefix_once_and_attends_to_exactly_the_ancestors() -> None:
    sequences = random_sequences(0, 30)
    tree = TokenTree()
    paths = [tree.add(sequence) for sequence in sequences]
    prefixes = {tuple(sequence[: i + 1]) for sequence in sequences for i in range(len(sequence))}
    assert len(tree.tokens) == len(prefixes)
    expected = np.zeros((len(tree.tokens), len(tree.tokens)), dtype=bool)
    for sequence, path in zip(sequences, paths, strict=True):
        assert [tree.tokens[node] for node in path] == sequence
        assert [tree.depths[node] for node in path] == list(range(len(sequence)))
        for i, node in enumerate(path):
            expected[node, path[: i + 1]] = True
    np.testing.assert_array_equal(tree.attention(), expected)


def test_shared_length() -> None:
    assert shared_length([[1, 2, 3], [1, 2, 4], [1, 2]]) == 2
    assert shared_length([[1, 2], [1, 2]]) == 2
    assert shared_length([[1], [2]]) == 0
    assert shared_length([]) == 0


def test_packs_hold_each_group_once_within_their_size() -> None:
    sequences = random_sequences(1, 60)
    groups = [sequences[i : i + 3] for i in range(0, 60, 3)]
    packs = plan_packs(groups, size=40)
    assert sorted(i for members, _ in packs for i in members) == list(range(20))
    for members, nodes in packs:
        tree = TokenTree()
        for i in members:
            for sequence in groups[i]:
                tree.add(sequence)
        assert len(tree.tokens) == nodes <= 80
    assert len(packs) > 1
    assert plan_packs(groups, size=40) == packs


def test_a_group_larger_than_a_pack_stays_whole() -> None:
    assert plan_packs([[[1] * 50, [2] * 50]], size=10) == [([0], 100)]
