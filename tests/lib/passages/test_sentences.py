"""Where sentences end."""

import pytest

from stages.lib.passages.sentences import sentences


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One. Two! Three? Four", ["One.", "Two!", "Three?", "Four"]),
        ("See Fig. 2 (Shao et al.). Then Sec. 3.1 ends.", ["See Fig. 2 (Shao et al.).", "Then Sec. 3.1 ends."]),
        ("The U.S. has it, e.g. Texas. J. Smith too.", ["The U.S. has it, e.g. Texas.", "J. Smith too."]),
        ("Er misst 3.5 Meter, z.B. hier. Größer ist keiner.", ["Er misst 3.5 Meter, z.B. hier.", "Größer ist keiner."]),
        ('He said "Stop." She went.', ['He said "Stop."', "She went."]),
        ("他来了。她走了！好", ["他来了。", "她走了！", "好"]),
        ("Head\n\nA sentence\nof two.\n\n• one\n• two", ["Head", "A sentence\nof two.", "• one", "• two"]),
        ("In the next block,\n\nit ends. Done.", ["In the next block,\n\nit ends.", "Done."]),
        ("", []),
        (" \n\n ", []),
    ],
)  # fmt: skip
def test_sentences(text: str, expected: list[str]) -> None:
    assert [text[start:end] for start, end in sentences(text)] == expected


def test_all_visible_characters_are_in_one_sentence() -> None:
    text = "A. b c! (D e.) F?\n\n1. one\n2. two … and so on. Ende"
    assert "".join("".join(text[start:end].split()) for start, end in sentences(text)) == "".join(text.split())
