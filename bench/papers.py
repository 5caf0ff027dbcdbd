"""PubMedQA, QASA and SciDQA through instruct, qlora, grpo and eval: what the tuning half makes of data of others.

Run: LLMILL_REAL_DATA=DIR python -m bench.papers [--keep DIR] [--steps 12] [--grpo-steps 5]

The stages themselves run, in an empty folder, on params.yaml with longer limits: an abstract has some 350 tokens,
where the embedded default's chunks have 200. SciDQA's questions come without a text. Prints each stage's metrics.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from stages.lib.core.metrics import read_results
from stages.lib.core.records import write_json, write_jsonl
from tests.params_of import project_params

STAGES = ("instruct", "qlora", "grpo", "eval")
ROOT = Path(__file__).resolve().parents[1]


def make_params(data: Path, steps: int, grpo_steps: int) -> dict[str, Any]:
    """params.yaml with the three data sets as sources and room for their lengths."""
    params = project_params()
    params["instruct"] |= {
        "qasa": [str(data / "qasa/*.json"), str(data / "pubmedqa/DERIVED*.json")],
        "question_answers": [{"patterns": [str(data / "scidqa/scidqa_dev.jsonl")], "limit": 200}],
    }
    params["qlora"] |= {"steps": steps, "max_length": 768, "micro_batch": 2, "gradient_accumulation_steps": 2}
    params["grpo"] |= {"steps": grpo_steps, "max_prompt_length": 1200, "max_new_tokens": 160}
    params["grpo"] |= {"length_words": [15, 110], "micro_batch": 4, "shots": 1}  # abstracts are long
    params["grpo"] |= {"warmup_fraction": 0.1}
    params["eval"] |= {"systems": ["base", "qlora", "grpo"], "questions": 24, "max_new_tokens": 96}
    return params


def main() -> None:
    """Runs the stages one after the other and prints what they measured."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.papers", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--keep", type=Path, help="the folder to work in; default: one that is removed")
    parser.add_argument("--steps", type=int, default=12, help="of qlora")
    parser.add_argument("--grpo-steps", type=int, default=5)
    arguments = parser.parse_args()
    if "LLMILL_REAL_DATA" not in os.environ:
        parser.error("set LLMILL_REAL_DATA to the folder that holds pubmedqa, qasa and scidqa")
    data = Path(os.environ["LLMILL_REAL_DATA"]).absolute()
    with tempfile.TemporaryDirectory() as temporary:
        place = (arguments.keep or Path(temporary)).absolute()
        place.mkdir(parents=True, exist_ok=True)
        write_json(place / "params.yaml", make_params(data, arguments.steps, arguments.grpo_steps))  # JSON is YAML
        shutil.copy(ROOT / "prompts.yaml", place)
        for name in ("chunks/chunks", "selected/qa_selected"):
            write_jsonl(place / f"data/{name}.jsonl", [])
        environment = os.environ | {"PYTHONPATH": str(ROOT), "LLMILL_CACHE": str(ROOT / ".cache")}
        for stage in STAGES:
            subprocess.run([sys.executable, "-m", f"stages.{stage}"], cwd=place, env=environment, check=True)
            timing = json.loads((place / f"timings/{stage}.json").read_text(encoding="utf-8"))
            print(f"--- {stage}: {timing['seconds']:.0f} s, {timing['peak_memory_mb']:.0f} MB")
            print(json.dumps(read_results(stage, place), indent=2), flush=True)


if __name__ == "__main__":
    main()
