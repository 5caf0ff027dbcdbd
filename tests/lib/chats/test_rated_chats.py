"""Rated turns of the page's export become items; what is not a thumb up is dropped with its reason."""

import json
from pathlib import Path
from typing import Any

from stages.lib.chats.qa_items import QAItem
from stages.lib.chats.rated_chats import read_rated_chats
from stages.lib.reading.documents import Drop

GOOD = {
    "question": "Where does the water come from?",
    "answer": "From the fjord.",
    "context": "The reactor stands in Bergen. Its cooling water comes from the fjord. It was built in 1974.",
    "source": "paper.pdf",
    "reasoning": "The text tells of the fjord.",
    "rating": "up",
}


def read(tmp_path: Path, *lines: Any) -> list[QAItem | Drop]:
    file = tmp_path / "chats.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return list(read_rated_chats([str(file)]))


def test_a_thumb_up_is_an_item_with_passages_reasoning_and_evidence(tmp_path: Path) -> None:
    (item,) = read(tmp_path, GOOD)
    assert isinstance(item, QAItem)
    assert (item.kind, item.source, item.answer, item.made_by) == ("rated", "paper.pdf", "From the fjord.", "people")
    assert item.reasoning == "The text tells of the fjord."
    assert "cooling water comes from the fjord" in item.evidence and item.context.startswith("The reactor")


def test_an_answer_that_the_text_does_not_tell_is_unanswerable(tmp_path: Path) -> None:
    (item,) = read(tmp_path, GOOD | {"question": "Who paid?", "answer": "The text does not say who paid for it."})
    assert isinstance(item, QAItem) and (item.kind, item.evidence, item.reasoning) == ("unanswerable", "", "")


def test_everything_else_is_dropped_and_counted(tmp_path: Path) -> None:
    found = read(
        tmp_path,
        GOOD,
        GOOD | {"question": "WHERE does the water come from?"},
        GOOD | {"rating": "down"},
        GOOD | {"rating": None},
        GOOD | {"question": " "},
        GOOD | {"answer": 7},
        GOOD | {"context": ""},
        GOOD | {"source": ""},
        "no record",
    )
    reasons = [one.reason for one in found if isinstance(one, Drop)]
    assert reasons[:7] == [
        "duplicate",
        "rated_down",
        "no_rating",
        "no_question",
        "no_answer",
        "no_text",
        "no_paper",
    ]
    assert len(reasons) == 8 and len(found) == 9


def test_rated_turns_of_a_chat_are_taken_and_what_is_none_is_dropped(tmp_path: Path) -> None:
    rest = {key: GOOD[key] for key in ("context", "source", "rating")}
    share_gpt = [{"from": "human", "value": "Who?"}, {"from": "gpt", "value": "They."}]
    share_gpt += [{"from": "human", "value": GOOD["question"]}, {"from": "gpt", "value": GOOD["answer"]}]
    alone = [{"role": "assistant", "content": "Hello."}]
    found = read(
        tmp_path,
        rest | {"conversations": share_gpt},
        rest | {"messages": [{"role": "user", "content": "Who?"}, {"role": "assistant", "content": None}]},
        rest | {"messages": alone},
        {"messages": [{"role": "user", "content": "Who?"}, {"role": "assistant", "content": "We."}]},
    )
    first = found[0]
    assert isinstance(first, QAItem) and (first.question, first.answer) == (GOOD["question"], GOOD["answer"])
    assert [one.reason for one in found if isinstance(one, Drop)] == ["null_content", "no_question", "no_rating"]
