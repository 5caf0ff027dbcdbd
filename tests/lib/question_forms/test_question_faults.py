"""What is a question in any language, and what refers to a text that is not seen."""

import json
import os
from collections import Counter
from pathlib import Path

import pytest

from stages.lib.question_forms.question_faults import question_fault

GOOD = (
    "Was ist der Standardwert von r in LoraConfig?",
    "Reduziert LoRA den Speicherbedarf beim Training?",
    "Wie viele Token passen in das Kontextfenster von Llama 3.1?",
    "¿Qué métodos admite PEFT?",
    "En PEFT, ¿cuál es el valor de r?",
    "Quelle est la valeur par défaut de r dans LoraConfig ?",
    "LoRA réduit-il la mémoire utilisée ?",
    "Est-ce que « LoRA » est plus rapide ?",
    "Qual é o valor padrão de r em LoraConfig?",
    "Qual è il valore predefinito di r in LoraConfig?",
    "Wat is de standaardwaarde van r in LoraConfig?",
    "Vad är standardvärdet för r i LoraConfig?",
    "Hvad er standardværdien for r i LoraConfig?",
    "Mikä on r:n oletusarvo LoraConfigissa?",
    "Jaka jest domyślna wartość r w LoraConfig?",
    "LoraConfig'de r'nin varsayılan değeri nedir?",
    "LoRA nedir?",
    "Apa nilai bawaan r di LoraConfig?",
    "Giá trị mặc định của r trong LoraConfig là gì?",
    "Каково значение r по умолчанию в LoraConfig?",
    "Что такое LoRA?",
    "Яке значення r за замовчуванням?",
    "Ποια είναι η προεπιλεγμένη τιμή του r;",
    "Ποια είναι η προεπιλεγμένη τιμή του r\u037e",
    "Ինչպե՞ս է աշխատում LoRA-ն։",
    "ما هي القيمة الافتراضية لـ r في LoraConfig؟",
    "מהו ערך ברירת המחדל של r ב-LoraConfig?",
    "مقدار پیش‌فرض r در LoraConfig چیست؟",
    "LoraConfig में r का डिफ़ॉल्ट मान क्या है?",
    "LoraConfig 中 r 的默认值是多少？",
    "上下文窗口中可以容纳多少个词元？",
    "什么是低秩适配？",
    "LoraConfigにおけるrの既定値はいくつですか。",
    "LoraConfigにおけるrの既定値はいくつですか？",
    "LoraConfig에서 r의 기본값은 얼마입니까?",
    "LoRA는 무엇인가요?",
    "ค่าเริ่มต้นของ r ใน LoraConfig คืออะไร",
    "LoRA ใช้หน่วยความจำเท่าไร?",
    "LoraConfig တွင် r ၏ မူလတန်ဖိုးသည် ဘာလဲ။",
    'What is "r" in LoraConfig?',
    "What does `a?b` match in a pattern?",
    "Which file does https://example.org/get?id=3 return?",
    'Who wrote "Who\'s Afraid of Virginia Woolf?" in 1962?',
    "Is LoRA faster than full fine-tuning?!",
    "What is the size of the text encoder?",
    "In which file of accelerate is the mixed precision set?",
    "Name one method that PEFT supports?",
    "What happens in the context of a distributed run?",
    "Wie gross ist der Text-Encoder von CLIP?",
    "Quel est le contexte de la guerre de Cent Ans ?",
    "LoRA hii ni nini kwa lugha rahisi?",
    "如何使用 LoRA 微调模型？",
    "PEFT 的文档在哪里？",
    "Was steht im Wörterbuch des Tokenizers an erster Stelle?",
    "Wann wurde der Text von Goethe veröffentlicht?",
    "¿En qué parte del texto de la licencia se limita la responsabilidad?",
    "这种方法的优点是什么？",
)
NOT_A_QUESTION = (
    "r?",
    "Warum?",
    "Why so?",
    "What is it?",
    "LoRA reduziert den Speicherbedarf.",
    "LoRA 减少显存。",
    "The bias is what LoraConfig trains?",
    "The default of r is eight?",
    "Pre-training is required?",
    "The layers to which LoRA is applied are frozen?",
    "LoRA explains what parameters are frozen?",
    "What is r? What is alpha?",
    "Was ist r? Und was ist alpha?",
    "r 是什么？alpha 是什么？",
    "¿Qué es r? ¿Y qué es alpha?",
    "What the model of",
    "How LoRA works",
    "为什么？",
    "r は何ですか。alpha は何ですか。",
    "ما هو r؟ وما هو alpha؟",
)
REPEATS_ITSELF = (
    "LoRA的LoRA的LoRA的LoRA的LoRA的LoRA的值是什么？",
    "Was ist der Wert der Werte der Werte der Werte der Werte?",
)
REFERS_TO_CONTEXT = (
    "What does the passage say about r?",
    "Which value is given in the example above?",
    "Was sagt der Text über den Parameter r?",
    "Welcher Wert wird im obigen Beispiel verwendet?",
    "Was macht diese Funktion mit dem Tensor?",
    "Laut dem Text, wie groß ist r?",
    "Welche Methode wird im Text beschrieben?",
    "¿Qué dice el texto sobre r?",
    "¿Cuál es el valor de r en el pasaje?",
    "¿Qué devuelve esta función?",
    "Que dit le texte à propos de r ?",
    "Quelle est la valeur de r dans le passage ?",
    "Que renvoie cette fonction ?",
    "Quelle valeur est indiquée dans l'exemple ci-dessus ?",
    "O que diz o texto sobre r?",
    "Cosa dice il testo su r?",
    "Wat zegt de tekst over r?",
    "上述文本中提到的默认值是多少？",
    "根据上文，r 的默认值是多少？",
    "本文介绍了哪些方法？",
    "这段话主要讲了什么？",
    "该函数返回什么值？",
    "文中提到的 r 是多少？",
    "這個函數的返回值是什麼？",
    "以下哪个是 LoRA 的优点？",
    "この文章では何が説明されていますか？",
    "本文によると、rの既定値はいくつですか？",
    "上記の例で使われている値は何ですか？",
    "이 글에서 설명하는 r의 기본값은 무엇입니까?",
    "위의 예제에서 사용된 값은 무엇입니까?",
    "Что говорится в тексте о параметре r?",
    "Какое значение указано в приведённом выше примере?",
    "Что возвращает эта функция?",
    "ماذا يقول النص عن r؟",
    "ما القيمة المستخدمة في المثال أعلاه؟",
    "इस पाठ में r का मान क्या है?",
    "गद्यांश के अनुसार r का मान क्या है?",
    "Bu metinde r'nin değeri nedir?",
    "Co mówi ten tekst o parametrze r?",
    "Τι λέει αυτό το κείμενο για το r;",
)


@pytest.mark.parametrize("question", GOOD)
def test_questions_of_any_language_pass(question: str) -> None:
    assert question_fault(question) is None


@pytest.mark.parametrize("question", NOT_A_QUESTION)
def test_not_a_question(question: str) -> None:
    assert question_fault(question) == "not_a_question"


@pytest.mark.parametrize("question", REPEATS_ITSELF)
def test_repeats_itself(question: str) -> None:
    assert question_fault(question) == "repeats_itself"


@pytest.mark.parametrize("question", REFERS_TO_CONTEXT)
def test_refers_to_context(question: str) -> None:
    assert question_fault(question) == "refers_to_context"


@pytest.mark.real_data
@pytest.mark.skipif("LLMILL_REAL_DATA" not in os.environ, reason="LLMILL_REAL_DATA names no folder of real data sets")
def test_of_the_questions_that_people_wrote_hardly_one_is_dropped() -> None:
    data = Path(os.environ["LLMILL_REAL_DATA"])
    lines = (data / "xquad_en_beir/queries.jsonl").read_text(encoding="utf-8").splitlines()
    dropped = {line: fault for line in lines if (fault := question_fault(json.loads(line)["text"]))}
    # One asks what "the text" says, two end without a question mark and have no verb that the rules know.
    assert len(lines) == 612 and len(dropped) <= 3, dropped
    medical = json.loads((data / "pubmedqa/ori_pqal_train500.json").read_text(encoding="utf-8"))
    faults = Counter(question_fault(record["QUESTION"]) for record in medical.values())
    assert faults[None] >= 460  # of 500; the others are titles: "Hearing loss: a complication of ...?"
