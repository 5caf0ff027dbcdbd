"""Each family through the whole way: written, read back by the gguf package, and run by llama.cpp."""

import importlib.util
from pathlib import Path
from typing import Any

import pytest
import torch

from stages.lib.gguf.layouts import make_layout
from stages.lib.gguf.llama_runtime import LlamaRuntime
from stages.lib.gguf.release_gate import agreement, log_probs
from stages.lib.gguf.tensors import read_tensors
from stages.lib.gguf.vocabulary import read_vocabulary
from stages.lib.gguf.writing import write_gguf
from tests.lib.gguf.tiny_families import FAMILIES, tiny_family
from tests.lib.lora.tiny_chat import tiny_tokenizer

if importlib.util.find_spec("xllamacpp") is None:
    pytest.skip("xllamacpp is not installed", allow_module_level=True)

TEXT = "Longer than the original length of the scaled ropes, so that every wave of theirs counts here: " + "abc " * 12


def write(model: Any, file: Path, file_type: Any = "F16") -> Any:
    state = model.state_dict()
    layout = make_layout(model.config, {name: tuple(tensor.shape) for name, tensor in state.items()})
    vocabulary = read_vocabulary(tiny_tokenizer(), layout.vocabulary)
    write_gguf(file, layout=layout, vocabulary=vocabulary, tensor=state.__getitem__, file_type=file_type, name="tiny")
    return layout


@pytest.mark.parametrize("family", FAMILIES)
def test_llama_cpp_computes_what_transformers_computes(
    family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    model, file = tiny_family(family), tmp_path / "tiny.gguf"
    layout = write(model, file)
    state = model.state_dict()
    back = dict(read_tensors(file, layout))
    assert set(state) - set(back) <= {"lm_head.weight"}
    for name, tensor in back.items():
        assert torch.equal(
            tensor, state[name].half().float() if tensor.dim() > 1 and "wpe" not in name else state[name]
        )
    with LlamaRuntime(file, 256) as runtime:
        prompt = runtime.tokens(TEXT)
        assert prompt == tiny_tokenizer()(TEXT)["input_ids"]
        reply = runtime.greedy(prompt, 24)
    assert len(reply.tokens) == 24 or reply.ended
    drawn = torch.tensor(reply.tokens)
    expected = log_probs(model, torch.tensor([*prompt, *reply.tokens]))[len(prompt) - 1 : -1]
    # llama.cpp multiplies in float16: where two tokens are as likely as each other, it may take the other one.
    behind = expected.max(-1).values - expected.gather(1, drawn[:, None])[:, 0]
    assert behind.max() < 0.1
    same, gaps = agreement(model, prompt, reply)
    assert sum(same) >= len(same) - 3
    assert not gaps or max(gaps) < 0.1


def test_rows_of_q_and_k_are_what_makes_llama_differ(tmp_path: Path) -> None:
    model = tiny_family("llama")
    places = {placed.source: placed for placed in write(model, tmp_path / "tiny.gguf").tensors}
    query = places["model.layers.0.self_attn.q_proj.weight"]
    rows = torch.arange(64.0)[:, None].expand(64, 64)
    assert query.to_gguf(rows)[:4, 0].tolist() == [0, 8, 1, 9]
    assert torch.equal(query.from_gguf(query.to_gguf(rows)), rows)
    assert places["model.layers.0.self_attn.v_proj.weight"].heads == 0
