from stages.lib.chats.edge_cases import EdgeKind, draw, wanted_counts
from stages.lib.chats.qa_items import Kind, QAItem
from stages.lib.reading.documents import Drop

SHARES: dict[EdgeKind, float] = {"unanswerable": 0.2, "false_premise": 0.2, "true_premise": 0.1}


def item(name: str, kind: Kind, context: str = "text") -> QAItem:
    return QAItem(id=name, kind=kind, source="s", context=context, question="q", answer="a", made_by="rules")


def test_each_kind_gets_its_share_of_the_whole() -> None:
    items = [item(str(i), "selected") for i in range(50)]
    assert wanted_counts(items, SHARES) == {"unanswerable": 20, "false_premise": 20, "true_premise": 10}  # of 100
    assert wanted_counts([], SHARES) == dict.fromkeys(SHARES, 0)


def test_peoples_refusals_count_and_closed_book_questions_do_not() -> None:
    items = [item(str(i), "selected") for i in range(50)]
    items += [item(f"p{i}", "unanswerable") for i in range(15)] + [item(f"c{i}", "closed_book", "") for i in range(500)]
    assert wanted_counts(items, SHARES)["unanswerable"] == 5
    items += [item(f"m{i}", "unanswerable") for i in range(100)]
    assert wanted_counts(items, SHARES)["unanswerable"] == 0


def test_what_is_over_the_share_is_a_drop() -> None:
    found = draw([item(str(i), "unanswerable") for i in range(80)], 20)
    assert sum(isinstance(one, QAItem) for one in found) == 20
    assert {one.reason for one in found if isinstance(one, Drop)} == {"over_share"}


def test_the_draw_does_not_depend_on_the_order() -> None:
    found: list[QAItem | Drop] = [item(str(i), "unanswerable") for i in range(20)]
    names = {one.id for one in draw(found, 5) if isinstance(one, QAItem)}
    assert names == {one.id for one in draw(found[::-1], 5) if isinstance(one, QAItem)}
    assert len(names) == 5
    assert [isinstance(one, Drop) for one in draw([Drop("x", "why"), found[0]], 9)] == [True, False]
