from typing import Any

import pytest

from stages.lib.core.telling import Tell, check_tell, title_of, told, told_text

CHUNK = {"id": "d-7", "source": "lease.md", "heading": "Notice > Time limits", "text": "It is three months."}


@pytest.mark.parametrize(
    ("tell", "expected"),
    [
        ([], ""),
        (["source"], "Source: lease.md\n\n"),
        (["heading"], "Heading: Notice > Time limits\n\n"),
        (["source", "heading"], "Source: lease.md\nHeading: Notice > Time limits\n\n"),
        (["heading", "source"], "Heading: Notice > Time limits\nSource: lease.md\n\n"),
    ],
)
def test_what_stands_before_a_text(tell: list[Tell], expected: str) -> None:
    assert told(CHUNK, tell) == expected and told_text(CHUNK, tell) == expected + "It is three months."


def test_a_chunk_without_headings_has_no_empty_line_of_them() -> None:
    bare = CHUNK | {"heading": ""}
    assert told_text(bare, ["heading"]) == "It is three months."
    assert told(bare, ["source", "heading"]) == "Source: lease.md\n\n"
    assert (title_of(CHUNK), title_of(bare)) == ("Notice > Time limits", "lease.md")


@pytest.mark.parametrize("value", [None, "source", ["author"], ["source", "source"], [["source"]]])
def test_what_cannot_be_told_names_the_param(value: Any) -> None:
    with pytest.raises(ValueError, match=r"params\.yaml: embed\.tell: expected a list of \['source', 'heading'\]"):
        check_tell(value, "embed.tell")
    assert check_tell(["heading", "source"], "embed.tell") == ["heading", "source"]
