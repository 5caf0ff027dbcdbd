"""What processes tell each other over their store: two worlds in two threads of this process."""

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from torch.distributed import HashStore  # type: ignore[attr-defined]

from stages.lib.launching.world import World, only_main_prints

ALONE = World(0, 1, torch.device("cpu"))


def two() -> list[World]:
    store = HashStore()
    return [World(rank, 2, torch.device("cpu"), store) for rank in (0, 1)]


def test_the_others_wait_for_the_main_one_and_hear_what_it_says() -> None:
    main, other = two()
    with ThreadPoolExecutor(1) as pool:
        heard = pool.submit(other.told, "answer", None)
        time.sleep(0.05)
        assert not heard.done()
        assert main.told("answer", {"step": 7}) == {"step": 7}
        assert heard.result(5) == {"step": 7}


def test_the_main_one_waits_for_nobody() -> None:
    main, other = two()
    main.wait_for_main("the turn")
    other.wait_for_main("the turn")


@pytest.mark.parametrize(
    ("mine", "theirs", "same"),
    [(["ab12", {"last": 5}], ["ab12", {"last": 5}], True), (["ab12", {"last": 5}], ["ab12", {}], False)],
)
def test_processes_agree_or_say_what_each_one_sees(*, mine: Any, theirs: Any, same: bool) -> None:
    main, other = two()
    main.agree("checkpoints", mine)
    if same:
        other.agree("checkpoints", theirs)
    else:
        with pytest.raises(ValueError, match=r"checkpoints: process 1 of 2 .* sees \['ab12', {}\], .*LLMILL_CACHE"):
            other.agree("checkpoints", theirs)


def test_a_process_alone_has_nobody_to_ask() -> None:
    assert ALONE.told("answer", (1, 2)) == (1, 2)
    ALONE.wait_for_main("nothing")
    ALONE.agree("checkpoints", {})


def test_one_process_prints(capsys: pytest.CaptureFixture[str]) -> None:
    for world in two():
        with only_main_prints(world):
            print(f"process {world.rank}")
    print("afterwards")
    assert capsys.readouterr().out == "process 0\nafterwards\n"
