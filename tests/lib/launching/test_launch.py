"""By what command a stage starts its processes."""

import os
import sys
from typing import NoReturn

import pytest

from stages.lib.launching.launch import launch, start_processes


class BecameError(Exception):
    """What this process would have become."""


@pytest.fixture(autouse=True)
def became(monkeypatch: pytest.MonkeyPatch) -> None:
    def execvp(file: str, command: list[str]) -> NoReturn:
        raise BecameError(command)

    monkeypatch.setattr(os, "execvp", execvp)
    monkeypatch.setattr(sys, "argv", ["qlora.py", "a value"])
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    monkeypatch.delenv("LLMILL_LAUNCH", raising=False)


def test_the_command_of_a_cluster_is_put_in_front_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMILL_LAUNCH", "env A='b c' torchrun --nnodes 2")
    with pytest.raises(BecameError) as found:
        launch("stages.qlora")
    assert found.value.args[0] == ["env", "A=b c", "torchrun", "--nnodes", "2", "-m", "stages.qlora", "a value"]
    launch("stages.qlora")  # of the process that was started so: it goes on


@pytest.mark.parametrize("value", [None, "", "  "])
def test_without_it_a_stage_goes_on(monkeypatch: pytest.MonkeyPatch, value: str | None) -> None:
    if value is not None:
        monkeypatch.setenv("LLMILL_LAUNCH", value)
    launch("stages.qlora")


def test_a_process_of_torchruns_starts_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("LLMILL_LAUNCH", "torchrun")
    launch("stages.qlora")
    start_processes(4, "stages.qlora")


@pytest.mark.parametrize(
    ("value", "message"),
    [("no-such-command --x", "no-such-command is no command on this machine"), ("srun 'a", "No closing quotation")],
)
def test_a_command_that_cannot_be_is_named(monkeypatch: pytest.MonkeyPatch, value: str, message: str) -> None:
    monkeypatch.setenv("LLMILL_LAUNCH", value)
    with pytest.raises(ValueError, match=f"LLMILL_LAUNCH: .*{message}"):
        launch("stages.qlora")


def test_several_processes_here_are_torchruns() -> None:
    with pytest.raises(BecameError) as found:
        start_processes(2, "stages.pretrain")
    command = found.value.args[0]
    assert command[:3] == [sys.executable, "-m", "torch.distributed.run"] and "--nproc-per-node=2" in command
    start_processes(1, "stages.pretrain")
