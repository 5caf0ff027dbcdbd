"""Spam collections as people have them: encodings, delimiters, headers, quotes, labels."""

import json
from pathlib import Path

import pytest

from stages.lib.instructions.spam_files import labelled_messages
from stages.lib.reading.documents import Drop
from tests.lib.instructions.reading_sources import read_file

Q = "Is this message spam or ham?\n\n"


def read(path: Path, content: str | bytes) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """(message, label) of each example, and the drops."""
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    kept, dropped = read_file("spam", path)
    assert all(prompt.startswith(Q) for prompt, _ in kept)
    return [(prompt.removeprefix(Q), answer) for prompt, answer in kept], dropped


def test_kaggles_file(tmp_path: Path) -> None:
    """Latin-1 bytes, quoted commas, and what a comma cut off in the columns without a name."""
    content = (
        'v1,v2,,,\r\nham,"Go until jurong point, crazy..",,,\r\nspam,Free entry \xa31000,,,\r\n'
        'spam,"text ""MIX"" to 85069. FML"," PO Box 5249"," MK17 92H. 450Ppw 16""",\r\n'
        'ham,"two\nlines ""x""",,,\r\nham,I\x92m,,,\r\nham,,,,\r\nspam,5" pipe,,,\r\n'
    ).encode("latin-1")
    kept, dropped = read(tmp_path / "spam.csv", content)
    assert kept == [
        ("Go until jurong point, crazy..", "ham"),
        ("Free entry £1000", "spam"),
        ('text "MIX" to 85069. FML, PO Box 5249, MK17 92H. 450Ppw 16"', "spam"),
        ('two\nlines "x"', "ham"),
        ("I’m", "ham"),
        ('5" pipe', "spam"),
    ]
    assert dropped == [(":8", "no_message")]


def test_the_collections_lines(tmp_path: Path) -> None:
    content = (
        b'ham\tOk lar... "Joking" wif u\r\nspam\tWIN \xa31000 now\nHam\thello\nham\t\nspam  no tab\n'
        b"ham\tI &lt;#&gt; min\xe2\x80\xa8next\nham\t\"quoted\nspam\ta\tb\nham\tT&C's ?a=1&copy=2 &#163;5\n"
        b'ham\t"all quoted"\nham\t"he said ""hi"""\n'
    )
    kept, dropped = read(tmp_path / "sms.tsv", content)
    assert kept == [
        ('Ok lar... "Joking" wif u', "ham"),
        ("WIN £1000 now", "spam"),
        ("hello", "ham"),
        ("I <#> min\u2028next", "ham"),
        ('"quoted', "ham"),
        ("a\tb", "spam"),
        ("T&C's ?a=1&copy=2 £5", "ham"),
        ('"all quoted"', "ham"),
        ('he said "hi"', "ham"),
    ]
    assert dropped == [(":4", "no_message"), (":5", "no_label")]


@pytest.mark.parametrize(
    "content",
    [
        "label,text\nham,\"a, b\"\nSPAM,c\n",
        "Category,Message\nham,\"a, b\"\nspam,c\n",
        "type;text\nham;a, b\nspam;c\n",
        "\ufefftype\ttext\r\nham\ta, b\r\nspam\tc\r\n",
        "text,label\n\"a, b\",ham\nc,spam\n",
        "text,label\na, b,ham\nc,spam\n",  # a comma without quotes
        ",label,text,label_num\n605,ham,\"a, b\",0\n606,spam,c,1\n",  # Kaggle's spam_ham_dataset.csv
        "text,spam\n\"a, b\",0\nc,1\n",  # Kaggle's emails.csv: the column says what 1 is
        "Message ID,Subject,Message,Spam/Ham,Date\n0,x,\"a, b\",ham,1999\n1,y,c,spam,1999\n",  # Enron
        "ham,\"a, b\"\nspam,c\n",
        "ham,a, b\nspam,c\n",
        "ham;a, b\nspam;c\n",
        "\"a, b\",ham\nc,spam\n",
        "a, b\tham\nc\tspam\n",
        "\"ham\"\t\"a, b\"\n\"spam\"\t\"c\"\n".replace("\"a, b\"", "a, b").replace("\"c\"", "c"),
    ],
)  # fmt: skip
def test_headers_delimiters_and_the_order_of_columns(tmp_path: Path, content: str) -> None:
    assert read(tmp_path / "file.csv", content) == ([("a, b", "ham"), ("c", "spam")], [])


def test_several_lines_and_quotes_that_nothing_closes(tmp_path: Path) -> None:
    content = 'label,text\nham,"one\n\nham of it"\nham,"open\nspam,c\nham,"end'
    kept, dropped = read(tmp_path / "file.csv", content)
    assert kept == [("one\n\nham of it", "ham"), ('"open', "ham"), ("c", "spam"), ('"end', "ham")]
    assert dropped == []
    kept, dropped = read(tmp_path / "file.csv", 'text,label\n"one\ntwo",ham\nc,spam\n')
    assert kept == [("one\ntwo", "ham"), ("c", "spam")]


def test_labels_that_are_neither_are_named(tmp_path: Path) -> None:
    file = tmp_path / "file.csv"
    file.write_text("label,text\n1,a\nphishing,b\nham,c\n")
    drops = [item for _, item in labelled_messages(file) if isinstance(item, Drop)]
    assert [(drop.reason, drop.detail) for drop in drops] == [
        ("no_label", "expected ham or spam under 'label', found '1'"),
        ("no_label", "expected ham or spam under 'label', found 'phishing'"),
    ]


def test_another_header_is_told_with_what_was_looked_for(tmp_path: Path) -> None:
    file = tmp_path / "file.csv"
    file.write_text("art,words\n0,a\n1,b\n")
    drops = [item for _, item in labelled_messages(file) if isinstance(item, Drop)]
    assert [drop.reason for drop in drops] == ["no_label"] * 3
    assert drops[0].detail.startswith("looked for the keys v1, label,")
    assert drops[0].detail.endswith("; found art,words")


def test_utf16_and_mixed_up_lines(tmp_path: Path) -> None:
    kept, _ = read(tmp_path / "a.tsv", "ham\té\r\nspam\t日本\r\n".encode("utf-16"))
    assert kept == [("é", "ham"), ("日本", "spam")]
    kept, dropped = read(tmp_path / "a.tsv", "ham\té\nspam\t日本\nham\té".encode() + b"\xff\nham\tx\x81\n")
    assert kept == [("é", "ham"), ("日本", "spam"), ("x\x81", "ham")]
    assert dropped == [(":3", "invalid_utf8")]
    kept, dropped = read(tmp_path / "a.tsv", b"ham\tCin\xcc\xa9ma\nspam\t\xa35\nham\t\x80 10\n")  # two letters of 1252
    assert (kept, dropped) == ([("CinÌ©ma", "ham"), ("£5", "spam"), ("€ 10", "ham")], [])


def test_records_of_messages(tmp_path: Path) -> None:
    lines = [
        {"label": "ham", "sms": "a &amp; b"},
        {"text": "c", "label": 1, "label_text": "spam"},
        {"sms": "d", "label": 0},
        {"sms": None, "label": "ham"},
        {"words": "e", "label": "ham"},
    ]
    kept, dropped = read(tmp_path / "a.jsonl", "\n".join(map(json.dumps, lines)))
    assert kept == [("a & b", "ham"), ("c", "spam")]
    assert dropped == [(":3", "no_label"), (":4", "no_message"), (":5", "no_keys")]


def test_absent_rights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    file = tmp_path / "a.tsv"
    file.write_text("ham\ta")
    monkeypatch.setattr(Path, "read_bytes", refuse)
    assert [drop for _, drop in labelled_messages(file)] == [Drop(str(file), "unreadable_file", "Permission denied")]
