"""Which heavy packages a stage's process imports before its `main` runs: each is a second or more, in every run.

What it imports when it runs is in test_end_to_end.py, which runs all of them.
"""

import subprocess
import sys

import pytest

from tests.graph import ROOT, STAGES

HEAVY = """accelerate bitsandbytes datasets gradio matplotlib pandas peft pyarrow scipy.stats sentence_transformers
sklearn torch transformers trl unsloth vllm wandb xllamacpp""".split()
TORCH = {"torch"}  # numbers are computed in any case
TRANSFORMERS = {"accelerate", "torch", "transformers"}  # accelerate comes with it
IMPORTED: dict[str, set[str]] = {
    "pretrain": TORCH,
    "finetune": TORCH | {"scipy.stats"},
    "near_pairs": TORCH,
    "embed": TORCH,
    "rerank": TORCH,
    "retriever": TORCH,
    "grpo": TORCH | {"scipy.stats"},
    "gguf": TORCH,
    "eval": TRANSFORMERS,
    "rag": TRANSFORMERS,
}  # the others import none of them

REPORT = "import sys, stages.{stage}; print(*(set(sys.modules) & set({heavy})))"


@pytest.mark.parametrize("stage", sorted(STAGES))
def test_a_stage_imports_no_heavy_package_that_it_may_not_need(stage: str) -> None:
    command = [sys.executable, "-c", REPORT.format(stage=stage, heavy=HEAVY)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) <= IMPORTED.get(stage, set())
