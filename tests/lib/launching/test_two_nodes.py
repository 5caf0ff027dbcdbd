"""Pretraining on two nodes: one is killed whole, comes back or not; the tokens, their order and the losses stay."""

import hashlib
import json
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from stages.lib.curves.curves import Curve
from stages.lib.shards.reading import open_shards
from stages.lib.tokens.tokenizers import load_tokenizer
from stages.lib.training.loader import Windows
from tests.lib.curves.written_curve import read_curve
from tests.lib.launching.nodes import Nodes, in_namespaces, may_make_namespaces, on_loopback
from tests.lib.training.training_setup import run, settings, training
from tests.test_pretrain import SECTIONS, place_with_shards, write_params

PROGRAM = ["-m", "tests.lib.launching.dying_node"]
SHORT = {"steps": 24, "checkpoint_every": 5, "eval_every": 8, "micro_batch": 2, "max_new_tokens": 2, "prompts": ["A"]}
DIES, RESUMED = 12, 10  # the step that kills, and the one of the last checkpoint before it


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return place_with_shards(tmp_path_factory.mktemp("two_nodes") / "shards", **SHORT)


def copied(shards: Path, place: Path, **changes: object) -> Path:
    shutil.copytree(shards, place)
    write_params(place, **(SHORT | changes))
    (place / "seen").mkdir()
    return place


def trained(nodes: Nodes, place: Path, arguments: list[str], *, killed: bool, back: bool) -> None:
    """Trains on both nodes, by the program with these arguments.

    `killed`: the second one, in a step; then it comes `back`, or is gone for good.
    """
    told = {"SEEN": str(place / "seen")}
    dies = {"DIES_AT": str(DIES)} if killed else {}

    def agent(number: int, more: dict[str, str]) -> "subprocess.Popen[str]":
        wanted = "2" if back or not killed else "1:2"
        return nodes.agent(number, wanted, [*PROGRAM, *arguments], place, told | more)

    agents = [agent(0, {})]
    try:
        agents.append(agent(1, dies))
        if killed:
            assert agents[1].wait(120) == -signal.SIGKILL
            assert not (place / "models").exists()
        if killed and back:
            agents[1] = agent(1, {})
        for one in agents[: 1 if killed and not back else 2]:
            assert one.wait(180) == 0, (place / "0.log").read_text()[-3000:] + (place / "1.log").read_text()[-3000:]
    finally:
        for one in agents:
            one.terminate()
            one.wait(60)


def tokens(place: Path) -> dict[tuple[int, int], set[str]]:
    """(step, place in the step) -> the hashes of what was computed there, whoever did, however often."""
    seen: dict[tuple[int, int], set[str]] = {}
    for file in (place / "seen").glob("*.csv"):
        for line in file.read_text().splitlines():
            step, number, found, _ = line.split(",")
            seen.setdefault((int(step), int(number)), set()).add(found)
    return seen


def losses(place: Path) -> list[float]:
    return [point.train_loss for point in read_curve(place / "metrics/pretrain_curve.csv")]


def hashed(inputs: np.ndarray) -> str:
    return hashlib.sha256(inputs.tobytes()).hexdigest()[:16]


def expected_tokens(shards: Path) -> dict[tuple[int, int], set[str]]:
    """By the loader itself: micro-batch after micro-batch."""
    section = SECTIONS["pretrain"] | SHORT
    train = open_shards(shards / "data/shards", "train", load_tokenizer("byte"), verify=False)
    windows = Windows(train, section["context"], section["seed"])
    micro, steps = section["micro_batch"], section["steps"]
    each = section["batch_tokens"] // section["context"] // micro
    return {
        (step, number): {hashed(windows.batch((step * each + number) * micro, micro)[0])}
        for step in range(steps)
        for number in range(each)
    }


@pytest.fixture
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.usefixtures("one_thread")
def test_a_node_dies_and_the_other_goes_on_alone(tmp_path: Path) -> None:
    alone, batches = run(training(tmp_path / "alone", settings(micro_batch=2)), tmp_path / "alone")
    place = tmp_path / "killed"
    (place / "seen").mkdir(parents=True)
    trained(on_loopback(), place, [str(place), "0", "ddp"], killed=True, back=False)
    assert json.loads((place / "asked_0.json").read_text())[0][0] == RESUMED * 8
    assert tokens(place) == {
        (step, number): {hashed(batches.batch(step * 8 + number * 2, 2)[0])}
        for step in range(30)
        for number in range(4)
    }
    # Dropout's masks, too, do not depend on the number of processes: what is left is the order of summation.
    found = Curve(place / "curve.csv", 30).points
    assert [point.train_loss for point in found] == pytest.approx([p.train_loss for p in alone.points], rel=1e-5)


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    if may_make_namespaces():
        with in_namespaces() as made:
            yield made
    else:
        yield on_loopback()


@pytest.fixture(scope="module")
def whole(shards: Path, nodes: Nodes) -> Callable[[str], Path]:
    """What two nodes do that nobody disturbs, by DDP or FSDP."""

    def made(parallel: str) -> Path:
        place = shards.parent / f"whole_{parallel}"
        if not place.exists():
            trained(nodes, copied(shards, place, parallel=parallel, optimizer="adamw"), [], killed=False, back=False)
        return place

    return made


@pytest.mark.slow
@pytest.mark.parametrize("back", [True, False])
@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_a_killed_node_comes_back_or_not(
    shards: Path, nodes: Nodes, whole: Callable[[str], Path], tmp_path: Path, *, parallel: str, back: bool
) -> None:
    place = copied(shards, tmp_path / "killed", parallel=parallel, optimizer="adamw")
    trained(nodes, place, [], killed=True, back=back)
    undisturbed = whole(parallel)
    assert f"goes on from step {RESUMED}" in (place / "0.log").read_text()
    assert tokens(place) == tokens(undisturbed) == expected_tokens(shards)
    if back:
        for file in ("metrics/pretrain_curve.csv", "metrics/full/pretrain.json", "models/gpt/last/model.safetensors"):
            assert (place / file).read_bytes() == (undisturbed / file).read_bytes()
    else:
        assert losses(place) == pytest.approx(losses(undisturbed), rel=1e-5)
