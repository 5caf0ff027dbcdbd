import random

from stages.lib.chats.splits import SPLITS, group_sources, side
from stages.lib.statistics.drawing import drawn


def test_sources_with_near_identical_texts_or_the_same_long_answer_are_one_group() -> None:
    text = " ".join(f"word{i}" for i in range(100))
    changed = text.replace("word50", "other")  # 5 of 96 5-grams: Jaccard 91/101
    groups = group_sources(
        [
            ("c", text, "one"),
            ("a", changed, "two"),
            ("b", "something else altogether in here", "Any other string is treated as a path."),
            ("d", "and yet another text", "any other string is treated as a path"),
            ("e", "a text of its own", "True"),
            ("f", "one more text", "True"),
        ],
        similarity=0.8,
    )
    assert groups == {"a": "a", "c": "a", "b": "b", "d": "b", "e": "e", "f": "f"}
    assert len(set(group_sources([("c", text, ""), ("a", changed, "")], similarity=0.95).values())) == 2


def test_groups_chain_and_do_not_depend_on_the_order() -> None:
    texts = [(str(i), f"text {i}", answer) for i, answer in enumerate(["q w e r t", "q w e r t", "z u i o p", "solo"])]
    texts.append(("0", "text", "z u i o p"))
    expected = {"0": "0", "1": "0", "2": "0", "3": "3"}
    for seed in range(5):
        shuffled = random.Random(seed).sample(texts, len(texts))
        assert group_sources(shuffled, 0.9) == expected


def test_sides_follow_the_fractions_and_the_seed_alone() -> None:
    names = [f"document {i}" for i in range(4000)]
    sides = [side(name, 0.1, 0.2, seed=0) for name in names]
    shares = {split: sides.count(split) / len(names) for split in SPLITS}
    assert abs(shares["test"] - 0.2) < 0.02
    assert abs(shares["val"] - 0.1) < 0.02
    assert sides == [side(name, 0.1, 0.2, seed=0) for name in names]
    assert sides != [side(name, 0.1, 0.2, seed=1) for name in names]
    assert {side(name, 0.0, 0.0, 0) for name in names} == {"train"}


def test_a_bigger_test_set_keeps_what_was_in_the_smaller_one() -> None:
    names = [f"document {i}" for i in range(500)]
    small = {name for name in names if side(name, 0.1, 0.1, 0) == "test"}
    assert small < {name for name in names if side(name, 0.1, 0.3, 0) == "test"}


def test_drawing_does_not_depend_on_the_order_but_on_the_purpose() -> None:
    names = [str(i) for i in range(50)]
    assert drawn("a", names) == drawn("a", reversed(names)) != drawn("b", names)
    assert sorted(drawn("a", names)) == sorted(names)
