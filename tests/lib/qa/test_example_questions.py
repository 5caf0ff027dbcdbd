import pytest

from stages.lib.qa.example_questions import example_questions

PAGE = "org/toolbox/blob/main/docs/training.md"


def asked(text: str, source: str = PAGE, heading: str = "Training > Large batches") -> list[tuple[str, str]]:
    chunk = {"text": text, "source": source, "heading": heading}
    return [(one.question, one.answer) for one in example_questions(chunk)]


@pytest.mark.parametrize(
    ("text", "question", "answer"),
    [
        ("AdamW(lr=3e-4)", "What value does lr have in the call of AdamW{}?", "3e-4"),
        ("run(mode='fast')", "Which mode is passed to run in the example{}?", "fast"),
        ("read_csv('data/cities.csv')", "What does the example{} read with read_csv?", "data/cities.csv"),
        ("load('tiny-model')", "What does the example{} load with load?", "tiny-model"),
        ("pipeline('some-task')", "What does the example{} pass to pipeline?", "some-task"),
        ("from a.b import c", "From which module does the example{} import c?", "a.b"),
        ("class A(nn.Module): pass", "Which class does A inherit from in the example{}?", "nn.Module"),
        ("f(deep=False)", "Is deep True or False in the call of f{}?", "False"),
        ("stride = 512", "Which value does the example{} give to stride?", "512"),
        ("python run.py --lr 2e-5", "Which value does the command for run.py{} give to --lr?", "2e-5"),
        ("  --lr 2e-5", "Which value does the command{} give to --lr?", "2e-5"),
        ('"stage": 3,', "Which value does the configuration{} give to stage?", "3"),
        ("pip install -q some-package", "Which packages does the command{} install with pip?", "some-package"),
        ("def f(a, b):\n    pass", "Which parameters does the function f take in the example{}?", "a, b"),
        ("def f(a=5):\n    pass", "What is the default value of a of the function f in the example{}?", "5"),
        ("print(found)\n{'score': 0.5}", "What score does the output of the example{} show?", "0.5"),
    ],
)
def test_the_question_names_its_example(text: str, question: str, answer: str) -> None:
    assert asked(text) == [(question.format(' under "Large batches" on the toolbox page "training"'), answer)]


def test_a_docstring_is_named_by_its_object_and_a_heading_that_is_the_page_is_not_told_twice() -> None:
    assert asked("f(lr=0.1)", "peft==0.1:peft.LoraConfig", "")[0][0] == (
        "What value does lr have in the call of f of peft's LoraConfig?"
    )
    assert asked("f(lr=0.1)", PAGE, "Training")[0][0].endswith('of f on the toolbox page "training"?')


def test_nothing_is_asked_where_nothing_names_the_example_or_the_question_holds_the_answer() -> None:
    assert asked("f(lr=0.1)", "corpus.jsonl:12", "") == []
    assert example_questions({"text": "f(lr=0.1)", "source": PAGE, "topic": ""}) == []
    assert asked("load('training')") == []


def test_a_table_is_asked_by_row_and_column() -> None:
    text = "| Model | Language | Ready |\n|---|---|---|\n| [ernie-base](a.md) | Chinese | ✅ |\n| | English | ✅ |\n"
    place = 'under "Large batches" on the toolbox page "training"'
    assert asked(text) == [(f'Which "Language" does the table {place} give for ernie-base?', "Chinese")]
    twice = "| Model | Speed |\n|---|---|\n| base | 10 ms |\n| base | 20 ms |\n| large | 30 ms |\n"
    assert [answer for _, answer in asked(twice)] == ["30 ms"]  # which "base"?
    assert asked("| 12 | 5 |\n| 13 | 6 |\n") == []
    assert asked("") == []
