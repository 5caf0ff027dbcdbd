"""BM25 against its formula, and what words are."""

import math

import numpy as np
import pytest

from stages.lib.search.bm25 import BM25, tokenize


def test_scores_equal_lucenes_formula() -> None:
    texts = ["cats purr purr", "dogs bark", "cats chase dogs daily daily daily"]
    words = [text.split() for text in texts]
    average = sum(map(len, words)) / 3
    k1, b = 1.2, 0.6

    def expected(query: list[str], document: list[str]) -> float:
        total = 0.0
        for word in query:
            holders = sum(word in other for other in words)
            idf = math.log(1 + (3 - holders + 0.5) / (holders + 0.5))
            count = document.count(word)
            total += idf * count / (count + k1 * (1 - b + b * len(document) / average))
        return total

    found = BM25(texts, k1=k1, b=b).scores(["Purr, cats!", "daily dogs"])
    assert found.shape == (2, 3)
    for row, query in enumerate([["purr", "cats"], ["daily", "dogs"]]):
        assert found[row] == pytest.approx([expected(query, document) for document in words], rel=1e-5)


def test_unknown_words_stop_words_and_empty_queries_score_zero() -> None:
    index = BM25(["the num_workers of a loader", ""])
    scores = index.scores(["zebra", "the of a", "", "NUM_WORKERS zebra"])
    assert np.array_equal(scores[:3], np.zeros((3, 2)))
    assert scores[3, 0] > 0
    assert scores[3, 1] == 0
    assert index.scores([]).shape == (0, 2)


def test_nothing_to_index_is_an_error() -> None:
    with pytest.raises(ValueError, match="none of the 2 texts holds a word"):
        BM25(["the", ""])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("LoRA's `r` is 8, in C++ and C#", ["lora", "r", "8", "c++", "c#"]),
        ("the .NET runtime, num_workers of F#", [".net", "runtime", "num_workers", "f#"]),
        ("node.js reads config.json; `.json`", ["node", "js", "reads", "config", "json", ".json"]),
        ("How should I prompt it?", ["how", "should", "prompt"]),
        ("issue #12, a ++ b, __init__", ["issue", "12", "b", "__init__"]),
        ("LoraConfig 中 r 的默认值", ["loraconfig", "中", "r", "的", "默认", "值"]),
        ("ＬｏＲＡ Größe", ["lora", "größe"]),
        ("मॉडल का आकार", ["मॉडल", "का", "आकार"]),
        ("ค่าเริ่มต้นของ", ["ค่า", "เริ่ม", "ต้น", "ของ"]),
        ("😀 最大长度👍🏽", ["最大", "长度"]),
    ],
)
def test_words_of_code_and_of_any_script(text: str, words: list[str]) -> None:
    assert tokenize([text]) == [words]


PARALLEL = {
    "zh": [
        ("低秩适配通过训练两个小矩阵来减少显存占用。", "哪种方法可以减少显存占用？"),
        ("分词器把文本切成词元，再转换成编号。", "文本是怎样切成词元的？"),
        ("学习率在预热阶段线性增加，然后按余弦下降。", "预热阶段学习率如何变化？"),
        ("检查点每一千步保存一次，旧的会被删除。", "检查点多久保存一次？"),
        ("量化把权重从十六位压缩到四位整数。", "量化之后权重用几位整数表示？"),
    ],
    "ja": [
        ("低ランク適応は二つの小さな行列を学習してメモリを節約する。", "メモリを節約する方法は何ですか。"),
        ("トークナイザーは文章を単語に分割して番号に変換する。", "文章を分割するのは何ですか。"),
        ("学習率は準備段階で直線的に増え、その後減少する。", "準備段階で学習率はどう変わりますか。"),
        ("チェックポイントは千ステップごとに保存される。", "チェックポイントはいつ保存されますか。"),
        ("量子化は重みを四ビットの整数に圧縮する。", "重みを圧縮するのは何ですか。"),
    ],
    "th": [
        ("การปรับแบบอันดับต่ำช่วยลดการใช้หน่วยความจำ", "วิธีใดช่วยลดการใช้หน่วยความจำ"),
        ("ตัวตัดคำแบ่งข้อความออกเป็นโทเค็น", "อะไรแบ่งข้อความออกเป็นโทเค็น"),
        ("อัตราการเรียนรู้เพิ่มขึ้นในช่วงเริ่มต้น", "อัตราการเรียนรู้เพิ่มขึ้นเมื่อใด"),
        ("จุดตรวจสอบถูกบันทึกทุกพันขั้น", "จุดตรวจสอบถูกบันทึกเมื่อใด"),
    ],
    "hi": [
        ("क्वांटीकरण भार को चार बिट में बदलता है।", "भार को चार बिट में कौन बदलता है?"),
        ("टोकनाइज़र पाठ को टोकन में बाँटता है।", "पाठ को टोकन में कौन बाँटता है?"),
        ("चेकपॉइंट हर हज़ार चरण पर सहेजा जाता है।", "चेकपॉइंट कब सहेजा जाता है?"),
    ],
    "de": [
        ("Die Größe des Vokabulars bestimmt den Speicherbedarf.", "Was bestimmt den Speicherbedarf?"),
        ("Der Prüfpunkt wird alle tausend Schritte gesichert.", "Wann wird der Prüfpunkt gesichert?"),
        ("Die Lernrate steigt während der Aufwärmphase.", "Wann steigt die Lernrate?"),
    ],
}


@pytest.mark.parametrize("language", PARALLEL)
def test_the_text_that_answers_comes_first_in_any_script(language: str) -> None:
    texts = [text for pairs in PARALLEL.values() for text, _ in pairs]
    questions = [question for _, question in PARALLEL[language]]
    answers = [texts.index(text) for text, _ in PARALLEL[language]]
    assert BM25(texts).scores(questions).argmax(axis=1).tolist() == answers
