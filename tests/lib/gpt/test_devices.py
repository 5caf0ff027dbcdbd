"""Devices that are not there are told in one line, by every command that takes --device."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from stages.lib.commands import evaluate, hellaswag
from stages.lib.gpt import generate
from stages.lib.gpt.devices import usable_device
from tests.lib.gpt.test_generate import byte_checkpoint

NAMES = ["nonsense", "", "cuda:x", "meta", "hip", "mps:7", "cuda:99"]


def test_the_cpu_is_there() -> None:
    assert usable_device("cpu") == torch.device("cpu")


@pytest.mark.parametrize("name", NAMES)
def test_a_device_that_is_not_there_is_one_line(name: str) -> None:
    with pytest.raises(ValueError, match=f"^--device {re.escape(name)}: ") as caught:
        usable_device(name)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 250
    assert "cpu" in str(caught.value)


def test_cuda_without_cuda() -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a CUDA device")
    with pytest.raises(ValueError, match=r"--device cuda: cannot be used here \(.+\); --device cpu works everywhere"):
        usable_device("cuda")


@pytest.mark.parametrize(
    ("main", "options"),
    [
        (generate.main, ["--prompt", "x"]),
        (evaluate.main, ["--text", "text.txt"]),
        (hellaswag.main, ["--file", "items.jsonl"]),
    ],
)
def test_commands_end_with_the_line(
    main: Callable[[list[str]], None],
    options: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    byte_checkpoint(tmp_path / "best")
    Path("text.txt").write_text("text")
    with pytest.raises(SystemExit) as caught:
        main(["--ckpt", "best", "--device", "cuda:99", *options])
    said = capsys.readouterr().err if caught.value.code == 2 else str(caught.value)
    assert said.strip().count("\n") == 0
    assert ": --device cuda:99: cannot be used here" in said
