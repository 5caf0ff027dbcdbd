import pytest

from stages.lib.english.question_clause import asked_clause, asked_phrase


@pytest.mark.parametrize(
    ("question", "opening", "clause"),
    [
        ("What is a LoRA adapter?", "", "what a LoRA adapter is"),
        ("What is peft's LoraConfig?", "What is peft's LoraConfig", "what peft's LoraConfig is"),
        ("What is Stable Diffusion web UI in accelerate?", "What is Stable Diffusion web UI",
         "what Stable Diffusion web UI is in accelerate"),
        ("What is the default value of the parameter r of peft's X?",
         "What is the default value of the parameter r of peft's X",
         "what the default value of the parameter r of peft's X is"),
        ("What does peft's X do?", "What does peft's X do", "what peft's X does"),
        ("What does ShadowPEFT augment in peft's ShadowModel?", "What does ShadowPEFT augment",
         "what ShadowPEFT augments in peft's ShadowModel"),
        ("What does the returned model have in peft's B.m?", "What does the returned model have",
         "what the returned model has in peft's B.m"),
        ("What do the values need to have?", "", "what the values need to have"),
        ("When will the other processes exit the block?", "When will the other processes",
         "when the other processes will exit the block"),
        ("How is the loss computed in peft's M?", "How is the loss", "how the loss is computed in peft's M"),
        ("How do you merge two adapters?", "", "how to merge two adapters"),
        ("Which parameter of peft's X takes a list?", "", "which parameter of peft's X takes a list"),
        ("Which parameter is used to set the rank?", "", "which parameter is used to set the rank"),
        ("What happens if the rank is 0?", "", "what happens if the rank is 0"),
        ("For the parameter r of peft's X, what happens if it is 0?", "",
         "what happens if it is 0, for the parameter r of peft's X"),
        ("Which model do we use?", "", "which model we use"),
        ("Does the model train on a CPU?", "", "whether the model trains on a CPU"),
    ],
)  # fmt: skip
def test_questions_become_clauses(question: str, opening: str, clause: str) -> None:
    assert asked_clause(question, opening) == clause


@pytest.mark.parametrize(
    "question",
    [
        "Is the mutation benign?",  # nothing tells where the subject ends
        "How many patients were treated in the study?",
        "When is the tall man late?",
        "Mammography: useful?",
    ],
)
def test_what_no_rule_covers_is_quoted(question: str) -> None:
    assert asked_clause(question) is None
    assert asked_phrase(question) == f'what is asked: "{question}"'
