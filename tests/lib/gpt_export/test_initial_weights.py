"""Weights to start from: our checkpoints and Hugging Face directories, what must match and what need not."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from stages.lib.core import tracked
from stages.lib.gpt.checkpoints import TokenizerFacts
from stages.lib.gpt.model import GPT, GPTConfig
from stages.lib.gpt_export.huggingface import to_hf
from stages.lib.gpt_export.initial_weights import initial_model, initial_weights_identity, parse
from stages.lib.tokens.tokenizers import load_tokenizer
from tests.lib.gpt.saved_model import save_model

BYTES = load_tokenizer("byte")
FACTS = TokenizerFacts(name="byte", identity=BYTES.identity, vocab_size=BYTES.vocab_size, eot=BYTES.eot)
CONFIG = GPTConfig(vocab_size=320, context=16, n_layer=2, n_head=2, d_model=16)


def model(seed: int, config: GPTConfig = CONFIG) -> GPT:
    torch.manual_seed(seed)
    return GPT(config)


def same(one: GPT, other: GPT) -> bool:
    ours, theirs = one.state_dict(), other.state_dict()
    return all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_a_checkpoint_of_ours(tmp_path: Path) -> None:
    start, fresh = model(1), model(2)
    save_model(tmp_path / "start", start, FACTS)
    initial_model(str(tmp_path / "start"), fresh, BYTES)
    assert same(fresh, start)


def test_a_hugging_face_directory(tmp_path: Path) -> None:
    start, fresh = model(1), model(2, replace(CONFIG, dropout=0.1))
    to_hf(start, BYTES, tmp_path / "start")
    initial_model(str(tmp_path / "start"), fresh, BYTES)
    assert torch.allclose(fresh.state_dict()["embedding.weight"], start.state_dict()["embedding.weight"])
    ids = torch.arange(10)[None]
    assert torch.allclose(fresh.eval()(ids), start.eval()(ids), atol=1e-5)


def test_rows_beyond_the_given_ones_and_a_longer_context_stay_free(tmp_path: Path) -> None:
    start, fresh = model(1), model(2, replace(CONFIG, vocab_size=384, context=32))
    own = fresh.state_dict()["embedding.weight"][320:].clone()
    save_model(tmp_path / "start", start, FACTS)
    initial_model(str(tmp_path / "start"), fresh, BYTES)
    found = fresh.state_dict()["embedding.weight"]
    assert torch.equal(found[:320], start.state_dict()["embedding.weight"])
    assert torch.equal(found[320:], own)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (replace(CONFIG, n_layer=3, d_model=32), r"set in section pretrain: .*n_layer: 2, .*d_model: 16"),
        (replace(CONFIG, activation="gelu"), "activation: gelu_sigmoid"),
        (replace(CONFIG, vocab_size=256), "has 320 rows for tokens"),
    ],
)
def test_another_shape_is_named(tmp_path: Path, config: GPTConfig, message: str) -> None:
    save_model(tmp_path / "start", model(1), FACTS)
    with pytest.raises(ValueError, match=message):
        initial_model(str(tmp_path / "start"), model(2, config), BYTES)


def test_learned_positions_need_their_context(tmp_path: Path) -> None:
    learned = replace(CONFIG, position="learned")
    save_model(tmp_path / "start", model(1, learned), FACTS)
    with pytest.raises(ValueError, match="context: 16"):
        initial_model(str(tmp_path / "start"), model(2, replace(learned, context=32)), BYTES)


def test_another_tokenizer_is_named(tmp_path: Path) -> None:
    save_model(tmp_path / "start", model(1), replace(FACTS, identity="another"))
    with pytest.raises(ValueError, match="trained with tokenizer 'byte', the shards with 'byte'"):
        initial_model(str(tmp_path / "start"), model(2), BYTES)


def test_the_identity_is_the_contents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert initial_weights_identity("") == ""
    assert initial_weights_identity("hub:org/name@abc") == "org/name@abc"
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        save_model(tmp_path / ".cache" / name, model(seed), FACTS)
    one, same_again, other = (initial_weights_identity(str(tmp_path / ".cache" / name)) for name in "abc")
    assert one == same_again != other
    # A queued experiment has its project's cache.
    monkeypatch.setenv("LLMILL_CACHE", str(tmp_path / ".cache"))
    assert parse(".cache/a") == (str(tmp_path / ".cache/a"), "")


def test_weights_that_dvc_does_not_track_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LLMILL_CACHE", raising=False)
    monkeypatch.setattr(tracked, "running_stage", lambda: "pretrain")
    for place in ("models/start", ".cache/pretrain/key/step_00000001"):
        save_model(Path(place), model(1), FACTS)
    graph: dict[str, Any] = {"stages": {"pretrain": {"cmd": "x", "deps": ["data/shards"]}}}
    Path("dvc.yaml").write_text(yaml.safe_dump(graph))
    with pytest.raises(ValueError, match=r"init_from: models/start: .*add `- models/start` to the deps of pretrain"):
        initial_weights_identity("models/start")
    assert initial_weights_identity(".cache/pretrain/key/step_00000001")  # its name says what is in it
    graph["stages"]["pretrain"]["deps"].append("models/start")
    Path("dvc.yaml").write_text(yaml.safe_dump(graph))
    assert initial_weights_identity("models/start") == initial_weights_identity(".cache/pretrain/key/step_00000001")
