"""HellaSwag's items in every shape that people keep them in."""

from typing import Any

import pytest

from stages.lib.hellaswag.items import HellaSwagItem, as_hellaswag_item, query
from stages.lib.reading.documents import Drop

PLAIN: dict[str, Any] = {"activity_label": "A", "ctx": "He runs. he", "label": 2, "endings": ["a.", "b.", "c.", "d."]}
ABSENT = object()


@pytest.mark.parametrize(
    ("changes", "shown", "raw"),
    [
        ({}, "A: He runs. he", "He runs. he"),
        ({"label": "2"}, "A: He runs. he", "He runs. he"),
        ({"label": 2.0}, "A: He runs. he", "He runs. he"),
        ({"label": " 2.0"}, "A: He runs. he", "He runs. he"),
        ({"ctx_a": "He runs.", "ctx_b": "he"}, "A: He runs. He", "He runs. he"),
        ({"ctx": "He runs.", "ctx_a": "He runs.", "ctx_b": ""}, "A: He runs.", "He runs."),
        ({"ctx": "He runs.", "ctx_a": "He runs.", "ctx_b": None}, "A: He runs.", "He runs."),
        ({"ctx_a": "He runs.", "ctx_b": None}, "A: He runs. he", "He runs. he"),  # not the parts of this context
        ({"ctx": ABSENT, "ctx_a": "He runs.", "ctx_b": "he"}, "A: He runs. He", "He runs. he"),
        ({"ctx": None, "ctx_a": "He runs.", "ctx_b": None}, "A: He runs.", "He runs."),
        ({"ctx": ABSENT, "ctx_a": "He runs."}, "A: He runs.", "He runs."),
    ],
)
def test_items_in_every_shape(changes: dict[str, Any], shown: str, raw: str) -> None:
    record = {key: value for key, value in (PLAIN | changes).items() if value is not ABSENT}
    item = as_hellaswag_item("here", record)
    assert isinstance(item, HellaSwagItem)
    assert (query(item), item.ctx, item.label) == (shown, raw, 2)


def test_records_as_the_harness_keeps_them() -> None:
    """lm-evaluation-harness's process_docs: query, choices and gold, perhaps beside what they were made of."""
    made = {"query": "Roof: A man [sits]. He", "gold": 1, "choices": ["a.", "b.", "c.", "d."]}
    item = as_hellaswag_item("here", made)
    assert item == HellaSwagItem("Roof", "A man [sits]. He", None, ("a.", "b.", "c.", "d."), 1)
    assert as_hellaswag_item("here", PLAIN | made | {"label": 1}) == HellaSwagItem(
        "A", "He runs. he", None, ("a.", "b.", "c.", "d."), 1
    )


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"label": 2.5}, "no_label"),
        ({"label": "nan"}, "no_label"),
        ({"label": "x"}, "no_label"),
        ({"label": [2]}, "no_label"),
        ({"label": -1}, "no_label"),
        ({"endings": ["a", "b", "c", "[title]"]}, "empty_ending"),
        ({"endings": ["a", "b", "c", " "]}, "empty_ending"),
        ({"endings": "abcd"}, "not_four_endings"),
        ({"ctx": ABSENT}, "no_context"),
        ({"ctx": ABSENT, "ctx_b": "he"}, "no_context"),
        ({"ctx": 5, "ctx_a": "a", "ctx_b": "b"}, "no_context"),
        ({"ctx": ABSENT, "query": "no label"}, "no_context"),
        ({"activity_label": ABSENT}, "no_activity_label"),
    ],
)
def test_records_that_are_no_items(changes: dict[str, Any], reason: str) -> None:
    record = {key: value for key, value in (PLAIN | changes).items() if value is not ABSENT}
    found = as_hellaswag_item("here", record)
    assert isinstance(found, Drop)
    assert found.reason == reason
