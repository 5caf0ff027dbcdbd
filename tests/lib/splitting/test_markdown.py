"""Headings and fenced code: what is one, and that chunks respect both."""

from stages.lib.splitting.markdown import scan_markdown
from stages.lib.splitting.splitters import split


def chunks(text: str, chunk_chars: int, overlap_fraction: float = 0.1) -> list[str]:
    return [text[start:end] for start, end in split(text, "markdown", chunk_chars, overlap_fraction)]


def test_headings_are_found_but_not_inside_fences() -> None:
    text = (
        "# One\n\n#hashtag\n```sh\n# comment\n```\n### Three #\nTitle\n=====\n\n---\n  ## Two\n```\n# open to the end"
    )
    headings, fences = scan_markdown(text)
    assert [text[h:].partition("\n")[0] for h in headings] == ["# One", "### Three #", "Title", "  ## Two"]
    assert [text[a:b] for a, b in fences] == ["```sh\n# comment\n```", "```\n# open to the end"]


def test_a_fence_closes_with_as_many_of_the_same_characters_and_nothing_else() -> None:
    text = "````\n```\n~~~~\n```` no\n````\n~~~\nx\n~~~~~\n```inline``` code\n"
    _, fences = scan_markdown(text)
    assert [text[a:b] for a, b in fences] == ["````\n```\n~~~~\n```` no\n````", "~~~\nx\n~~~~~"]


def test_an_underline_after_a_fence_or_a_blank_line_makes_no_heading() -> None:
    assert scan_markdown("```\nx\n```\n---\n\n===\n---\n")[0] == []
    assert scan_markdown("---\ntitle: x\n---\n\nTitle\n---\n")[0] == [18]  # front matter is no heading


def test_chunks_begin_at_headings_without_overlap() -> None:
    text = "\n\n".join(f"## Section {i}\n\n" + f"Sentence {i} of the section. " * 5 for i in range(12))
    for chunk in chunks(text, 320):
        assert chunk.startswith("## Section")
        assert chunk.endswith(".")


def test_an_overlap_does_not_reach_back_over_a_heading() -> None:
    text = "word " * 60 + "\n# H\n" + "text " * 200
    for chunk in chunks(text, 320, 0.3):
        assert "# H" not in chunk or chunk.startswith("# H")


def test_fenced_code_that_fits_stays_whole() -> None:
    code = "```python\n" + "\n".join(f"call_number({i})" for i in range(15)) + "\n```"
    text = "\n\n".join(f"Some words before the code number {i}. " * (i % 5 + 1) + "\n" + code for i in range(20))
    assert len(code) < 400
    for chunk in chunks(text, 400, 0.2):
        assert chunk.count("```") % 2 == 0
    assert sum(code in chunk for chunk in chunks(text, 400, 0.2)) >= 20


def test_fenced_code_longer_than_a_chunk_is_cut_at_lines() -> None:
    code = "```python\n" + "\n".join(f"call_number({i})" for i in range(200)) + "\n```"
    for chunk in chunks(code, 300, 0.0)[:-1]:
        assert chunk.endswith(")")
