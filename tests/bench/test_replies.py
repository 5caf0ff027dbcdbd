"""The table of bench.replies."""

from bench.replies import Reply, correction_sets, old_corrects, old_refuses, refusal_sets, refuses, row, wilson


def test_wilsons_interval() -> None:
    assert wilson(0, 0) == ""
    assert wilson(10, 10) == "1.000 [0.722, 1.000]"


def test_a_row_counts_what_was_found() -> None:
    cells = row("set", "reader", [True, True, False, False], [True, False, True, False]).split(" | ")
    assert [cell[:5] for cell in cells[4:7]] == ["0.500", "0.500", "0.500"] and cells[7].startswith("0.500")


def test_the_rules_of_before_miss_what_the_reader_reads() -> None:
    reply = Reply("What is r?", "Nothing here says what r is.", True)
    assert refuses(reply) and not old_refuses(reply)
    assert old_corrects(Reply("", "No, it is 16, not 8.", False, values=("8", "16")))


def test_the_sets_in_the_repository_are_there() -> None:
    assert [name for name, _ in refusal_sets(None, None)] == ["written later"]
    assert [name for name, _ in correction_sets(None)] == ["written later"]
