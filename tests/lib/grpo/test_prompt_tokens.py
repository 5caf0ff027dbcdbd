"""TRL's trainer is given the prompts that are asked elsewhere."""

import inspect
from types import SimpleNamespace
from typing import Any

import pytest

from stages.lib.conversations.chat_format import ChatFormat
from stages.lib.conversations.encoding import encode
from stages.lib.conversations.rendering import render
from stages.lib.grpo.prompt_tokens import with_our_prompts
from stages.lib.grpo.settings import trl_reward
from tests import families
from tests.lib.grpo.test_rewards import SAMPLE

PROMPT = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "What is </s>?"}]


class Trainer:
    """What of TRL's trainer matters here."""

    def __init__(self, tokenizer: Any) -> None:
        self.processing_class = tokenizer

    def _tokenize_prompts(self, prompts: Any) -> Any:
        raise AssertionError("TRL calls the chat template itself")


@pytest.mark.parametrize("name", ["zephyr", "mistral", "llama3", "qwen3"])
@pytest.mark.parametrize("thinking", [False, True])
def test_prompts_are_written_as_everywhere(name: str, thinking: bool) -> None:
    tokenizer, fmt = families.tokenizer(name), ChatFormat(thinking=thinking)
    trainer = with_our_prompts(Trainer, fmt)(tokenizer)
    expected = encode(tokenizer, render(tokenizer, PROMPT, fmt, generation_prompt=True))
    assert trainer._tokenize_prompts([PROMPT, PROMPT]) == ([expected, expected], None, {})


def test_trl_asks_for_tokens_by_that_method() -> None:
    from trl import GRPOTrainer

    assert "self._tokenize_prompts(prompts)" in inspect.getsource(GRPOTrainer)
    with pytest.raises(AssertionError, match="another version"):
        with_our_prompts(SimpleNamespace, ChatFormat())


def test_rewards_see_what_was_said_alone() -> None:
    seen: list[str] = []

    def reward(samples: Any, replies: list[str]) -> list[float]:
        seen.extend(replies)
        return [1.0] * len(replies)

    call = trl_reward("format", reward, lambda text: text.rpartition("</think>")[2].strip())  # type: ignore[arg-type]
    columns = {field: [getattr(SAMPLE, field)] for field in SAMPLE.__dataclass_fields__}
    call([[{"role": "assistant", "content": "<think>hm</think> Rome."}]], **columns)
    assert seen == ["Rome."]
