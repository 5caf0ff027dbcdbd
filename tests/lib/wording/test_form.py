"""What is form alone, and what is not."""

import pytest

from stages.lib.wording.form import form_digest, form_key, same_words


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("# Title\n\n- **Bold** text, `code`.", "title bold TEXT code"),
        ("Sets the `rank` (List[str]).\n\nDefaults to **None**", "sets the rank (list[str]); defaults to None."),
        ("It’s “so”…", 'it\'s "so"...'),
        ("| a | b |\n|---|:-:|\n| c | d |", "a b\nc d"),
        ("<p>One <b>two</b></p><br/>three", "one two\nthree"),
        ("_two words_ and ***three***", "two words and three"),
        ("1) start\n2) stop", "1. start\n2. stop"),
        ("word — word", "word, word"),
        ("a dash - in prose", "a dash: in prose"),
        ("50 % of it", "50% of it"),
        ("x = −1", "x = -1"),
        ("pages 5–10", "pages 5-10"),
        ("ﬁne ﬂow", "fine flow"),
        ("ＡＢＣ１２", "abc12"),
        ("你好，世界。", "你好 世界"),
        ("東京は首都です。", "東京 は 首都 です"),
        ("Größe: ÄNDERN", "größe - ändern"),
        ("Cafe\u0301", "Caf\u00e9"),
        ("near\u00adby\u200b \ufeffand", "nearby and"),
        ("```\ncode\n```", "code"),
        ("> quoted", "quoted"),
        ("non\u00a0breaking\u2003spaces\r\n", "non breaking spaces"),
    ],
)
def test_form_alone(one: str, other: str) -> None:
    assert form_key(one) == form_key(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("x is -1", "x is 1"),
        ("- 5", "5"),
        ("from 5 - 3", "from 5 3"),
        ("a - b", "a b"),
        ("1.5", "15"),
        ("1,5", "15"),
        (".5", "5"),
        ("v1.2", "v12"),
        ("5%", "5"),
        ("5!", "5"),
        ("$5", "5"),
        ("±5", "5"),
        ("~5", "5"),
        ("½", "1/2"),
        ("x²", "x2"),
        ("10⁵", "105"),
        ("x^2", "x2"),
        ("x<sub>2</sub>", "x2"),
        ("5 MB", "5 Mb"),
        ("5mW", "5MW"),
        ("a < b", "a > b"),
        ("a != b", "a = b"),
        ("a == b", "a = b"),
        ("C", "C++"),
        ("C", "C#"),
        ("R&D", "R D"),
        ("and/or", "and or"),
        ("f(x)", "f[x]"),
        ("[0, 1]", "[0, 1)"),
        ("(0, 1]", "[0, 1]"),
        ("(-1, 0]", "[-1, 0]"),
        ('default "1"', "default 1"),
        ("*args", "args"),
        ("**kwargs", "*kwargs"),
        ("!x", "x"),
        ("not x", "x"),
        ("don't", "do"),
        (".env", "env"),
        ("use_cache", "use cache"),
        ("__init__", "init"),
        ("torch.nn", "torch nn"),
        ("near-by", "near by"),
        ("[the doc](a.md)", "[the doc](b.md)"),
        ("<s>", "s"),
        ("use <b> here", "use <i> here"),
        ('<a href="x">y</a>', '<a href="z">y</a>'),
        ("[x] done", "[ ] done"),
        ("| a | | b |", "| a | b | |"),
        ("Maße", "Masse"),
        ("三十天", "九十天"),
        ("不是", "是"),
        ("١٢", "١٣"),
        ("คน", "คัน"),
        ("😀", "😡"),
        ("👍", "👍🏽"),
        ("...", "!!!"),
        ("", "..."),
    ],
)
def test_what_may_mean_something_is_no_form(one: str, other: str) -> None:
    assert form_key(one) != form_key(other)


def test_a_text_without_words_is_no_text_with_them() -> None:
    assert form_key("...") == form_key(" ...\n") != form_key("dots")


def test_the_longest_of_the_same_words_stays_the_first_of_equals() -> None:
    assert same_words(["a lamp", "a mill", "**A** lamp!", "A mill", "**A** lamp?", "bell"]) == [2, 1, 2, 1, 2, 5]


def test_the_digest_is_equal_where_the_key_is() -> None:
    texts = ["# Title", "title", "Titles", "\n", " ", "\ud83d half", "HALF"]
    for one in texts:
        for other in texts:
            assert (form_digest(one) == form_digest(other)) == (form_key(one) == form_key(other))
    assert {len(form_digest(text)) for text in texts} == {16}
