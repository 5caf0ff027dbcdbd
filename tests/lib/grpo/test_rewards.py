"""Rewards: what each gives, and that none gives anything that is not a number."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace

import numpy as np
import pytest

from stages.lib.grpo.rewards import (
    AnswerSimilarity,
    Floats,
    Name,
    ReasoningSample,
    build_rewards,
    format_reward,
    grounded_reward,
    length_reward,
    lenient_answer,
    overlap_reward,
    score,
    total,
)
from stages.lib.weights.models import ModelEntry

SAMPLE = ReasoningSample(
    id="s1",
    question="When was the north bridge closed?",
    context="The north bridge opened in 1932. It carries two lanes. Engineers closed the bridge for repairs in March "
    "1988. A ferry replaced it for eleven months. The old toll house became a museum.",
    reasoning="Engineers closed the bridge for repairs in March 1988.",
    answer="in March 1988",
)


def letters(texts: Sequence[str]) -> Floats:
    """Unit vectors of letter counts: texts alike in letters are alike."""
    counts = np.array([[text.lower().count(chr(97 + i)) + 1e-9 for i in range(26)] for text in texts])
    unit: Floats = counts / np.linalg.norm(counts, axis=1, keepdims=True)
    return unit


class Letters:
    """In place of an `Embedder`: texts alike in letters are alike."""

    identity = ("letters",)

    def encode_documents(self, texts: Sequence[str], progress: str | None) -> Floats:
        return letters(texts)


def open_letters(name: str, entry: ModelEntry) -> AbstractContextManager[Letters]:
    """In place of `open_embedder`."""
    return nullcontext(Letters())


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ("because ##### 1988", 1),
        ("because\n#####\n1988", 1),
        ("because 1988", 0),
        ("##### 1988", 0),
        ("because #####  ", 0),
        ("a ##### b ##### c", 0),
        ("a ########## b", 0),  # two separators in a row
        ("", 0),
    ],
)
def test_format_wants_one_separator_and_two_halves(reply: str, expected: int) -> None:
    assert format_reward(SAMPLE, reply) == expected


INSTRUCTION = "First say which statements of the text lead to the answer, then write #####, then the answer alone."


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        # What a training learned to reply to 7 of 15 questions, word for word.
        (
            f"The question asks {INSTRUCTION.removeprefix('First say ')}",
            0,
        ),
        (INSTRUCTION, 0),
        ("Then the text says write ##### then the answer", 0),
        ("The text says: repairs in March. ##### in March 1988", 1),
        ("The answer is told by the text ##### the answer alone", 1),  # no words of the seam
    ],
)
def test_a_separator_quoted_from_the_instruction_is_none(reply: str, expected: int) -> None:
    sample = replace(SAMPLE, instruction=INSTRUCTION)
    assert format_reward(sample, reply) == expected
    assert format_reward(SAMPLE, reply) == 1  # without knowing the instruction, it is in format
    assert overlap_reward(sample, reply) == expected * overlap_reward(SAMPLE, reply)
    assert grounded_reward(sample, reply) == expected * grounded_reward(SAMPLE, reply)
    similarity = AnswerSimilarity(letters)
    assert similarity([sample], [reply]) == [expected * value for value in similarity([SAMPLE], [reply])]


def test_overlap_is_token_f1_of_the_answer_alone() -> None:
    assert overlap_reward(SAMPLE, SAMPLE.reference) == 1
    assert overlap_reward(SAMPLE, "in March 1988 ##### in June 1988") == pytest.approx(2 / 3)
    assert overlap_reward(SAMPLE, "in March 1988") == 0  # out of format


def test_grounded_reasoning_beats_invention_and_copying() -> None:
    def grounded(reasoning: str) -> float:
        return grounded_reward(SAMPLE, f"{reasoning} ##### 1988")

    assert grounded(SAMPLE.reasoning) == 1
    assert grounded("Pigeons caused it, says nobody in particular.") == 0
    assert 0 < grounded("Engineers closed the bridge because pigeons nested there every summer.") < 1
    assert grounded(SAMPLE.context) == 0
    assert grounded(" ".join([SAMPLE.reasoning] * 5)) < 0.4
    assert grounded("1988 bridge closed north museum ferry") < 0.3  # its words in no order of the text
    assert grounded("closed") == 0


def test_grounded_without_a_context_is_0() -> None:
    bare = ReasoningSample(id="s", question="q", context="", reasoning="some words here", answer="a")
    assert grounded_reward(bare, bare.reference) == 0


def test_length_rises_stays_and_falls() -> None:
    lengths = [length_reward(SAMPLE, " ".join(["word"] * n), 4, 10) for n in (0, 2, 4, 10, 15, 20, 50)]
    assert lengths == [0, 0.5, 1, 1, 0.5, 0, 0]
    assert length_reward(SAMPLE, "#####", 4, 10) == 0


def test_similarity_sees_the_answer_alone() -> None:
    similarity = AnswerSimilarity(letters)
    same, other, bare = similarity([SAMPLE] * 3, [SAMPLE.reference, "in March 1988 ##### zzz", "in March 1988"])
    assert same == pytest.approx(1)
    assert other < 0.2
    assert bare == 0
    assert similarity.answers([SAMPLE], ["in March 1988"]) == [pytest.approx(1)]
    assert similarity.answers([SAMPLE], [""]) == [0]


def test_weights_choose_and_sum() -> None:
    weights: dict[Name, float] = {"format": 2.0, "overlap": 0.5, "length": 0.0}
    rewards = build_rewards(weights, letters, (1, 5))
    assert list(rewards) == ["format", "overlap"]
    replies = [SAMPLE.reference, "nothing"]
    scores = {name: score(name, reward, [SAMPLE] * 2, replies) for name, reward in rewards.items()}
    assert total(scores, weights).tolist() == [2.5, 0]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_reward_that_is_no_number_is_named(value: float) -> None:
    with pytest.raises(
        ValueError, match=r"reward 'overlap' is (nan|inf) for sample 's1', reply 'two'.*grpo\.reward_weights"
    ):
        score("overlap", lambda samples, replies: [0.0, value], [SAMPLE] * 2, ["one", "two"])


def test_a_reward_with_too_few_numbers_is_named() -> None:
    with pytest.raises(ValueError, match=r"reward 'length': \(1,\) numbers for 2 replies"):
        score("length", lambda samples, replies: [0.0], [SAMPLE] * 2, ["one", "two"])


def test_the_lenient_answer() -> None:
    assert lenient_answer("a ##### b ##### c ") == "c"
    assert lenient_answer(" all of it ") == "all of it"


def test_what_the_question_says_proves_nothing() -> None:
    asked = replace(SAMPLE, question="Was it so that engineers closed the bridge for repairs?")

    def grounded(reasoning: str) -> float:
        return grounded_reward(asked, f"{reasoning} ##### 1988")

    # Five of its n-grams stand in the context, and all of these in the question as well.
    assert grounded("Engineers closed the bridge for repairs because of pigeons nesting there.") == 0
    assert grounded("Engineers closed the bridge for repairs in March 1988.") == 1
    # Its own are "for repairs in", which the text has, and two that it lacks.
    assert grounded("Engineers closed the bridge for repairs in May 1988.") == pytest.approx(1 / 3)


def test_nothing_is_like_an_empty_answer() -> None:
    """Also for encoders that have a vector for a text without letters."""

    def ones(texts: Sequence[str]) -> Floats:
        return np.ones((len(texts), 1))

    similarity = AnswerSimilarity(ones)
    assert similarity.answers([SAMPLE, SAMPLE], ["", "in May"]) == [0, 1]
    assert similarity.answers([replace(SAMPLE, answer="")] * 2, ["in May", ""]) == [0, 0]
    assert similarity([SAMPLE] * 3, ["", "because #####", "##### in May"]) == [0, 0, 0]


def test_unlike_answers_have_no_similarity_below_0() -> None:
    def opposite(texts: Sequence[str]) -> Floats:
        return np.array([[1.0 if text == SAMPLE.answer else -1.0] for text in texts])

    assert AnswerSimilarity(opposite).answers([SAMPLE], ["anything else"]) == [0]


CHINESE = ReasoningSample(
    id="s2",
    question="北桥什么时候关闭？",
    context="北桥于1932年开放，有两条车道。工程师在1988年3月关闭大桥进行维修。渡轮代替它运行了十一个月。",
    reasoning="工程师在1988年3月关闭大桥进行维修。",
    answer="在1988年3月",
)


def test_rewards_read_the_words_of_scripts_without_blanks() -> None:
    assert overlap_reward(CHINESE, CHINESE.reference) == 1
    assert overlap_reward(CHINESE, "因为 ##### 1988") < overlap_reward(CHINESE, "因为 ##### 1988年5月") < 1
    grounded = grounded_reward(CHINESE, CHINESE.reference)
    assert grounded > grounded_reward(CHINESE, "渡轮上的人都很高兴地唱歌跳舞。 ##### 在1988年3月") == 0
    assert length_reward(CHINESE, CHINESE.reference, 10, 60) == 1  # three pieces between blanks, some fifteen words
    hindi = replace(SAMPLE, context="यह मॉडल केवल हिंदी में लिखे पाठ पढ़ता है और उत्तर देता है।")
    assert grounded_reward(hindi, "मॉडल केवल हिंदी में लिखे पाठ पढ़ता है ##### हाँ") > 0


def test_a_separator_quoted_from_an_instruction_without_blanks_is_none() -> None:
    told = replace(CHINESE, instruction="先写推理，然后写 #####，最后写答案。")
    assert format_reward(told, "先写推理，然后写 #####，最后写答案。") == 0
    assert format_reward(told, CHINESE.reference) == 1
