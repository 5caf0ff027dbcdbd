from stages.lib.chats.pairing import Texts, pair_unanswerable
from stages.lib.chats.qa_items import QAItem
from stages.lib.english.words import content_words
from stages.lib.reading.documents import Drop

REFUSALS = "The text does not say {asked}."


def item(name: str, context: str, question: str, answer: str) -> QAItem:
    fields = {"kind": "selected", "made_by": "tiny", "source": name, "context": context}
    return QAItem(id=name, question=question, answer=answer, **fields)  # type: ignore[arg-type]


ITEMS = [
    item("a", "The sampler draws seeds. The rank of LoRA is eight.", "What is the rank of LoRA?", "eight"),
    item("b", "The sampler draws seeds. LoRA has a rank and a scale.", "What has LoRA?", "a rank and a scale"),
    item(
        "c",
        "The sampler draws seeds. Eight workers load batches of LoRA's rank.",
        "Who loads batches?",
        "Eight workers",
    ),
    item("d", "The sampler draws seeds. Weather is cold.", "How is the weather?", "cold"),
]
GROUPS = {name: name for name in "abcd"}


def test_the_text_holds_no_word_of_the_answer_and_is_of_another_group() -> None:
    texts = Texts(ITEMS, GROUPS)
    for one in ITEMS:
        found = pair_unanswerable(one, texts, GROUPS[one.source], REFUSALS)
        assert isinstance(found, QAItem)
        assert found.context != one.context
        assert not content_words(found.context) & texts.telling_words(one)
        assert (found.kind, found.source, found.made_by) == ("unanswerable", one.source, "pairing")
        assert (found.question, found.question_of) == (one.question, one.id)
    rank = pair_unanswerable(ITEMS[0], texts, "a", REFUSALS)
    assert isinstance(rank, QAItem)
    assert rank.answer == "The text does not say what the rank of LoRA is."
    assert "Eight" not in rank.context


def test_the_own_group_is_never_a_partner() -> None:
    together = dict.fromkeys("abcd", "a")
    found = pair_unanswerable(ITEMS[0], Texts(ITEMS, together), "a", REFUSALS)
    assert isinstance(found, Drop)
    assert found.reason == "no_text_without_answer"


def test_an_answer_that_adds_nothing_to_its_question_has_no_partner() -> None:
    vague = item("e", "Rank it is.", "Is it the rank?", "The rank it is")
    found = pair_unanswerable(vague, Texts([*ITEMS, vague], GROUPS | {"e": "e"}), "e", REFUSALS)
    assert isinstance(found, Drop)
    assert found.reason == "nothing_to_look_for"


def test_the_pairing_does_not_depend_on_the_order() -> None:
    texts = Texts(ITEMS, GROUPS), Texts(ITEMS[::-1], GROUPS)
    for one in ITEMS:
        first, second = (pair_unanswerable(one, side, one.source, REFUSALS) for side in texts)
        assert first == second


def test_the_text_is_one_of_those_closest_to_the_question() -> None:
    """Twelve texts lack the answer: six speak of what is asked, six of the weather."""
    near = [item(f"near{i}", f"The lantern of harbour {i} burns oil.", "q", "a") for i in range(6)]
    far = [item(f"far{i}", f"Weather number {i} is cold.", "q", "a") for i in range(6)]
    for number in range(8):
        asked = item(f"asked{number}", "", "What does the lantern burn in the harbour?", "seven barrels")
        items = [*near, *far, asked]
        texts = Texts(items, {one.source: one.source for one in items})
        found = pair_unanswerable(asked, texts, asked.source, REFUSALS)
        assert isinstance(found, QAItem)
        assert "lantern" in found.context
