"""Replies equal those of `generate`, one by one, whatever the batch; with adapter, sampling and windows."""

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer, MistralConfig, MistralForCausalLM

from stages.lib.llm.chat_text import prompt_tokens
from stages.lib.replying import conversation_replies as replies
from stages.lib.replying.conversation_replies import generate_replies

CONVERSATIONS = [
    [{"role": "system", "content": "the user"}, {"role": "user", "content": "apples and oranges " * n + f"one {n}"}]
    for n in (3, 0, 7, 1, 5)
]


@pytest.fixture(scope="module")
def loaded(tiny_directory: Path) -> tuple[Any, Any]:
    return AutoModelForCausalLM.from_pretrained(tiny_directory), AutoTokenizer.from_pretrained(tiny_directory)


def answer(model: Any, tokenizer: Any, **options: Any) -> list[replies.ConversationReply]:
    settings = {"max_new_tokens": 12, "temperature": 0.0, "seed": 0, "batch_size": 3} | options
    return generate_replies(model, tokenizer, settings.pop("conversations", CONVERSATIONS), **settings)


def one_by_one(model: Any, tokenizer: Any) -> list[replies.ConversationReply]:
    found = []
    for turns in CONVERSATIONS:
        ids = torch.tensor([prompt_tokens(tokenizer, turns)])
        new = model.generate(ids, max_new_tokens=12, do_sample=False)[0, ids.shape[1] :].tolist()
        ends = tokenizer.eos_token_id in new
        tokens = new[: new.index(tokenizer.eos_token_id)] if ends else new
        text = tokenizer.decode(tokens, skip_special_tokens=True)
        found.append(replies.ConversationReply(text=text, tokens=len(tokens), finished=ends))
    return found


def test_greedy_replies_equal_those_of_model_generate(loaded: tuple[Any, Any]) -> None:
    assert answer(*loaded) == one_by_one(*loaded)
    assert answer(*loaded, batch_size=1) == answer(*loaded, batch_size=5)
    assert answer(*loaded, conversations=[]) == []


def test_an_adapter_counts_and_the_model_comes_back_in_its_mode(tiny_directory: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny_directory)
    tokenizer = AutoTokenizer.from_pretrained(tiny_directory)
    before = answer(model, tokenizer)
    torch.manual_seed(3)
    config = LoraConfig(r=4, lora_alpha=64, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    model = get_peft_model(model, config)
    model.train()
    assert answer(model, tokenizer) != before
    assert model.training
    with model.disable_adapter():
        assert answer(model, tokenizer) == before


def test_sampling_depends_on_the_seed_and_not_on_the_neighbours(loaded: tuple[Any, Any]) -> None:
    state = torch.random.get_rng_state()
    sampled = answer(*loaded, temperature=1.0, seed=5)
    assert sampled == answer(*loaded, temperature=1.0, seed=5, batch_size=1)
    assert sampled != answer(*loaded, temperature=1.0, seed=50)
    same = answer(*loaded, conversations=[CONVERSATIONS[0]] * 4, temperature=1.0)
    assert len({reply.text for reply in same}) > 1  # a group of samples of one prompt
    assert torch.equal(state, torch.random.get_rng_state())


def test_sliding_windows_go_through_transformers(loaded: tuple[Any, Any]) -> None:
    torch.manual_seed(0)
    config = MistralConfig(
        vocab_size=len(loaded[1]),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        sliding_window=8,
        initializer_range=0.4,
        eos_token_id=loaded[1].eos_token_id,
    )
    model = MistralForCausalLM(config)
    assert answer(model, loaded[1]) == one_by_one(model, loaded[1])
    sampled = answer(model, loaded[1], temperature=1.0)
    assert sampled == answer(model, loaded[1], temperature=1.0, batch_size=1)
    ids = torch.tensor([prompt_tokens(loaded[1], CONVERSATIONS[0])])
    written = model.generate(ids, max_new_tokens=12, do_sample=False)[0, ids.shape[1] :].tolist()
    model.generation_config.eos_token_id = [loaded[1].eos_token_id, written[3]]
    end = written.index(written[3])
    ended = answer(model, loaded[1])[0]
    assert (ended.tokens, ended.finished) == (end, True)  # the end token is not part of it
    assert ended.text == loaded[1].decode(written[:end], skip_special_tokens=True)


def test_what_does_not_fit_is_named(loaded: tuple[Any, Any]) -> None:
    with pytest.raises(ValueError, match=r"conversation 0 has .* beside 510 of reply"):
        answer(*loaded, max_new_tokens=510)


def test_a_prompt_may_leave_just_the_room_of_its_reply(loaded: tuple[Any, Any]) -> None:
    limit = loaded[0].config.max_position_embeddings
    long = [[{"role": "user", "content": "one " * (limit // 4)}]]
    room = limit - len(prompt_tokens(loaded[1], long[0]))
    assert room > 0
    (reply,) = answer(*loaded, conversations=long, max_new_tokens=room)
    assert reply.tokens == room or reply.finished
    with pytest.raises(ValueError, match=f"the model takes 1 to {limit - room - 1};"):
        answer(*loaded, conversations=long, max_new_tokens=room + 1)
