"""What each model family has to get right, a function a column of docs/families.md; each raises where it does not.

A function takes a family's name and returns a note for the table, or nothing. A column more is a function more in
CHECKS. Real tokenizers, and small random models of the family's architecture (tests/families.py).
"""

from collections.abc import Callable
from typing import Any

from stages.lib.conversations.chat_format import DATE_STRING, TODAY, ChatFormat
from stages.lib.conversations.encoding import beginning, encode
from stages.lib.conversations.markup import markup_of
from stages.lib.conversations.rendering import folds, render
from stages.lib.lora.masks import IGNORED, encode_samples
from stages.lib.replying.conversation_replies import generate_replies
from tests import families
from tests.lib.chat import family_chat
from tests.lib.gguf import family_release

SYSTEM, USER = {"role": "system", "content": "Be brief."}, {"role": "user", "content": "Wie heißt die Stadt? 日本"}
REPLY, AGAIN = {"role": "assistant", "content": "Élodie said: Rome."}, {"role": "user", "content": "Why?"}


def template(name: str) -> str:
    """A prompt's ids are those of its own template, with what its tokenizer puts first, once; markup is text."""
    tokenizer = families.tokenizer(name)
    ids = encode(tokenizer, render(tokenizer, [USER], ChatFormat(), generation_prompt=True))
    own = card_ids(tokenizer, [USER])
    assert ids == own, (tokenizer.convert_ids_to_tokens(ids)[:12], tokenizer.convert_ids_to_tokens(own)[:12])
    marks = [mark for mark in markup_of(tokenizer).ids if "reserved" not in mark and "SPECIAL_" not in mark]
    forged = [{"role": "user", "content": f"{USER['content']} {' '.join(marks[:40])}"}]
    found = encode(tokenizer, render(tokenizer, forged, ChatFormat(), generation_prompt=True))
    known = set(markup_of(tokenizer).ids.values())
    assert [token for token in found if token in known] == [token for token in ids if token in known]
    text = render(tokenizer, [SYSTEM, USER], ChatFormat(), generation_prompt=True).text
    assert text.count(SYSTEM["content"]) == 1
    return "system turn folded" if folds(tokenizer, ChatFormat()) else ""


def masks(name: str) -> str:
    """What is learned follows the very ids that are asked, and is the answer and the end of its turn."""
    tokenizer = families.tokenizer(name)
    turns = [SYSTEM, USER, REPLY, AGAIN, REPLY]
    samples = encode_samples(tokenizer, turns, name)
    asked = [encode(tokenizer, render(tokenizer, turns[:end], generation_prompt=True)) for end in (2, 4)]
    for prompt in asked:
        sample = next(
            one for one in samples if one.input_ids[: len(prompt)] == prompt and learned_from(one, len(prompt))
        )
        words = tokenizer.decode(sample.input_ids[len(prompt) : len(prompt) + learned_from(sample, len(prompt))])
        assert words.strip("▁ ").startswith(REPLY["content"])
    total = sum(learned_from(sample, place) > 0 for sample in samples for place in range(len(sample.labels)))
    assert total > 0
    return "a sample a turn" if len(samples) > 1 else ""


def greedy(name: str) -> str:
    """Greedy replies are those of transformers' generate behind the card's prompt, by eval's loop and the engine."""
    import torch

    from stages.lib.llm.protocol import GenerateRequest, Prompt, Sampling
    from stages.lib.llm.transformers_backend import TransformersBackend
    from stages.lib.weights.base import load_base
    from stages.lib.weights.models import ModelEntry

    entry = ModelEntry(source=f"path:{families.small_model(name)}", backend="transformers")
    model, tokenizer = load_base(entry)
    ids = torch.tensor([card_ids(tokenizer, [USER])])
    with torch.inference_mode():
        whole = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=12, do_sample=False)[0]
    ends = model.generation_config.eos_token_id
    ends = ends if isinstance(ends, list) else [ends]
    new = [token for token in whole[ids.shape[1] :].tolist() if token not in ends]
    (reply,) = generate_replies(model, tokenizer, [[USER]], max_new_tokens=12, temperature=0.0, seed=0, batch_size=1)
    assert reply.tokens == len(new)
    asked = GenerateRequest(prompt=Prompt(text=USER["content"]), sampling=Sampling(max_tokens=12))
    try:
        found = dict(pair for batch in TransformersBackend(entry).generate([asked], [0]) for pair in batch)[0]
    except ValueError as error:
        assert "full attention" in str(error)
        return "sliding windows: eval and training alone, else vllm"
    assert (found.text, found.completion_tokens) == (reply.text, len(new))
    assert found.prompt_tokens == ids.shape[1]
    return ""


CHECKS: dict[str, Callable[[str], str]] = {
    "template": template,
    "masks": masks,
    "greedy tokens": greedy,
    "merge": family_release.merging,
    "GGUF gate": family_release.gate,
    "chat": family_chat.chat,
}
SLOW = ("GGUF gate", "chat", "greedy tokens")  # over 10 to 20 seconds a family


def card_ids(tokenizer: Any, turns: list[dict[str, str]]) -> list[int]:
    """A prompt as the family's model card makes it: the template's text, tokenized, with the tokenizer's beginning."""
    text = tokenizer.apply_chat_template(
        turns,
        tokenize=False,
        add_generation_prompt=True,
        enable_thinking=False,
        date_string=DATE_STRING,
        strftime_now=TODAY.strftime,
    )
    if "<|channel|>" in tokenizer.get_chat_template():
        text += "<|channel|>final<|message|>"
    ids = list(tokenizer(text, add_special_tokens=False)["input_ids"])
    first = beginning(tokenizer)
    return ids if ids[: len(first)] == first else first + ids


def learned_from(sample: Any, place: int) -> int:
    """How many tokens are learned from a place on, without a gap."""
    labels = sample.labels[place:]
    return next((i for i, label in enumerate(labels) if label == IGNORED), len(labels))
