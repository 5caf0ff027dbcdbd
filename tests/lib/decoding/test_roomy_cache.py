"""A batch that grows on one cache: the same as computing each row anew, and rows leave it when enough have ended."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from stages.lib.decoding import grouped_attention
from stages.lib.decoding.roomy_cache import GrowingBatch, RoomyCache, left_padded

ROWS = [[5, 6, 7, 8], [9, 10], [11, 12, 13], [14]]
LENGTHS = [2, 5, 3, 1]  # new tokens of each row


@pytest.fixture
def model(tiny_directory: Path) -> Any:
    torch.set_num_threads(1)
    return AutoModelForCausalLM.from_pretrained(tiny_directory, dtype=torch.float32).eval()


def cache_for(model: Any, tokens: int) -> RoomyCache:
    return RoomyCache(model.config.num_hidden_layers, tokens)


def test_padding_is_on_the_left() -> None:
    ids, mask = left_padded([[1, 2], [3]], pad=9, device="cpu")
    assert (ids.tolist(), mask.tolist()) == ([[1, 2], [9, 3]], [[1, 1], [0, 1]])


@torch.no_grad()
@pytest.mark.parametrize("prefix", [[], [20, 21, 22]])
@pytest.mark.parametrize("attention", ["sdpa", grouped_attention.NAME])
def test_logits_are_those_of_each_row_alone_and_ended_rows_leave(model: Any, prefix: list[int], attention: str) -> None:
    model.set_attn_implementation(attention)
    cache = cache_for(model, 16)
    if prefix:
        start = cache_for(model, len(prefix))
        model(input_ids=torch.tensor([prefix]), past_key_values=start, use_cache=True)
        cache = RoomyCache.beginning_with(start, model.config.num_hidden_layers, 16)
    texts = [[*prefix, *row] for row in ROWS]
    pushed: list[list[int]] = [[] for _ in ROWS]
    sizes = []

    def choose(logits: torch.Tensor, alive: list[int]) -> list[int]:
        sizes.append(len(alive))
        for row, found in zip(alive, logits, strict=True):
            if len(pushed[row]) < LENGTHS[row]:
                torch.testing.assert_close(found, model(torch.tensor([texts[row]])).logits[0, -1], rtol=1e-4, atol=1e-4)
        return [(7 * row + len(pushed[row])) % 50 for row in alive]

    def push(row: int, token: int) -> bool:
        pushed[row].append(token)
        texts[row].append(token)
        return len(pushed[row]) == LENGTHS[row]

    batch = GrowingBatch(model, cache, ROWS)
    kept = [len(layer.keys) for layer in cache.layers], cache.shared is not None
    assert kept == ([len(ROWS)] * len(cache.layers), bool(prefix) and attention == grouped_attention.NAME)
    batch.grow(choose, push)
    assert [len(tokens) for tokens in pushed] == LENGTHS  # nothing is pushed to a row that has ended
    # The last row ends at the first step, 3 of 4 go on; then 2 of 3; then 1 of 2, which grows to its end alone.
    assert sizes == [4, 3, 2, 1, 1]


@torch.no_grad()
def test_few_ended_rows_stay_and_are_told_nothing(model: Any) -> None:
    ends = [1, 2, 2, 2, 2]
    pushed = [0] * 5
    sizes = []

    def choose(logits: torch.Tensor, alive: list[int]) -> list[int]:
        sizes.append(len(alive))
        return [3] * len(alive)

    def push(row: int, token: int) -> bool:
        pushed[row] += 1
        return pushed[row] == ends[row]

    GrowingBatch(model, cache_for(model, 8), [[5]] * 5).grow(choose, push)
    assert (pushed, sizes) == (ends, [5, 5])  # 4 of 5 are more than KEEP_ROWS


@torch.no_grad()
def test_a_row_named_twice_grows_as_two(model: Any) -> None:
    batch = GrowingBatch(model, cache_for(model, 8), ROWS)
    single = batch.logits
    batch.select_rows([1, 1, 3])
    assert torch.equal(batch.logits, single[[1, 1, 3]])
    tokens: list[list[int]] = [[], [], []]

    def choose(logits: torch.Tensor, alive: list[int]) -> list[int]:
        return logits.argmax(-1).tolist()

    def push(row: int, token: int) -> bool:
        tokens[row].append(token)
        return len(tokens[row]) == 3

    batch.grow(choose, push)
    assert tokens[0] == tokens[1] != tokens[2]
    alone = model.generate(torch.tensor([ROWS[1]]), max_new_tokens=3, do_sample=False, eos_token_id=[319])
    assert tokens[0] == alone[0, 2:].tolist()
