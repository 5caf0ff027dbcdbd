"""PDFs that are made here, broken ones, and (opt-in) a real one against its ground truth."""

import os
import re
from collections import Counter
from difflib import SequenceMatcher
from pathlib import Path

import pymupdf
import pytest

from stages.lib.corpus.files import FilesSource, read_files
from stages.lib.corpus.pdf import Page, pdf_text, read_pages
from stages.lib.reading.documents import BrokenInputError, Document, Drop


class OddError(Exception):
    """As MuPDF's own: of no kind that Python knows."""


def make_pdf(path: Path, *pages: str, **options: object) -> Path:
    document = pymupdf.open()
    for text in pages:
        page = document.new_page()
        for i, paragraph in enumerate(text.split("\n\n")):
            page.insert_text((72, 72 + 60 * i), paragraph)
    document.save(path, **options)
    return path


def test_page_and_paragraph_breaks_are_blank_lines(tmp_path: Path) -> None:
    path = make_pdf(tmp_path / "a.pdf", "First page.\n\nIts second paragraph.", "Second page.", "")
    assert [page.text for page in read_pages(path) if isinstance(page, Page)] == [
        "First page.\n\nIts second paragraph.",
        "Second page.",
        "",
    ]
    assert pdf_text(path, 1000) == "First page.\n\nIts second paragraph.\n\nSecond page."


def test_encrypted_broken_empty_and_long_pdfs_are_drops(tmp_path: Path) -> None:
    make_pdf(tmp_path / "a_good.pdf", "Readable.")
    make_pdf(
        tmp_path / "b_locked.pdf", "Secret.", encryption=pymupdf.PDF_ENCRYPT_AES_256, user_pw="user", owner_pw="owner"
    )
    (tmp_path / "c_garbage.pdf").write_bytes(b"%PDF-1.7 and then nothing of the kind")
    (tmp_path / "d_nothing.pdf").write_bytes(b"")
    make_pdf(tmp_path / "e_scan.pdf", "")
    make_pdf(tmp_path / "f_long.pdf", *["A page of text."] * 9)
    items = list(read_files(FilesSource(kind="files", patterns=[f"{tmp_path}/*.pdf"]), 100, lambda _: None))
    assert items[0] == Document(f"{tmp_path}/a_good.pdf", "Readable.")
    assert [item.reason for item in items if isinstance(item, Drop)] == [
        "encrypted_pdf",
        "broken_pdf",
        "broken_pdf",
        "empty",
        "too_long",
    ]


@pytest.mark.parametrize("error", [RuntimeError, ValueError, KeyError, AttributeError, OddError])
@pytest.mark.parametrize("place", ["open", "count", "page", "words"])
def test_whatever_the_library_raises_is_a_drop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, error: type[Exception]
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise error("broken")

    make_pdf(tmp_path / "a.pdf", "First page.", "Second page.")
    (tmp_path / "b.txt").write_text("Readable.")
    target = {"open": (pymupdf, "open"), "count": (pymupdf.Document, "__len__")}
    target |= {"page": (pymupdf.Document, "__getitem__"), "words": (pymupdf.Page, "get_text")}
    monkeypatch.setattr(*target[place], fails)
    drop, document = read_files(FilesSource(kind="files", patterns=[f"{tmp_path}/*"]), 100, lambda _: None)
    assert isinstance(drop, Drop) and drop.reason == "broken_pdf" and "broken" in drop.detail
    assert document == Document(f"{tmp_path}/b.txt", "Readable.")


def test_a_damaged_page_tree_is_a_drop(tmp_path: Path) -> None:
    good = make_pdf(tmp_path / "a.pdf", *["A page of text."] * 5).read_bytes()
    for number, content in enumerate(
        [
            good[: len(good) // 2],
            good.replace(b"/Kids", b"/Kidz"),
            good.replace(b"/Page", b"/Pxge"),
            good[::-1],
            b"\0" * 99,
        ]
    ):
        (tmp_path / f"b{number}.pdf").write_bytes(content)
    items = list(read_files(FilesSource(kind="files", patterns=[f"{tmp_path}/*.pdf"]), 1000, lambda _: None))
    assert len(items) == 6
    assert isinstance(items[0], Document)
    assert all(item.reason in ("broken_pdf", "empty") for item in items[1:] if isinstance(item, Drop))
    assert sum(isinstance(item, Drop) for item in items) >= 4


def test_a_page_that_cannot_be_read_is_a_drop_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_pdf(tmp_path / "a.pdf", "First page.", "Second page.", "Third page.")
    whole = pymupdf.Page.get_text

    def fails(page: pymupdf.Page, *args: object, **named: object) -> object:
        if page.number == 1:
            raise OddError("broken stream")
        return whole(page, *args, **named)

    monkeypatch.setattr(pymupdf.Page, "get_text", fails)
    document, drop = read_files(FilesSource(kind="files", patterns=[f"{tmp_path}/*"]), 100, lambda _: None)
    assert document == Document(f"{tmp_path}/a.pdf", "First page.\n\nThird page.")
    assert isinstance(drop, Drop)
    assert (drop.reason, drop.source.startswith(f"{tmp_path}/a.pdf page 2: ")) == ("broken_page", True)


def test_a_word_that_a_page_end_broke_is_whole(tmp_path: Path) -> None:
    path = make_pdf(tmp_path / "a.pdf", "The improvement is an improve-", "ment of the model, it", "Goes on.")
    assert pdf_text(path, 1000) == "The improvement is an improvement\nof the model, it\n\nGoes on."


def test_the_error_names_the_reason(tmp_path: Path) -> None:
    path = make_pdf(tmp_path / "a.pdf", "x" * 30)
    with pytest.raises(BrokenInputError, match="too_long: over 10 characters on the first 1 pages"):
        pdf_text(path, 10)


@pytest.mark.real_data
@pytest.mark.skipif("LLMILL_REAL_DATA" not in os.environ, reason="LLMILL_REAL_DATA is not set")
def test_the_words_of_a_real_pdf_are_found() -> None:
    folder = Path(os.environ["LLMILL_REAL_DATA"]) / "pdf"
    truth = Counter(re.findall(r"\w+", (folder / "multi_page.groundtruth.md").read_text().lower()))
    found = Counter(re.findall(r"\w+", pdf_text(folder / "multi_page.pdf", 1_000_000).lower()))
    share = (truth & found).total() / truth.total()
    assert share >= 0.99, share  # 0.9985 seen
    for name in ("DeepSeek_R1.pdf", "latex-multicolumn.pdf", "pdflatex-4-pages.pdf"):
        assert len(pdf_text(folder / name, 1_000_000)) > 5000


def test_ligatures_are_letters_and_their_words_keep_their_boxes(tmp_path: Path) -> None:
    document = pymupdf.open()
    document.new_page().insert_htmlbox((72, 72, 400, 200), "Our ﬁrst eﬃcient ﬂow")
    content = bytes(document.tobytes())
    (page,) = read_pages(content)
    assert isinstance(page, Page)
    assert page.text == "Our first efficient flow"
    assert [page.text[word.start : word.end] for word in page.words] == ["Our", "first", "efficient", "flow"]
    raw = [word[:4] for word in pymupdf.open(stream=content)[0].get_text("words")]
    assert [word.box for word in page.words] == raw


@pytest.mark.real_data
@pytest.mark.skipif("LLMILL_REAL_DATA" not in os.environ, reason="LLMILL_REAL_DATA is not set")
def test_real_pdfs_are_text_as_a_person_reads_it() -> None:
    folder = Path(os.environ["LLMILL_REAL_DATA"]) / "pdf"
    for file in sorted(folder.glob("*.pdf")):
        text = pdf_text(file, 1_000_000)
        assert not re.findall(r"\w[-\u00ad]\n+[a-z]", text), file  # 38, 30, 1 and 0 with words broken before
        assert not re.findall("[\ufb00-\ufb06\0\u00ad]", text), file
        pages = [page for page in read_pages(file) if isinstance(page, Page)]
        numbers = [page.number for page in pages if page.text.rstrip().endswith(f"\n\n{page.number}")]
        assert not numbers, (file, numbers)
        for page in pages:
            assert all(page.text[word.start : word.end].strip() for word in page.words)
            assert "".join(page.text.split()) == "".join(page.text[word.start : word.end] for word in page.words)
    found = pdf_text(folder / "DeepSeek_R1.pdf", 1_000_000)
    for kept in ("open-source", "DeepSeek-R1-Distill-Qwen-32B", "larger-scale", "instruction-tuned", "preferences,"):
        assert kept in found
    truth = re.findall(r"[\w-]+", (folder / "multi_page.groundtruth.md").read_text().lower())
    words = re.findall(r"[\w-]+", pdf_text(folder / "multi_page.pdf", 1_000_000).lower())
    alike = SequenceMatcher(None, truth, words, autojunk=False).ratio()
    assert alike > 0.985, alike
