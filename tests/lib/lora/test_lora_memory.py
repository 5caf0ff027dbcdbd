from dataclasses import replace
from pathlib import Path

import pytest

from stages.lib.adapters.lora import Lora
from stages.lib.lora.memory import GB, TuningLoad, check_memory, estimate, read_shape, unpacked_if_it_fits
from tests.lib.lora.tiny_chat import write_tiny_base

LOAD = TuningLoad(rows=8, length=4096, supervised=8000, dtype="bfloat16", checkpointing="none")


def test_counts_the_weights(tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    directory = write_tiny_base(tmp_path / "tiny")
    shape = read_shape(directory, Lora(r=4, lora_alpha=4, lora_dropout=0.0, target_modules=[]))
    model = AutoModelForCausalLM.from_pretrained(directory)
    assert shape.linear + shape.other == model.num_parameters()
    assert shape.targets == 7 and shape.layers == 2


def test_counts_the_weights_of_a_gpt2(tmp_path: Path) -> None:
    """Other names of its sizes, and matrices that are no nn.Linear."""
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(vocab_size=50, n_positions=32, n_embd=16, n_layer=3, n_head=2, n_inner=48)
    model = GPT2LMHeadModel(config)
    model.save_pretrained(tmp_path)
    shape = read_shape(tmp_path, Lora(r=2, lora_alpha=4, lora_dropout=0.0, target_modules=[]))
    block = 16 * 48 + 16 * 16 + 16 * 48 + 48 * 16  # queries, keys and values; output; the MLP's two
    assert shape.linear == 3 * block and shape.linear + shape.other == model.num_parameters()
    assert (shape.layers, shape.hidden, shape.intermediate, shape.keys_values, shape.vocab) == (3, 16, 48, 32, 50)
    assert shape.targets == 4 and shape.adapter == 3 * 2 * (16 + 48 + 16 + 16 + 16 + 48 + 48 + 16)


def test_says_what_to_lower(tmp_path: Path) -> None:
    shape = read_shape(write_tiny_base(tmp_path / "tiny"), Lora(r=4, lora_alpha=4, lora_dropout=0.0, target_modules=[]))
    total = sum(estimate(shape, LOAD).values())
    assert sum(check_memory(shape, LOAD, total, "here").values()) == total
    with pytest.raises(ValueError, match=r"8 x 4096 tokens.*here has .* free: lower micro_batch to 7"):
        check_memory(shape, LOAD, total - 1, "here")
    one = sum(estimate(shape, replace(LOAD, rows=1, supervised=1000, checkpointing="full")).values())
    with pytest.raises(ValueError, match="gradient_checkpointing: full and micro_batch: 1"):
        check_memory(shape, LOAD, one, "here")
    with pytest.raises(ValueError, match="lower max_length to"):
        check_memory(shape, LOAD, one - 1, "here")
    with pytest.raises(ValueError, match="smaller base"):
        check_memory(shape, LOAD, int(0.1 * GB), "here")


def test_weights_are_unpacked_where_that_fits(tmp_path: Path) -> None:
    shape = read_shape(write_tiny_base(tmp_path / "tiny"), Lora(r=4, lora_alpha=4, lora_dropout=0.0, target_modules=[]))
    held = replace(LOAD, unpacked=True)
    total = sum(estimate(shape, held).values())
    assert total - sum(estimate(shape, LOAD).values()) == 2 * shape.linear
    assert unpacked_if_it_fits(shape, LOAD, total) == held
    assert unpacked_if_it_fits(shape, LOAD, total - 1) == LOAD
