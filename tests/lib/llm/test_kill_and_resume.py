"""kill -9 in the middle of a real model's work, then the same command again."""

import json
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

ASKING = """
import json, sys
from pathlib import Path
import torch
from stages.lib.llm.asking import open_model
from stages.lib.weights.models import load_model_entry
from stages.lib.llm.protocol import GenerateRequest, Prompt, Sampling, ScoreRequest
texts = [f"the question about {'apples and ' * (i % 7)}oranges {i}" for i in range(48)]
torch.set_num_threads(1)  # in each process the same sums in the same order
with open_model(load_model_entry("tiny", Path(sys.argv[1]))) as model:
    asked = [GenerateRequest(prompt=Prompt(text=text), sampling=Sampling(max_tokens=40)) for text in texts]
    replies = model.generate(asked)
    scores = model.score([ScoreRequest(prompt=Prompt(text=text), choices=("one", "two")) for text in texts])
answers = [[reply.text for reply in replies], [score.logprobs for score in scores]]
Path(sys.argv[2]).write_text(json.dumps(answers))
print(model.asked, model.reused)
"""


def rows(ledger: Path) -> dict[str, bytes]:
    if not ledger.exists():
        return {}
    database = sqlite3.connect(f"file:{ledger}?mode=ro", uri=True)
    try:
        return dict(database.execute("SELECT key, value FROM answers"))
    except sqlite3.OperationalError:  # the table is not made yet
        return {}
    finally:
        database.close()


def test_whole_batches_are_kept_and_the_result_is_the_same(
    tiny_directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    params = tmp_path / "params.yaml"
    params.write_text(
        f"models:\n  tiny:\n    source: path:{tiny_directory}\n    backend: transformers\n    batch_size: 4\n"
    )

    def arguments(name: str) -> list[str]:
        monkeypatch.setenv("LLMILL_CACHE", str(tmp_path / name))
        return ["-c", str(params), str(tmp_path / f"{name}.json")]

    def run_here(name: str) -> list[int]:
        monkeypatch.setattr(sys, "argv", arguments(name))
        capsys.readouterr()
        exec(ASKING, {})
        return [int(count) for count in capsys.readouterr().out.split()]

    threads = torch.get_num_threads()
    assert run_here("whole") == [96, 0]

    ledger = tmp_path / "killed" / "llm" / "ledger.sqlite"
    process = subprocess.Popen([sys.executable, "-c", ASKING, *arguments("killed")[1:]])
    while len(rows(ledger)) < 8:
        assert process.poll() is None, "it ended before it could be killed"
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = rows(ledger)
    assert 8 <= len(before) < 96
    if len(before) < 48:
        assert len(before) % 4 == 0  # whole batches

    assert run_here("killed") == [96 - len(before), len(before)]
    after = rows(ledger)
    assert {key: after[key] for key in before} == before
    assert (tmp_path / "killed.json").read_bytes() == (tmp_path / "whole.json").read_bytes()
    assert len(json.loads((tmp_path / "whole.json").read_text())[0]) == 48
    torch.set_num_threads(threads)
