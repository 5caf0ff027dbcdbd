"""The estimate of a release: by hand, against a run's peak, and for the cards' models."""

import importlib.util
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from stages.lib.gguf.memory import (
    COPY,
    GB,
    ReleaseLoad,
    ReleaseShape,
    check_disk,
    check_memory,
    disk_bytes,
    estimate,
    read_release_shape,
    with_copy,
)
from tests.lib.lora.tiny_chat import chat_record, params_text, tiny_tokenizer

SHAPE = ReleaseShape(weights=1000, largest=50, embedding=200, vocab=20, layers=2, keys_values=8)
LOAD = ReleaseLoad(window=16, windows=3, context=100, adapter=7)


def test_parts_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    parts = estimate(SHAPE, LOAD)
    assert parts["the model in float32"] == 4 * 1200 and parts["adapter"] == 28
    assert parts["llama.cpp"] == 2 * 1200 + 2 * 100 * 2 * 8  # more than 10 bytes of 250 weights, or 3 windows
    assert set(parts) == {"process", "the model in float32", "adapter", "llama.cpp"}
    assert estimate(SHAPE, replace(LOAD, context=1, window=900))["log-probabilities of a window"] == 3 * 4 * 900 * 20
    assert disk_bytes(SHAPE, LOAD) == 4 * 3 * 16 * 20


def test_the_merged_weights_are_copied_where_there_is_room_for_them() -> None:
    parts = {"process": 100, "the model in float32": 4800}
    assert with_copy(parts, SHAPE, 4900 + 4800) == parts | {COPY: 4 * 1200}
    assert with_copy(parts, SHAPE, 4900 + 4799) == parts


def test_a_7b_and_an_8b_of_128k_tokens_fit_80_gb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers import LlamaConfig

    monkeypatch.setenv("OMP_NUM_THREADS", "16")
    load = ReleaseLoad(window=2048, windows=8, context=2048 + 256, adapter=42_000_000)  # as profile a100 sets them
    for vocab, weights in ((32000, 7.24e9), (128256, 8.03e9)):
        size = {"hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32}
        size |= {"num_attention_heads": 32, "num_key_value_heads": 8}
        LlamaConfig(vocab_size=vocab, **size).save_pretrained(tmp_path)
        shape = read_release_shape(tmp_path)
        assert shape.weights == pytest.approx(weights, rel=0.001)
        assert sum(check_memory(shape, load, int(80 * GB), "an A100").values()) < 60 * GB
        with pytest.raises(ValueError, match=r"an A100 has 40\.00 free: merge and export it on a machine with more"):
            check_memory(shape, load, int(40 * GB), "an A100")


def test_what_to_lower_is_said(tmp_path: Path) -> None:
    wide = replace(LOAD, window=100_000_000)
    with pytest.raises(ValueError, match=r"lower gguf\.window"):
        check_memory(SHAPE, wide, int(1 * GB), "this machine")
    with pytest.raises(OSError, match=r"lower gguf\.held_out_tokens"):
        check_disk(SHAPE, replace(wide, windows=1_000_000), tmp_path)


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("xllamacpp") is None, reason="xllamacpp is not installed")
def test_the_estimate_is_near_a_runs_peak(tmp_path: Path) -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    from tests.test_gguf import PARAMS

    size = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 6, "num_attention_heads": 12}
    config = LlamaConfig(vocab_size=32000, max_position_embeddings=512, bos_token_id=1, eos_token_id=2, **size)
    LlamaForCausalLM(config).save_pretrained(tmp_path / "base")
    tiny_tokenizer().save_pretrained(tmp_path / "base")
    gates = {"max_mean_kl": 9.0, "min_top_agreement": 0.0, "max_perplexity_ratio": 9.0, "min_runtime_agreement": 0.0}
    section = PARAMS | gates | {"model": "tiny", "types": ["F16"], "min_greedy_agreement": 0.0, "max_new_tokens": 2}
    (tmp_path / "params.yaml").write_text(params_text(tmp_path / "base") + yaml.safe_dump({"gguf": section}))
    (tmp_path / "held.jsonl").write_text("\n".join(json.dumps(chat_record(i)) for i in range(8)))
    environment = os.environ | {"OMP_NUM_THREADS": "2", "PYTHONPATH": str(Path.cwd())}
    # VmHWM is the program's own: ru_maxrss begins at what the test's process had when it forked.
    code = (
        "import re, stages.gguf as stage; stage.main(); "
        "print(re.search(r'VmHWM:\\s+(\\d+) kB', open('/proc/self/status').read())[1])"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    peak = int(ran.stdout.split()[-1]) * 1024
    estimated = json.loads((tmp_path / "timings/gguf.json").read_text())["estimated_memory_mb"] * 1e6
    print(f"estimated {estimated / GB:.2f} GB, peak {peak / GB:.2f} GB")
    assert peak < 1.1 * estimated and estimated < 1.4 * peak
