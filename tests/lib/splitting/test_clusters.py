"""Grapheme clusters stay whole in all splitters, whatever the chunk's length."""

import time

import pytest
import regex

from stages.lib.splitting.clusters import Clusters
from stages.lib.splitting.splitters import Splitter, split

SPLITTERS: list[Splitter] = ["chars", "recursive", "markdown"]
TEXTS = {
    "emoji": "👩🏽\u200d💻👨🏿\u200d🚒🇩🇪🇫🇷✊🏾1\ufe0f\u20e3" * 60,  # ../shared/cases/documents/emoji.txt
    "hindi": "क्षत्रिय" * 100,  # hindi.txt
    "hindi sentences": "क्षत्रिय राज्य की स्थिति। विद्यार्थी ने पुस्तक पढ़ी। " * 20,
    "flags": "🇩🇪🇫🇷🇮🇳" * 100,
    "one flag after a blank": " 🇩🇪" * 100,
    "families": "👩\u200d👩\u200d👧\u200d👦" * 60,
    "subdivision flags": "🏴\U000e0067\U000e0062\U000e0073\U000e0063\U000e0074\U000e007f" * 60,
    "thai": "กำลังที่ผู้ใหญ่น้ำ" * 60,
    "jamo": "\u1112\u1161\u11ab\u1100\u1173\u11af" * 80,
    "accents": "e\u0301o\u0308\u0323" * 100,
    "tamil": "நிகொஸ்ரீ" * 80,
    "burmese": "မြန်မာဘာသာ" * 60,
    "arabic": "مُحَمَّد" * 80,
    "keycaps and text": "Press 1\ufe0f\u20e3 or #\ufe0f\u20e3, then ❤\ufe0f! " * 30,
    "marks behind a full stop": "文。\ufe00字！\ufe0f" * 80,
}


def boundaries(text: str) -> set[int]:
    return {0, *(cluster.end() for cluster in regex.finditer(r"\X", text))}


@pytest.mark.parametrize("splitter", SPLITTERS)
@pytest.mark.parametrize("name", TEXTS)
def test_no_chunk_begins_or_ends_within_a_cluster(name: str, splitter: Splitter) -> None:
    text = TEXTS[name]
    whole = boundaries(text)
    for chunk_chars in (20, 21, 24, 50, 101):
        for overlap in (0.0, 0.1, 0.5):
            covered = 0
            for start, end in split(text, splitter, chunk_chars, overlap):
                assert start in whole and end in whole
                assert end - start <= chunk_chars
                assert not text[covered:start].strip()
                covered = end
            assert covered == len(text.rstrip())


def test_a_cluster_longer_than_a_chunk_is_cut_in_bounded_time() -> None:
    zalgo = "a" + "\u0301" * 200_000
    start = time.process_time()
    for splitter in SPLITTERS:
        spans = list(split(zalgo, splitter, 20, 0.5))
        assert spans[-1].end == len(zalgo)
    assert time.process_time() - start < 20


def test_the_place_before_a_cluster_is_found_within_the_bounds() -> None:
    clusters = Clusters("ab🇩🇪e\u0301")
    assert [clusters.before(position, 0) for position in range(7)] == [0, 1, 2, 2, 4, 4, 6]
    assert clusters.before(3, 2) == 3  # there is none above
    assert Clusters("plain").before(3, 0) == 3
    assert Clusters("ein schöner Satz").before(7, 0) == 7


def test_a_text_without_blanks_is_cut_behind_its_commas() -> None:
    text = "这是一个很长的句子，没有空格，也没有句号；但是有逗号、顿号和分号，所以在那里切开，而不是在词的中间" * 5
    spans = list(split(text, "recursive", 40, 0.0))
    assert all(text[end - 1] in "，、；" for _, end in spans[:-1])
    quoted = "他说：“这是一个句子。”然后他走了。" * 10
    assert all(quoted[start:end].endswith(("。”", "。")) for start, end in split(quoted, "recursive", 40, 0.0))
    assert not any(quoted[start] == "”" for start, _ in split(quoted, "recursive", 40, 0.1))
