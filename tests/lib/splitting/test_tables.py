"""Tables: which are found, and that chunks keep their headers and their rows whole."""

import time

import pytest

from stages.lib.splitting.splitters import Splitter, split
from stages.lib.splitting.tables import Tables, find_tables

PIPES = "| Name | Default |\n|---|:--:|\n" + "".join(f"| option_{i} | {i}. it is |\n" for i in range(60))
BARE = "Name | Default\n--- | ---\n" + "".join(f"option_{i} | {i}\n" for i in range(60))
ORG = "| Name | Default |\n|------+---------|\n" + "".join(f"| option_{i} | {i} |\n" for i in range(60))
QUOTED = "".join(f"> {line}\n" for line in PIPES.splitlines())
GRID = "+------+---+\n| Name | N |\n+======+===+\n" + "".join(
    f"| opt{i:<3}| {i:<2}|\n| more |   |\n+------+---+\n" for i in range(60)
)
BOX = (
    "+------+---+\n| Name | N |\n+------+---+\n"
    + "".join(f"| opt{i:<3}| {i:<2}|\n" for i in range(60))
    + "+------+---+\n"
)
SIMPLE = "=====  ===\nName   N\n=====  ===\n" + "".join(f"opt{i:<3} {i}\n" for i in range(60)) + "=====  ===\n"
HTML = (
    "<table>\n<thead><tr><td>Name</td></tr></thead>\n<tbody>\n"
    + "<tr><td>one. two</td></tr>\n" * 60
    + "</tbody></table>"
)
HTML_HEAD = '<TABLE class="x"><tr><th>Name</th></tr>' + "<tr><td>one. two</td></tr>" * 60 + "</TABLE>"
KINDS = {
    "pipes": (PIPES, 2),
    "bare pipes": (BARE, 2),
    "org": (ORG, 2),
    "quoted": (QUOTED, 2),
    "grid": (GRID, 3),
    "box": (BOX, 3),
    "simple": (SIMPLE, 3),
}


def chunks(text: str, splitter: Splitter = "recursive", chunk_chars: int = 300, overlap: float = 0.1) -> list[str]:
    tables = Tables(text, chunk_chars)
    found = []
    for start, end in split(text, splitter, chunk_chars, overlap, tables):
        first, last = tables.header(start) or (0, 0)
        found.append(text[first:last] + text[start:end])
        assert len(found[-1]) <= chunk_chars
    return found


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("splitter", ["recursive", "markdown"])
def test_every_chunk_of_a_table_has_its_header_and_whole_rows(kind: str, splitter: Splitter) -> None:
    table, lines = KINDS[kind]
    text = f"# T\n\nWords ahead of it.\n\n{table}\nWords behind."
    header = "".join(table.splitlines(keepends=True)[:lines])
    rows = set(table.splitlines())
    found = chunks(text, splitter)
    assert len(found) > 2
    for chunk in found[1:]:
        assert chunk.startswith(header)
    inside = [line for chunk in found for line in chunk.splitlines() if line not in ("# T", "")]
    assert set(inside) == rows | {"Words ahead of it.", "Words behind."}


@pytest.mark.parametrize("table", [HTML, HTML_HEAD])
def test_every_chunk_of_an_html_table_has_its_header_and_whole_rows(table: str) -> None:
    found = chunks(f"Words.\n\n{table}\n\nWords behind.")
    assert len(found) > 4
    for chunk in found[1:]:
        assert chunk.lower().startswith("<table") and "Name</" in chunk
        assert chunk.count("<tr>") == chunk.count("</tr>")


def test_the_chars_splitter_keeps_headers_too() -> None:
    assert all("| Name | Default |\n|---|" in chunk for chunk in chunks(PIPES, "chars"))


def test_a_header_that_takes_over_a_third_of_a_chunk_is_left_off() -> None:
    assert all("| Name |" not in chunk for chunk in chunks(PIPES, chunk_chars=60)[1:])
    assert all("| Name |" in chunk for chunk in chunks(PIPES, chunk_chars=90)[1:])


def test_a_table_that_fits_moves_into_the_next_chunk_whole() -> None:
    table = "".join(PIPES.splitlines(keepends=True)[:6])
    found = chunks("Some words. " * 15 + "\n\n" + table + "\nMore words. " * 20)
    assert sum(table.strip() in chunk for chunk in found) >= 1
    assert all(chunk.count("| Name |") == (1 if "option_" in chunk else 0) for chunk in found)


def test_a_header_never_stands_without_a_row() -> None:
    for ahead in range(150, 300, 7):
        for chunk in chunks("w" * ahead + "\n\n" + PIPES):
            assert "|---|" not in chunk or "option_" in chunk


def test_what_is_no_table_has_no_header() -> None:
    for text in (
        "a | b\n\n--- | ---\n1 | 2\n",  # a blank line between
        "| a | b |\n|---|\n| 1 | 2 |\n",  # other numbers of cells
        "| a | b |\n|---|---|\n\ntext",  # no rows
        "Title\n-----\ntext\n",
        "==== ====\n1    2\n==== ====\n",  # without a header
        "+---+\n| 1 |\n+---+\n| 2 |\n+---+\n| 3 |\n+---+\n",
        "<table><tr><td>layout</td></tr><tr><td>x</td></tr></table>",
    ):
        assert find_tables(text) == []


def test_two_tables_have_their_own_headers() -> None:
    text = PIPES + "\n" + PIPES.replace("Name", "Key") + "\n" + SIMPLE
    found = find_tables(text)
    assert [text[table.start : table.body].split()[1] for table in found[:2]] == ["Name", "Key"]
    assert len(found) == 3
    assert all(len(table.rows) == 60 for table in found)


@pytest.mark.parametrize(
    "unit",
    ["|---|\n", "| a |\n", "== ==\n", "+--+\n", "+==+\n", "<table>", "</tr>", "<thead>", "> ", "-|", "   ", "+-"],
)
def test_time_is_linear(unit: str) -> None:
    def seconds(size: int) -> float:
        text = unit * (size // len(unit))
        start = time.process_time()
        find_tables(text)
        return time.process_time() - start

    assert seconds(800_000) < 24 * seconds(100_000) + 0.5
