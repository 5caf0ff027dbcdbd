import random
from dataclasses import replace

import pytest

from stages.lib.english.facts import Fact
from stages.lib.english.words import content_words, normalised
from stages.lib.qa.openings import Opening
from stages.lib.qa.questions import answer_fault, finish_fault, mark_duplicates, repeats
from stages.lib.question_forms.question_faults import question_fault


@pytest.mark.parametrize(
    ("question", "fault"),
    [
        ("What does peft's LoraConfig do with a bias?", None),
        ("In accelerate, when is the cache cleared?", None),
        ("What does peft's LoraConfig do with a bias.", "not_a_question"),
        ("Why so?", "not_a_question"),
        ("The bias is what LoraConfig trains?", "not_a_question"),
        ("What is a bias? And what is LoRA?", "not_a_question"),
        ("What " + "is " * 200 + "it?", "not_a_question"),
        ("How does the adapter to the adapter to the adapter to the adapter work?", "repeats_itself"),
        ("What does this function return for a tensor?", "refers_to_context"),
        ("According to the passage, what is the bias?", "refers_to_context"),
        ("What is the default mentioned above?", "refers_to_context"),
    ],
)
def test_what_is_no_question_of_its_own(question: str, fault: str | None) -> None:
    assert question_fault(question) == fault


ENTRY = Fact(
    text="recurse (`bool`): Whether to remove the hooks of all children recursively.",
    start=0,
    end=74,
    leads=True,
    parameter="recurse",
    entry=True,
    specificity=0.0,
)
PROSE = replace(ENTRY, text="The hooks of all children are removed recursively.", parameter="", entry=False)
NAME = Opening("Which parameter of accelerate's hooks decides whether to")


@pytest.mark.parametrize(
    ("opening", "rest", "fact", "fault"),
    [
        (NAME, " remove the hooks?", ENTRY, None),
        (NAME, " remove the hooks of all children recursively?", ENTRY, None),
        (NAME, "?", ENTRY, "unfinished"),
        (NAME, " delete the hooks?", ENTRY, "off_fact"),
        (NAME, " recurse?", ENTRY, "gives_answer_away"),
        (Opening("How are the hooks"), " of all children removed?", PROSE, None),
        (Opening("How are the hooks"), " of all children removed recursively?", PROSE, "gives_answer_away"),
        (Opening("What does accelerate's hooks do", whole=True), "?", PROSE, None),
        (Opening("What does accelerate's hooks do", whole=True), " to the children?", PROSE, "off_fact"),
    ],
)
def test_how_an_opening_may_be_finished(opening: Opening, rest: str, fact: Fact, fault: str | None) -> None:
    assert finish_fault(opening, rest, fact, "accelerate's hooks") == fault


def test_an_answer_may_not_stand_in_its_question() -> None:
    assert answer_fault("Is the default of r eight in LoraConfig?", "Eight") == "gives_answer_away"
    assert answer_fault("Is the default of bias True?", "True") is None
    assert answer_fault("What is the default of r?", "Eight") is None
    long = "the adapter freezes bias, cache, decay, epoch and kernel"
    assert answer_fault("Which kernel, epoch, decay, cache and bias freezes the adapter?", long) == "gives_answer_away"
    assert (
        answer_fault("Which cache and bias has the adapter?", "bias cache") is None
    )  # too short to judge by its words


def test_pieces_of_the_prompt_are_recognised() -> None:
    prompt = 'Topic: KMeans\nQuestion: What is the default of n_init?\nReply: {"question": "<the question>"}'
    assert repeats("What is the default of N_INIT?", "", prompt)
    assert repeats("the question", "", prompt)
    assert not repeats("What is the default of max_iter?", "", prompt)


def test_duplicates_point_to_the_first_of_their_kind() -> None:
    questions = [
        "What is the default of r in LoraConfig?",
        "When is the cache cleared?",
        "what is the DEFAULT of `r` in LoraConfig",
        "What is the default of r in the LoraConfig of peft?",
        "What is the default of r in OFTConfig?",
    ]
    assert mark_duplicates(questions, threshold=0.7) == [None, None, 0, 0, None]
    assert mark_duplicates(questions, threshold=1.0) == [None, None, 0, None, None]


def test_a_duplicate_is_at_the_threshold_and_never_of_a_duplicate() -> None:
    chain = ["adapter bias cache decay?", "bias cache decay epoch?", "cache decay epoch frozen?"]  # neighbours: 3 of 5
    assert mark_duplicates(chain, threshold=0.6) == [None, 0, None]
    assert mark_duplicates(chain, threshold=0.61) == [None, None, None]


@pytest.mark.parametrize("threshold", [0.3, 0.6, 0.85, 1.0])
def test_marks_are_those_of_comparing_each_with_all_before_it(threshold: float) -> None:
    rng = random.Random(0)
    words = [f"word{i}" for i in range(14)]
    questions = [" ".join(rng.sample(words, rng.randrange(1, 8))) for _ in range(150)] + ["What is it?", "what is IT"]
    expected: list[int | None] = []
    for i, question in enumerate(questions):
        own = content_words(question)
        same = [
            j
            for j in range(i)
            if expected[j] is None
            and (
                normalised(questions[j]) == normalised(question)
                or (own and len(own & (held := content_words(questions[j]))) >= threshold * len(own | held))
            )
        ]
        expected.append(min(same, default=None))
    assert sum(mark is not None for mark in expected) > 5
    assert mark_duplicates(questions, threshold) == expected


def test_answers_and_duplicates_are_seen_without_blanks_between_words() -> None:
    assert answer_fault("r 的默认值8是多少？", "默认值") == "gives_answer_away"
    assert answer_fault("检查点是否每一千步保存一次？", "一千步") == "gives_answer_away"  # 每一, 千步
    assert answer_fault("LoRA 是不是更快？", "是") is None
    assert answer_fault("r 的默认值是多少？", "8") is None
    assert answer_fault("rの既定値は8ですか。", "8") == "gives_answer_away"
    questions = [
        "LoraConfig 中 r 的默认值是多少？",
        "检查点多久保存一次？",
        "「LoraConfig」中r的默认值是多少",
        "检查点多久会被保存一次？",
        "चेकपॉइंट की संख्या क्या है?",
        "चेकपॉइंट का संख्या क्या है?",
    ]
    assert mark_duplicates(questions, threshold=0.7) == [None, None, 0, 1, None, None]
    assert mark_duplicates(questions, threshold=1.0) == [None, None, 0, None, None, None]
