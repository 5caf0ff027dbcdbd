"""Running heads and page numbers go where they repeat; text never does."""

from collections.abc import Callable, Sequence

import pytest

from stages.lib.corpus.pdf import Page, read_pages
from tests.made_pdf import lined_pdf

Lines = list[tuple[float, float, str]]
BODY = ["The first line of this page's text goes here and", "on in a second line, and then it is at its end."]


def page(head: Sequence[tuple[float, str]] = (), foot: str = "", body: Sequence[str] = BODY) -> Lines:
    """Heads at (x, text) high up, a foot in the middle below, and the body between."""
    lines = [(x, 40.0, text) for x, text in head] + [(72.0, 150.0 + 14 * i, line) for i, line in enumerate(body)]
    return lines + ([(300.0, 800.0, foot)] if foot else [])


def texts(pages: Sequence[Lines]) -> list[str]:
    found = [read for read in read_pages(lined_pdf(*pages)) if isinstance(read, Page)]
    for read in found:
        assert [read.text[word.start : word.end] for word in read.words] == read.text.split()
    return [read.text for read in found]


@pytest.mark.parametrize("count", [2, 3, 8])
@pytest.mark.parametrize(
    ("head", "foot"),
    [
        (lambda n: "A paper on things", lambda n: f"{n}"),
        (lambda n: f"A paper on things, page {n}", lambda n: ""),
        (lambda n: "DRAFT 2024-05-01", lambda n: f"Page {n} of 8"),
        (lambda n: "Vertraulich", lambda n: f"- {n + 17} -"),
        (lambda n: "Confidential", lambda n: f"Seite {n}/8"),
        (lambda n: "Preface", lambda n: ["i", "ii", "iii", "iv", "v", "vi", "vii", "viii"][n - 1]),
    ],
)
def test_what_repeats_at_the_edges_is_out(count: int, head: Callable[[int], str], foot: Callable[[int], str]) -> None:
    pages = [page([(72, head(n))], foot(n)) for n in range(1, count + 1)]
    assert [text.split() for text in texts(pages)] == [" ".join(BODY).split()] * count


def test_left_and_right_pages_have_their_own_heads_of_several_parts() -> None:
    pages = [
        page([(72, f"{n}"), (300, "J. Doe")] if n % 2 else [(250, "Of things"), (520, f"{n}")]) for n in range(1, 9)
    ]
    assert all(
        "Doe" not in text and "things" not in text and text.split() == " ".join(BODY).split() for text in texts(pages)
    )


def test_one_page_keeps_all_it_has() -> None:
    (text,) = texts([page([(72, "A title")], "1")])
    assert text.startswith("A title") and text.endswith("1")


def test_text_at_the_edge_stays() -> None:
    same = "It is the same sentence on all pages, but of the text."
    stay = {
        "no gap": [page(body=[same, *BODY]) for _ in range(5)],
        "nothing else": [page(body=[same]) for _ in range(5)],
        "head and foot alone": [page([(72, "A sheet")], "of paper", body=[]) for _ in range(5)],
        "different": [page([(72, f"The {name} chapter")]) for name in ("first", "second", "third", "fourth")],
        "twice in ten pages": [
            page([(72, "Example" if n in (2, 8) else f"Part {'abcdefghij'[n]}")]) for n in range(10)
        ],
        "a year is no page": [page([], f"{year}") for year in (1999, 1850, 2020, 1700)],
        "a number within": [page(body=[*BODY, f"{n}", *BODY]) for n in range(1, 6)],
    }
    for kind, pages in stay.items():
        for lines, text in zip(pages, texts(pages), strict=True):
            assert text.split() == " ".join(part for _, _, part in lines).split(), kind


def test_a_large_heading_that_counts_stays() -> None:
    import pymupdf

    document = pymupdf.open()
    for n in range(1, 6):
        made = document.new_page()
        made.insert_text((72, 60), f"Step {n}", fontsize=20)
        for i, line in enumerate(BODY):
            made.insert_text((72, 120 + 14 * i), line, fontsize=10)
    found = [read for read in read_pages(bytes(document.tobytes())) if isinstance(read, Page)]
    assert [read.text.split()[:2] for read in found] == [["Step", f"{n}"] for n in range(1, 6)]
