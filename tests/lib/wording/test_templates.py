"""What stands in one place of many pages."""

from itertools import combinations

from stages.lib.wording.facts import other_fact
from stages.lib.wording.templates import template_pairs


def test_what_five_texts_fill_differently_is_data() -> None:
    plants = ["oak", "ash", "elm", "fir", "yew"]
    pages = [f"The leaves of the {plant} turn in autumn." for plant in plants]
    pages += ["The leaves of the oak glow in autumn.", "Something else."]
    pairs = list(combinations(range(len(pages)), 2))
    assert all(other_fact(pages[a], pages[b]) is None for a, b in pairs if b < 6)
    found = template_pairs(pages, pairs)
    assert set(found) >= set(combinations(range(5), 2)) and (0, 5) not in found  # turn, glow: may be wording
    assert found[0, 4] == "oak | yew, where 5 texts differ"
    assert template_pairs(pages[:4], combinations(range(4), 2)) == {}  # four may be wording


def test_a_place_at_an_end_and_an_empty_one() -> None:
    pages = ["kept by", *(f"kept by {name}" for name in ("anna", "berta", "carla", "dora"))]
    found = template_pairs(pages, combinations(range(5), 2))
    assert len(found) == 10 and found[0, 1] == "nothing | anna, where 5 texts differ"
