"""The command that exports a checkpoint: whole and compared, or not at all, and never over anything else."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from stages.lib.gpt.checkpoints import TokenizerFacts
from stages.lib.gpt.model import GPT
from stages.lib.gpt_export import to_hf as command
from stages.lib.gpt_export.huggingface import to_hf
from stages.lib.gpt_export.to_hf import export, main
from stages.lib.tokens.instruction_template import TEMPLATE
from stages.lib.tokens.tokenizers import load_tokenizer
from tests import families
from tests.lib.gpt.saved_model import save_model
from tests.lib.gpt_export.test_huggingface import LAYOUTS, small_model


def checkpoint(place: Path, name: str = "byte", **shape: Any) -> GPT:
    tokenizer = load_tokenizer(name)
    model = small_model(vocab_size=-(-tokenizer.vocab_size // 8) * 8, **shape)
    size, eot = tokenizer.vocab_size, tokenizer.eot
    save_model(place, model, TokenizerFacts(name=name, identity=tokenizer.identity, vocab_size=size, eot=eot))
    return model


@pytest.mark.parametrize(
    ("layout", "model_type"), [(LAYOUTS[0], "gpt2"), (LAYOUTS[1], "gpt2"), (LAYOUTS[3], "llama"), (LAYOUTS[4], "llama")]
)
def test_it_says_in_one_line_what_it_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], layout: dict[str, Any], model_type: str
) -> None:
    model = checkpoint(tmp_path / "best", **layout)
    main([str(tmp_path / "best"), str(tmp_path / "deep" / "out")])
    line = capsys.readouterr().out
    assert line.count("\n") == 1
    assert f"{model_type}, {model.n_params:,} weights in float32, tokenizer byte; " in line
    assert float(re.findall(r"largest difference (\S+) over 48 tokens", line)[0]) < 1e-4
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path / "deep" / "out").eval()
    ids = torch.arange(20)[None]
    with torch.no_grad():
        assert (theirs(ids).logits - model(ids)).abs().max() < 1e-4
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["out"]  # nothing else is left


def test_a_finetuned_model_comes_with_its_chat_template(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    byte = load_tokenizer("byte")
    facts = TokenizerFacts(name="byte", identity=byte.identity, vocab_size=byte.vocab_size, eot=byte.eot)
    save_model(tmp_path / "tuned", small_model(), facts, TEMPLATE)
    main([str(tmp_path / "tuned"), str(tmp_path / "out")])
    said = capsys.readouterr()
    assert "tokenizer byte, chat template; " in said.out
    assert "longer than" not in said.err
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    asked = tokenizer.apply_chat_template([{"role": "user", "content": "Why?"}], add_generation_prompt=True)
    assert asked["input_ids"] == [*b"Why?", byte.sep]


@pytest.mark.parametrize("family", ["zephyr", "gemma3", "deepseek_v3"])
def test_tokenizers_of_other_families(tmp_path: Path, family: str) -> None:
    name = f"hf:{families.directory(family)}"
    checkpoint(tmp_path / "best", name, n_layer=1, n_head=1, d_model=2)
    export(tmp_path / "best", tmp_path / "out")
    text = "Once upon  a time, 12 µm"
    ids = AutoTokenizer.from_pretrained(tmp_path / "out")(text, add_special_tokens=False)["input_ids"]
    assert ids == load_tokenizer(name).encode(text).tolist()


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_rounded_weights_are_allowed_their_rounding(tmp_path: Path, dtype: Any) -> None:
    checkpoint(tmp_path / "best")
    made = export(tmp_path / "best", tmp_path / "out", dtype)
    assert 1e-5 < made.difference < 0.3
    assert json.loads((tmp_path / "out" / "config.json").read_text())["dtype"] == dtype


def test_what_stands_at_the_place_stays_unless_it_is_an_export(tmp_path: Path) -> None:
    checkpoint(tmp_path / "best")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "full")
    checkpoint(tmp_path / "other")
    for place, message in (
        ("full", "exists and is no Hugging Face model"),
        ("file", "is a file"),
        ("link", "exists and is no"),
        ("other", "exists and is no Hugging Face model"),  # a checkpoint of ours has a config.json, too
        ("best", "lies in the checkpoint"),
        ("best/out", "lies in the checkpoint"),
    ):
        before = sorted(path.name for path in tmp_path.rglob("*"))
        with pytest.raises(ValueError, match=message):
            export(tmp_path / "best", tmp_path / place, replace=True)
        assert sorted(path.name for path in tmp_path.rglob("*")) == before
    export(tmp_path / "best", tmp_path / "empty")
    with pytest.raises(ValueError, match="exists; --replace puts the new one in its place"):
        export(tmp_path / "best", tmp_path / "empty")
    (tmp_path / "empty" / "old").write_text("old")
    export(tmp_path / "best", tmp_path / "empty", replace=True)
    assert not (tmp_path / "empty" / "old").exists()
    assert not list(tmp_path.glob(".*"))


def test_other_logits_are_never_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint(tmp_path / "best")

    def another(model: GPT, *rest: Any) -> None:
        with torch.no_grad():
            model.blocks[0].mlp.up.weight[0] += 1  # type: ignore[index, operator, union-attr]
            to_hf(model, *rest)
            model.blocks[0].mlp.up.weight[0] -= 1  # type: ignore[index, operator, union-attr]

    monkeypatch.setattr(command, "to_hf", another)
    with pytest.raises(ValueError, match=r"logits differ from the checkpoint's by .* nothing was written"):
        export(tmp_path / "best", tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["best"]


def test_a_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint(tmp_path / "best")

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(command, "to_hf", full)
    with pytest.raises(ValueError, match=r"out: the export could not be saved .*No space left"):
        export(tmp_path / "best", tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["best"]


def test_errors_are_one_line(tmp_path: Path) -> None:
    checkpoint(tmp_path / "mixed", position="learned")
    for place, message in (("absent", "no such file"), ("mixed", "no layout holds position 'learned'")):
        with pytest.raises(SystemExit, match=f"^to_hf: .*{message}") as caught:
            main([str(tmp_path / place), str(tmp_path / "out")])
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()
    facts = TokenizerFacts(name="byte", identity="old", vocab_size=260, eot=258)
    save_model(tmp_path / "old", small_model(), facts)
    with pytest.raises(SystemExit, match="another tokenizer than 'byte' is now"):
        main([str(tmp_path / "old"), str(tmp_path / "out")])
