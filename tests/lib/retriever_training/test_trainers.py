import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file

from stages.lib.adapters.resuming import last_whole_checkpoint, logged
from tests.lib.retriever_training.tiny_base import write_tiny_base

ROOT = Path(__file__).parents[3]
SCRIPT = """
import os, signal, sys
from pathlib import Path
from transformers import TrainerCallback
from stages.lib.adapters.schedule import Schedule
from stages.lib.retriever_training import trainers
from stages.lib.retriever_training.examples import Example

part, base, directory, last = sys.argv[1:]
colors = ("red", "green", "blue", "black", "white", "grey", "pink", "brown")
examples = [
    Example(question=f"what is {c}?", positive=f"the fox is {c}.", negatives=(f"a {d} whale.", f"a {d} owl."), group=c)
    for n in range(6) for c, d in zip(colors[n % 4:][:4], colors[::-1], strict=False)
]
schedule = Schedule(lr=1.0e-2, lr_scheduler_type="cosine", warmup_fraction=0.1, weight_decay=0.01, clip=1.0,
                    checkpoint_every=2, seed=3, tf32=False)
class Kill(TrainerCallback):
    def on_step_end(self, args, state, control, **_):
        if state.global_step == int(last): os.kill(os.getpid(), signal.SIGKILL)
trainer = getattr(trainers, f"{part}_trainer")(
    Path(base), examples, size=4, max_length=32, schedule=schedule, directory=Path(directory))
trainer.add_callback(Kill())
trainers.run(trainer, Path(directory))
"""


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_base(tmp_path_factory.mktemp("tiny"))


def train(part: str, base: Path, directory: Path, killed_after: int = 0) -> int:
    arguments = [sys.executable, "-c", SCRIPT, part, str(base), str(directory), str(killed_after)]
    return subprocess.run(arguments, env=os.environ | {"PYTHONPATH": str(ROOT)}, check=False).returncode


@pytest.mark.slow  # six trainings, a process each
@pytest.mark.parametrize("part", ["embedding", "cross_encoder"])
def test_a_killed_training_goes_on_as_if_it_had_not_been(part: str, base: Path, tmp_path: Path) -> None:
    assert train(part, base, tmp_path / "whole") == 0
    assert train(part, base, tmp_path / "killed", killed_after=5) == -signal.SIGKILL
    torn = tmp_path / "killed/checkpoint-5"
    shutil.copytree(tmp_path / "killed/checkpoint-4", torn)
    (torn / "trainer_state.json").write_text('{"global_step": 5')  # a save that the kill cut short
    assert train(part, base, tmp_path / "killed") == 0
    ends = [last_whole_checkpoint(tmp_path / name) for name in ("whole", "killed")]
    assert ends[0] and ends[1] and ends[0].name == ends[1].name == "checkpoint-6"
    losses = [[entry["loss"] for entry in logged(end)] for end in ends if end]
    assert losses[0] == losses[1] and losses[0][-1] < losses[0][0]
    files = [load_file(end / "model.safetensors") for end in ends if end]
    before = load_file(base / "model.safetensors")
    assert all(files[0][name].equal(files[1][name]) for name in files[0])
    learned = {name for name in files[0] if not files[0][name].equal(before[name])}
    assert learned and not [name for name in learned if "word_embeddings" in name]
