"""PDFs that are made here, broken ones, and (opt-in) a real one against its ground truth."""

import os
import re
from collections import Counter
from pathlib import Path

import pymupdf
import pytest

from stages.lib.corpus.files import FilesSource, read_files
from stages.lib.corpus.pdf import Page, pdf_text, read_pages
from stages.lib.reading.documents import BrokenInputError, Document, Drop


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
