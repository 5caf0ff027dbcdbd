"""Where the answer of a thinking model begins, in the marks of each family."""

import pytest

from stages.lib.replies.thinking import MARKS, after_thinking, visible

HARMONY = "<|channel|>analysis<|message|>hm {draft}<|end|><|start|>assistant"


@pytest.mark.parametrize(("opening", "closing"), MARKS)
def test_each_familys_thinking_is_cut(opening: str, closing: str) -> None:
    assert after_thinking(f"{opening}\nhm\n{closing}\n\n42") == "42"
    assert after_thinking(f"hm\n{closing}\n\n42") == "42"  # the template or the server has the opening mark
    assert after_thinking(f"{opening}hm, never done") == ""
    assert after_thinking(f"hm {closing} no {closing}42") == "42"
    assert after_thinking(f"{opening}a{closing}{opening}b") == ""


@pytest.mark.parametrize(
    ("reply", "answer"),
    [
        ("42", "42"),
        ("hm</think>", ""),
        ('{"answer": "The </think> tag ends it."}', '{"answer": "The </think> tag ends it."}'),
        ("{'answer': 'The </think> tag ends it.'}", "{'answer': 'The </think> tag ends it.'}"),
        ('hm {"answer": 1}\n</think>\n{"answer": "</think>"}', '{"answer": "</think>"}'),
        ("The tag `</think>` ends it.", "The tag `</think>` ends it."),
        ("hm `</think>` hm\n</think>\n42", "42"),
        ("<think>\nhm\n</think>\n<answer>\n42\n</answer>", "42"),
        ("hm\n</think>\n\n<response>\n42\n</response>\n", "42"),
        ("<answer>42</answer>", "<answer>42</answer>"),  # nothing was thought: it may be about HTML
        (HARMONY + "<|channel|>final<|message|>42<|return|>", "42"),
        (HARMONY + "<|channel|>final <|constrain|>json<|message|>{}", "{}"),
        (
            HARMONY + "<|channel|>final<|message|>Phi ends with <|end|> a turn.<|return|>",
            "Phi ends with <|end|> a turn.",
        ),
        (HARMONY + "<|channel|>final<|message|>42<|end|><|start|>user<|message|>more", "42"),
        (HARMONY, ""),
        ("analysisWe need 42.assistantfinal42", "42"),
        ("Here is my thought process: hm\n\nHere is my response: 42", "42"),
    ],
)
def test_the_answer_of_a_reply(reply: str, answer: str) -> None:
    assert after_thinking(reply) == answer


def test_what_the_template_tells_decides() -> None:
    quoting = "The </think> tag ends the thinking, <|end|> a turn of Phi.<|end|>"
    assert visible(quoting, False, "{{ messages }}") == quoting  # a model that writes no such marks
    assert visible("hm</think>42", False, "...content.split('</think>')[-1]") == "42"  # thinks whatever it is told
    assert visible("42<|end|>", False, "<|start|>...<|channel|>") == "42"  # the prompt opened the final channel
    assert visible("hm", True, "<think>") == ""
    assert visible("hm about `</think>`", True) == ""


def test_a_reply_is_what_follows_the_thinking() -> None:
    assert visible("<think>\nhm\n</think>\n\n42", thinking=True) == "42"
    assert visible("hm, never done", thinking=True) == ""
    assert visible("42", thinking=False) == "42"
    harmony = "<|channel|>analysis<|message|>hm<|end|><|start|>assistant<|channel|>final<|message|>42<|return|>"
    assert visible(harmony, thinking=True) == "42"
    assert visible("<|channel|>analysis<|message|>hm", thinking=True) == ""
    assert visible("42<|return|>", thinking=False) == "42"
