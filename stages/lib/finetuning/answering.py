"""Answers to held-out prompts as a finetuned GPT gives them: in the template it was trained on, greedily."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from stages.lib.core.progress import each
from stages.lib.core.records import Record
from stages.lib.gpt.generate import generate
from stages.lib.gpt.model import GPT
from stages.lib.gpt.sampling import PRESETS
from stages.lib.instructions.examples import Example
from stages.lib.tokens.instruction_template import prompt_ids
from stages.lib.tokens.tokenizers import Tokenizer

BATCH = 32  # prompts that are answered together


@dataclass(frozen=True)
class Answer:
    """What the model said."""

    text: str  # without white space around it
    ended: bool  # by `eot`; else it was cut at the most tokens allowed


def answered(examples: Sequence[Example], limit: int) -> list[Example]:
    """The examples to answer, `limit` at most (0: all), in the order of their digests: of all sources."""
    ordered = sorted(examples, key=lambda example: example.digest)
    return ordered[: limit or None]


def answer(model: GPT, tokenizer: Tokenizer, asked: Sequence[Example], max_new_tokens: int) -> list[Answer]:
    """The greedy answer to the prompt of each example, of at most `max_new_tokens`."""
    answers: list[Answer] = []
    for start in each(range(0, len(asked), BATCH), "answers", f"batch of {BATCH}"):
        new = generate(
            model,
            [prompt_ids(tokenizer, example.prompt) for example in asked[start : start + BATCH]],
            max_new_tokens=max_new_tokens,
            sampling=PRESETS["greedy"],
            valid_ids=tokenizer.vocab_size,
            stop=tokenizer.eot,
        )
        answers += [Answer(tokenizer.decode(ids).strip(), len(ids) < max_new_tokens) for ids in new]
    return answers


def answer_records(asked: Sequence[Example], answers: Mapping[str, Sequence[Answer]]) -> list[Record]:
    """What was asked, the reference, and what the model answered `after` the finetuning and `before`."""
    return [
        {
            "prompt": example.prompt,
            "reference": example.answer,
            "answer": after.text,
            "ended": after.ended,
            "answer_before": before.text,
            "source": example.source,
        }
        for example, after, before in zip(asked, answers["after"], answers["before"], strict=True)
    ]
