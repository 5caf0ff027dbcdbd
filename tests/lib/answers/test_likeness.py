"""Word overlap, by hand and against the reference implementation."""

import random

import pytest

from stages.lib.answers.likeness import rouge_l, squad_words, token_f1
from stages.lib.languages.words import words


def test_squad_normalization() -> None:
    assert squad_words("The  Answer, is: a 'cat'!") == ["answer", "is", "cat"]
    assert squad_words("theory of an anthem") == ["theory", "of", "anthem"]


def test_token_f1_by_hand() -> None:
    assert token_f1("the cat sat", "A cat.") == pytest.approx(2 * 1 / (2 + 1))
    assert token_f1("cat cat cat", "cat dog") == pytest.approx(2 * 1 / (3 + 2))  # a word counts as often as it occurs
    assert token_f1("cat cat dog", "cat cat") == pytest.approx(2 * 2 / (3 + 2))  # in both texts
    assert token_f1("Paris", "paris!") == 1.0
    assert token_f1("", "word") == token_f1("word", "the") == 0.0
    assert token_f1("The A.", "a") == pytest.approx(2 / 3)  # an article that is all there is is the answer


def test_rouge_l_by_hand() -> None:
    assert rouge_l("police kill the gunman", "police killed the gunman") == pytest.approx(0.75)
    assert rouge_l("the gunman kill police", "police killed the gunman") == pytest.approx(0.5)
    assert rouge_l("", "word") == rouge_l("?!", "word") == 0.0


@pytest.mark.parametrize("reference", ["", " ", "...", "……", "。"])
def test_a_reference_without_a_word_measures_nothing(reference: str) -> None:
    assert token_f1("word", reference) is None
    assert token_f1("", reference) is None
    assert rouge_l("word", reference) is None


def test_rouge_l_of_english_is_that_of_the_package() -> None:
    scorer = pytest.importorskip("rouge_score.rouge_scorer").RougeScorer(["rougeL"], use_stemmer=False)
    draw = random.Random(0)
    signs = ["The", "cat", "sat,", "on", "p5-mat", "naïve", "x_y", "...", "ÄÖ", "\n", "“is—it”", "10²"]
    for length in (0, 1, 2, 5, 40, 130):
        for _ in range(20):
            said, wanted = (" ".join(draw.choices(signs, k=draw.randint(0, length))) for _ in range(2))
            wanted = f"which of the {wanted}"
            assert rouge_l(said, wanted) == pytest.approx(scorer.score(wanted, said)["rougeL"].fmeasure)


# Each answer differs from its reference in more than its digits, which are equal, or not.
OTHERS = {
    "Chinese": ("默认值是8，不是4。", "缓存的大小是8。"),
    "Japanese": ("既定値は8です。", "キャッシュの大きさは8です。"),
    "Korean": ("기본값은 8 입니다.", "캐시 크기는 8 입니다."),
    "Thai": ("ค่าเริ่มต้นคือ 8", "ขนาดแคชคือ 8"),
    "Russian": ("Значение по умолчанию: 8.", "Размер кэша: 8."),
    "Hindi": ("डिफ़ॉल्ट मान 8 है।", "कैश का आकार 8 है।"),
    "Arabic": ("القيمة الافتراضية هي 8.", "حجم الذاكرة هو 8."),
    "Greek": ("Η προεπιλογή είναι 8.", "Το μέγεθος είναι 8."),
    "Hebrew": ("ברירת המחדל היא 8.", "גודל המטמון הוא 8."),
    "Khmer": ("តម្លៃលំនាំដើមគឺ 8", "ទំហំឃ្លាំងសម្ងាត់គឺ 8"),
    "Vietnamese": ("Giá trị mặc định là 8.", "Kích thước bộ đệm là 8."),
    "German": ("Die voreingestellte Größe für Ölfässer ist 8.", "Der Übertrag ist 8."),
}


@pytest.mark.parametrize("language", OTHERS)
def test_other_languages_are_measured_on_their_words(language: str) -> None:
    reference, other = OTHERS[language]
    for measure in (token_f1, rouge_l):
        right, wrong = measure(reference, reference), measure(other, reference)
        without_number = measure(reference.replace("8", "9"), reference)
        assert right == 1.0
        assert wrong is not None and 0 < wrong < 0.8, (measure, wrong)
        # The number alone is not all: with another number most words are still the same.
        assert without_number is not None and 0.6 < without_number < 1.0, (measure, without_number)
        assert measure("8", reference) is not None and (measure("8", reference) or 0) < 0.7


@pytest.mark.parametrize("language", OTHERS)
def test_rouge_l_of_other_languages_is_that_of_the_package_with_our_words(language: str) -> None:
    scorers = pytest.importorskip("rouge_score.rouge_scorer")

    class Words:
        def tokenize(self, text: str) -> list[str]:
            return words(text)

    scorer = scorers.RougeScorer(["rougeL"], tokenizer=Words())
    reference, other = OTHERS[language]
    draw = random.Random(1)
    pieces = [*words(reference), *words(other), "8", "GPU"]
    for _ in range(20):
        said = " ".join(draw.choices(pieces, k=draw.randint(0, 30)))
        assert rouge_l(said, reference) == pytest.approx(scorer.score(reference, said)["rougeL"].fmeasure)


def test_punctuation_of_other_scripts_is_no_word() -> None:
    assert squad_words("“默认值”是：8。") == squad_words("默认值 是 8")
    assert squad_words("¿Cuándo? «Nunca»…") == ["cuándo", "nunca"]
    assert squad_words("कैश।") == ["कैश"]


def test_a_term_of_another_script_within_english_counts() -> None:
    reference = "What is the word for 模型"
    with_it, without = rouge_l("The word is 模型", reference), rouge_l("The word is", reference)
    assert with_it is not None and without is not None and with_it > without
