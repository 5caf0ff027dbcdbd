"""Refusals in people's words, and answers that sound like them."""

import json
import os
from pathlib import Path

import pytest
import yaml

from stages.lib.reply_acts.refusal_reader import RefusalReader, examples
from stages.lib.reply_acts.refusing import says_not_told

LATER = yaml.safe_load(Path("bench/replies.yaml").read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    "reply",
    [
        "The passage does not say.",
        "This cannot be determined from the text.",
        "There is not enough information in the text to answer.",
        "I don't know.",
        "I'm sorry, but the text does not provide that.",
        "No information is given about the learning rate.",
        "It is unclear from the text.",
        "The text makes no mention of it.",
        "Unfortunately, this is not addressed in the document.",
        "Not stated.",
        "Unanswerable",
        "The default value is not explicitly mentioned.",
        "The text doesn’t say.",
        "I could not find the answer in the text.",
        "The abstract does not mention that.",
        "THE PASSAGE DOES NOT SAY.",
        "Good question! The passage does not say.",
        "[The paper does not define it.]",
        "The text doesnt say.",
        "N/A",
        "Der Text erwähnt das nicht.",
        "Le document ne le précise pas.",
        "El texto no lo menciona.",
        "文中没有提到。",
        "本文には記載されていません。",
        "В тексте об этом не сказано.",
        "The question is not answerable from the paper, but in general the first one is faster.",
    ],
)
def test_refusals(reply: str) -> None:
    assert says_not_told(reply)


@pytest.mark.parametrize(
    "reply",
    [
        "It does not include padding tokens in the loss.",
        "The optimizer does not report the loss when it is NaN.",
        "It is not available in float16; use bfloat16.",
        "The parameter is not specified by default, so it is None.",
        "If the key is not found, it returns None.",
        "They did not find a significant difference (p = 0.4).",
        "Error 404 means the page could not be found.",
        "It returns a list that does not contain duplicates.",
        "I think it is 8, but I may be wrong.",
        "Der Optimierer meldet den Verlust nicht.",
        "Elle ne renvoie pas de doublons.",
        "不是 16，而是 8。",
        "The text does not say 7 there, but 5.",
        "",
        " \n ",
        "...",
        "8",
    ],
)
def test_answers(reply: str) -> None:
    assert not says_not_told(reply)


def test_the_first_sentence_decides_unless_a_later_one_speaks_of_the_question() -> None:
    reply = "The default is 8. The text does not say why."
    assert not says_not_told(reply, "What is the default?")
    assert says_not_told(reply, "Why is the default 8?")
    assert says_not_told(
        "There are several sources. How many there are is not mentioned. So this question is not answerable."
    )
    assert says_not_told("The text does not say. It names two other options.", "Which option is slow?")


def test_a_no_to_a_yes_or_no_question_is_an_answer() -> None:
    reply = "The rate is not reported."
    assert says_not_told(reply, "What is the rate?")
    assert not says_not_told(reply, "Is the rate reported?")
    assert says_not_told("The text does not report it.", "Is the rate reported?")


def test_a_refusal_beside_the_references_answer_is_an_answer() -> None:
    reply = "The text does not state the batch size. In general it is 32."
    assert says_not_told(reply, "What is the batch size?")
    assert not says_not_told(reply, "What is the batch size?", "The batch size is 32.")
    assert says_not_told(reply, "What is the batch size?", "The batch size is 64.")
    assert says_not_told(reply, "What is the batch size?", "The text does not say.")


def test_a_reader_is_what_its_examples_make_it() -> None:
    some = examples()
    again = RefusalReader(some), RefusalReader(some)
    sentence = "The paper never spells it out."
    assert again[0].probability(sentence) == again[1].probability(sentence)
    families = {"text_tells_not", "things_tell_not"}
    small = RefusalReader([example for example in some if example.family in families])
    assert small.probability("The article does not mention the price.") > 0.5
    assert small.probability("The printer does not mention the price.") < 0.5


def test_examples_are_many_and_both_kinds() -> None:
    found = examples()
    assert len({example.text for example in found}) == len(found) > 1500
    assert 0.3 < sum(example.refuses for example in found) / len(found) < 0.7
    assert not any("{" in example.text for example in found)


def test_replies_written_later_are_read() -> None:
    """Floors a little below what python -m bench.replies prints."""

    def read(key: str) -> list[bool]:
        return [says_not_told(one[1], one[0], *one[2:]) for one in LATER[key]]

    assert sum(read("refuses")) >= 0.95 * len(LATER["refuses"])
    assert sum(read("answers")) <= 0.05 * len(LATER["answers"])


@pytest.mark.skipif("LLMILL_REAL_DATA" not in os.environ, reason="LLMILL_REAL_DATA names no folder of real data")
def test_peoples_refusals_and_answers_are_told_apart() -> None:
    from bench.replies import QASA_ANSWERED

    data = Path(os.environ["LLMILL_REAL_DATA"])
    qasa = json.loads((data / "qasa" / "qasa_unanswerable_half_by_paper.json").read_text(encoding="utf-8"))
    told = {key: says_not_told(one["composition"], one["question"]) for key, one in qasa.items() if one["composition"]}
    refusals = [said for key, said in told.items() if key not in QASA_ANSWERED]
    assert sum(refusals) >= 0.95 * len(refusals)
    assert not any(said for key, said in told.items() if key in QASA_ANSWERED)
    pubmed = json.loads((data / "pubmedqa" / "ori_pqal_train500.json").read_text(encoding="utf-8"))
    assert sum(says_not_told(one["LONG_ANSWER"], one["QUESTION"]) for one in pubmed.values()) <= 0.02 * len(pubmed)
