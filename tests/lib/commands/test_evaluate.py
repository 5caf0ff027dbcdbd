import io
import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from stages.lib.commands import evaluate
from stages.lib.commands.evaluate import Evaluation, evaluate_tokens
from stages.lib.gpt.checkpoints import TokenizerFacts
from stages.lib.gpt.model import GPT, GPTConfig
from stages.lib.tokens.tokenizers import load_tokenizer
from tests.lib.gpt.saved_model import save_model

VOCABULARY, CONTEXT = 31, 8


def small_model(**changes: Any) -> GPT:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    shape = {"vocab_size": VOCABULARY, "context": CONTEXT, "n_layer": 2, "n_head": 2, "d_model": 16}
    model = GPT(GPTConfig(**(shape | changes)))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 2:
                parameter.mul_(10)
    return model


def some_ids(count: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, VOCABULARY, count)


def by_hand(model: GPT, ids: np.ndarray, stride: int) -> float:
    """Every token on its own: from the window that scores it first."""
    model.eval()
    losses = []
    for place in range(1, len(ids)):
        start = 0
        while start + CONTEXT < place:
            start += stride
        with torch.no_grad():
            logits = model(torch.from_numpy(ids[start:place])[None])[0, -1]
        losses.append(-float(logits.log_softmax(-1)[ids[place]]))
    return sum(losses) / len(losses)


@pytest.mark.parametrize("stride", [8, 5, 1])
@pytest.mark.parametrize("count", [2, 8, 9, 10, 17, 30])
def test_every_token_but_the_first_is_scored_once(count: int, stride: int) -> None:
    model, ids = small_model(), some_ids(count)
    result = evaluate_tokens(model, ids, stride)
    assert result.tokens == count - 1
    assert result.loss == pytest.approx(by_hand(model, ids, stride), rel=1e-5)
    assert result.perplexity == pytest.approx(math.exp(result.loss))


def test_windows_computed_together_or_apart_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    model, ids = small_model(), some_ids(100)
    together = evaluate_tokens(model, ids.tolist(), 3)
    monkeypatch.setattr(evaluate, "LOGITS_AT_ONCE", 1)
    assert evaluate_tokens(model, ids, 3).loss == pytest.approx(together.loss, rel=1e-6)


def test_the_mode_is_restored_and_dropout_off() -> None:
    model, ids = small_model(dropout=0.5).train(), some_ids(40)
    assert evaluate_tokens(model, ids) == evaluate_tokens(model, ids)
    assert model.training
    evaluate_tokens(model.eval(), ids)
    assert not model.training


@pytest.mark.parametrize(
    ("ids", "stride", "message"),
    [
        ([1], 0, "1 tokens: a text of at least 2"),
        ([1, 2], 9, r"stride: 9 is not in 1\.\.8"),
        ([1, 2], -1, r"stride: -1"),
        ([1, VOCABULARY], 0, r"ids 1\.\.31 are not all in 0\.\.30"),
    ],
)
def test_bad_input_is_refused(ids: list[int], stride: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        evaluate_tokens(small_model(), ids, stride)


def test_bits_per_byte_and_overflow() -> None:
    assert Evaluation(loss=math.log(256), tokens=10).bits_per_byte(10) == pytest.approx(8)
    assert Evaluation(loss=1000.0, tokens=1).perplexity == math.inf


def test_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = load_tokenizer("byte")
    model = small_model(vocab_size=260)
    facts = TokenizerFacts(name="byte", identity=tokenizer.identity, vocab_size=260, eot=tokenizer.eot)
    save_model(tmp_path / "best", model, facts)
    text = "Größe: 12 µm\n" * 3
    (tmp_path / "text.txt").write_text(text, encoding="utf-8")
    base = ["--ckpt", str(tmp_path / "best"), "--device", "cpu", "--text"]
    evaluate.main([*base, str(tmp_path / "text.txt"), "--stride", "4"])
    out = capsys.readouterr().out
    expected = evaluate_tokens(model, [tokenizer.eot, *text.encode()], 4)
    assert f"loss           {expected.loss:.4f} nats per token" in out
    assert f"perplexity     {expected.perplexity:,.2f}" in out
    # One token a byte, all of them scored: bits per byte are the loss in bits.
    assert f"bits per byte  {expected.loss / math.log(2):.4f}" in out
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
    evaluate.main([*base, "-", "--stride", "4"])
    assert capsys.readouterr().out == out


def test_command_line_errors(tmp_path: Path) -> None:
    (tmp_path / "bad.txt").write_bytes(b"\xff\xfe")
    (tmp_path / "empty.txt").write_bytes(b"")
    (tmp_path / "good.txt").write_text("good")
    (tmp_path / "ckpt").mkdir()
    (tmp_path / "ckpt" / "config.json").write_text(json.dumps({"n_layer": 1}))

    def run(text: str, ckpt: str = "nowhere") -> None:
        evaluate.main(["--ckpt", str(tmp_path / ckpt), "--text", str(tmp_path / text)])

    for text, message in (("absent", "No such file"), ("bad.txt", "not UTF-8"), ("empty.txt", "is empty")):
        with pytest.raises(SystemExit, match=f"evaluate: --text .*{re.escape(text)}: .*{message}"):
            run(text)
    with pytest.raises(SystemExit, match=r"nowhere.config\.json: no such file"):
        run("good.txt")
    with pytest.raises(SystemExit, match="expected the keys model and tokenizer"):
        run("good.txt", "ckpt")
