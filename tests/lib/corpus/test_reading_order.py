"""Columns are read one after the other, whatever order a PDF was written in."""

import pymupdf
import pytest

from stages.lib.corpus.pdf import Page, read_pages
from tests.made_pdf import lined_pdf


def read(*pages: list[tuple[float, float, str]], rotation: int = 0) -> list[Page]:
    found = list(read_pages(lined_pdf(*pages, rotation=rotation)))
    assert all(isinstance(page, Page) for page in found)
    return found  # type: ignore[return-value]


def rows(columns: list[float], count: int, top: float = 100) -> list[tuple[float, float, str]]:
    """Lines written row by row, across the columns."""
    return [
        (x, top + 14 * row, f"column {number} line {row} has words")
        for row in range(count)
        for number, x in enumerate(columns)
    ]


@pytest.mark.parametrize("columns", [[72.0, 320.0], [40.0, 220.0, 400.0]])
def test_columns_written_across_are_read_down(columns: list[float]) -> None:
    text = read(rows(columns, 12))[0].text
    places = [text.index(f"column {number} line {row} ") for number in range(len(columns)) for row in range(12)]
    assert places == sorted(places)


def test_a_title_over_both_columns_comes_first_and_a_wide_line_parts_them() -> None:
    title = (72.0, 60.0, "A title that is written over both of the columns and therefore crosses the gutter")
    middle = (72.0, 290.0, "A wide caption that stands between two parts of both columns and crosses the gutter")
    lines = [
        *rows([72, 320], 12),
        middle,
        *[(x, y, text.replace("column", "later")) for x, y, text in rows([72, 320], 8, 310)],
    ]
    text = read([*lines, title])[0].text
    order = ["A title", "column 0 line 11", "column 1 line 0 ", "A wide caption", "later 0 line 7", "later 1 line 0 "]
    assert [text.index(part) for part in order] == sorted(text.index(part) for part in order)


def test_one_column_with_a_table_keeps_the_order_of_the_file() -> None:
    wide = "of a page that is written in one single column from side to side"
    prose = [(72.0, 80.0 + 14 * i, f"line {i} {wide}") for i in range(20)]
    xs = [72.0, 320.0]
    table = [(x, 400.0 + 14 * row, f"cell {row} {number}") for row in range(4) for number, x in enumerate(xs)]
    text = read([*prose, *table])[0].text
    places = [text.index(f"cell {row} {number}") for row in range(4) for number in range(2)]
    assert places == sorted(places)


def test_few_short_lines_side_by_side_are_no_columns() -> None:
    lines = [
        (72.0, 80.0, "Ann Author"),
        (320.0, 80.0, "Bob Writer"),
        (72.0, 94.0, "ann@a.org"),
        (320.0, 94.0, "bob@b.org"),
    ]
    assert read(lines)[0].text.split() == "Ann Author Bob Writer ann@a.org bob@b.org".split()


@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
def test_every_word_has_its_box_on_the_page_as_it_is_shown(rotation: int) -> None:
    content = lined_pdf(rows([72, 320], 6), rotation=rotation)
    page = read_pages(content)[0]
    assert isinstance(page, Page)
    with pymupdf.open(stream=content) as document:
        shown = document[0]
        assert (page.width, page.height) == (shown.rect.width, shown.rect.height)
        for word in page.words:
            expected = [
                tuple(pymupdf.Rect(found[:4]) * shown.rotation_matrix)
                for found in shown.get_text("words")
                if found[4] == page.text[word.start : word.end]
            ]
            assert any(word.box == pytest.approx(box, abs=0.01) for box in expected)
            assert 0 <= word.box[0] < word.box[2] <= page.width and 0 <= word.box[1] < word.box[3] <= page.height


def test_words_cover_the_visible_text_once_and_in_order() -> None:
    page = read(rows([72, 320], 9))[0]
    assert "".join(page.text[word.start : word.end] for word in page.words) == "".join(page.text.split())
    assert [word.start for word in page.words] == sorted(word.start for word in page.words)
