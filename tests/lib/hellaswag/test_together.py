"""HellaSwag in training: two processes score as one, however the weights are spread, and training goes on behind it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from stages.lib.hellaswag.scoring import count_correct
from stages.lib.hellaswag.together import COLUMNS
from stages.lib.tokens.tokenizers import load_tokenizer
from tests.lib.hellaswag.hellaswag_processes import score_in_training
from tests.lib.training.training_setup import ALONE, CONFIG, settings, training

PROGRAM = Path(__file__).parent / "hellaswag_processes.py"


def test_alone_it_is_the_command_s_score(tmp_path: Path) -> None:
    found = score_in_training(tmp_path, "float32", "ddp", ALONE)
    assert tuple(found["23"]) == COLUMNS
    assert found["23"]["items"] == 23
    made = training(tmp_path, settings(), config=CONFIG)
    counts = count_correct(made.model, load_tokenizer("byte"), [])
    assert counts["items"] == counts["acc_tokens"] == 0  # the share of a process that none is left for
    assert 0 < found["23"]["acc_norm_chars"] < 1


@pytest.mark.parametrize(
    ("precision", "parallel"), [("float32", "ddp"), ("float32", "fsdp"), ("bfloat16", "fsdp"), ("bfloat16", "ddp")]
)
def test_two_processes_score_as_one(tmp_path: Path, precision: str, parallel: str) -> None:
    (tmp_path / "two").mkdir()
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", str(PROGRAM)]
    arguments = [str(tmp_path / "two"), precision, parallel]
    done = subprocess.run([*command, *arguments], capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    first, second = (json.loads((tmp_path / f"two/found_{rank}.json").read_text()) for rank in (0, 1))
    alone = score_in_training(tmp_path / "one", precision, "ddp", ALONE)
    assert first == second
    for count in ("1", "23"):
        if precision == "float32":
            assert first[count] == alone[count]
        else:  # an item whose endings lie within a rounding may go either way
            assert first[count] == pytest.approx(alone[count], abs=2 / 23)
    assert first["loss"] == pytest.approx(alone["loss"], rel=1e-4 if precision == "float32" else 2e-2)
