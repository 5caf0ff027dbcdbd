"""An edited line of code gives what an empty cache gives, byte for byte; one that decides nothing computes nothing.

Each stage runs as a process on its own copy of stages/, in a small project of real inputs.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from stages.lib.core.records import read_jsonl, write_jsonl
from stages.lib.weights.gguf_weights import huggingface_directory
from stages.lib.weights.models import load_model_entry
from tests.lib.grpo.test_reward_audit import SAMPLES
from tests.lib.lora.tiny_chat import chat_record, write_tiny_base

ROOT = Path(__file__).parent.parent
PARAMS: dict[str, Any] = yaml.safe_load((ROOT / "params.yaml").read_text())
MINILM = PARAMS["models"]["minilm-l6"]
Edit = tuple[str, str, str]  # a file of stages/, what stands there, and what takes its place


@dataclass(frozen=True)
class Case:
    """A stage, its project, and lines of its code."""

    command: list[str]  # the stage and its arguments
    prepare: Callable[[Path], None]
    matters: Edit
    matters_not: Edit
    computed: Callable[[dict[str, Any]], int]  # from its timings: how much was not in the cache


def trained(steps: int) -> Callable[[dict[str, Any]], int]:
    """Steps that a run took, of so many."""
    return lambda timings: steps - int(timings["resumed_from_step"])


def shards_and_params(place: Path) -> None:
    """Shards of the project's own texts, for a GPT of two layers."""
    text = (ROOT / "LICENSE").read_text()
    (place / "documents").mkdir()
    for i in range(0, len(text), 1000):
        (place / f"documents/{i:06d}.md").write_text(text[i : i + 1000])
    sources = [{"kind": "files", "patterns": ["documents/*.md"]}]
    shape = {"context": 32, "n_layer": 2, "n_head": 2, "d_model": 32, "prompts": ["The"], "max_new_tokens": 5}
    loop = {"steps": 20, "batch_tokens": 256, "eval_every": 10, "eval_windows": 8, "checkpoint_every": 10}
    sections = {
        "shard": PARAMS["shard"] | {"sources": sources, "val_fraction": 0.2, "workers": 1},
        "pretrain": PARAMS["pretrain"] | shape | loop,
        "finetune": PARAMS["finetune"]
        | {"sources": [{"kind": "instructions", "patterns": ["documents/said.json"]}]}
        | {"steps": 20, "batch_tokens": 256, "eval_every": 10, "checkpoint_every": 10},
    }
    (place / "params.yaml").write_text(yaml.safe_dump(sections))
    run(place, ["shard"])


def base_and_instructions(place: Path) -> None:
    """A pretrained model, and instructions."""
    shards_and_params(place)
    run(place, ["pretrain"])
    shutil.rmtree(place / ".cache")
    said = [{"instruction": f"Say {i}.", "output": f"It is {i % 7}."} for i in range(60)]
    (place / "documents/said.json").write_text(json.dumps(said))


def chats(place: Path) -> None:
    """A tiny chat model and records to teach it."""
    base = write_tiny_base(place / "documents/tiny")
    entry = {"source": f"path:{base.relative_to(place)}", "backend": "transformers"}
    small = {"base": "tiny", "dtype": "float32", "steps": 4, "checkpoint_every": 2, "bootstrap_samples": 50}
    section = PARAMS["qlora"] | small | {"memory_share": 1.0}
    (place / "params.yaml").write_text(yaml.safe_dump({"models": {"tiny": entry}, "qlora": section}))
    write_jsonl(place / "data/instruct/synthetic_qa_train.jsonl", [chat_record(i) for i in range(8)])
    write_jsonl(place / "data/instruct/synthetic_qa_val.jsonl", [chat_record(i) for i in range(20, 24)])


def reasoning(place: Path) -> None:
    """The same model, and questions to reason about."""
    chats(place)
    models = yaml.safe_load((place / "params.yaml").read_text())["models"] | {"minilm-l6": MINILM}
    small = {"base": "tiny", "dtype": "float32", "steps": 2, "num_generations": 4, "micro_batch": 4, "shots": 0}
    few = {"max_new_tokens": 6, "audit_prompts": 1, "test_limit": 1, "bootstrap_samples": 50, "beta": 0.1}
    section = (
        PARAMS["grpo"]
        | small
        | few
        | {"temperature": 1.0, "reward_weights": PARAMS["grpo"]["reward_weights"] | {"length": 0}}
    )
    (place / "params.yaml").write_text(yaml.safe_dump({"models": models, "grpo": section}))
    for name, numbers in (("train", range(6)), ("val", range(6, 8)), ("test", range(8, 9))):
        write_jsonl(place / f"data/instruct/qar_{name}.jsonl", [reasoned(number) for number in numbers])


def reasoned(number: int) -> dict[str, Any]:
    """A question with its text, its reasoning and its answer."""
    sample = SAMPLES[number % 3]
    asked = f"{sample.context}\n{sample.question} Reply: reasoning ##### answer"
    fields = asdict(sample) | {"id": f"q{number}", "source": f"d{number}", "text": sample.reference}
    return fields | {"messages": [{"role": "user", "content": asked}]}


def chunks(place: Path) -> None:
    """Eight chunks of accelerate's documentation that state defaults, and two questions about them."""
    sources = [{"kind": "packages", "names": ["accelerate"], "limit": 300}]
    (place / "params.yaml").write_text(yaml.safe_dump({"chunk": PARAMS["chunk"] | {"sources": sources}}))
    run(place, ["chunk"])
    found = [chunk for chunk in read_jsonl(place / "data/chunks/chunks.jsonl") if "efaults to" in chunk["text"]]
    records = [chunk | {"sampled": True, "duplicates": []} for chunk in found[:16:2]]
    write_jsonl(place / "data/chunks/chunks.jsonl", records)
    write_jsonl(place / "data/chunks/chunks_dedu.jsonl", records)
    questions = [
        {"id": f"g:{chunk['id']}", "chunk": chunk["id"], "question": "What is the default?"} for chunk in records[:2]
    ]
    write_jsonl(place / "data/selected/qa_selected.jsonl", questions)
    shutil.copy(ROOT / "prompts.yaml", place)
    # The packaged model, converted once for all tests.
    language_model = PARAMS["models"]["smollm2-135m"]
    converted = huggingface_directory(load_model_entry("smollm2-135m", ROOT / "params.yaml"))
    language_model = language_model | {"source": f"path:{converted}", "sha256": {}}
    sections = {name: PARAMS[name] for name in ("domain", "embed", "qa", "judge")}
    sections["judge"] = sections["judge"] | {"validity_pairs": 2}
    models = {"minilm-l6": MINILM, "smollm2-135m": language_model}
    (place / "params.yaml").write_text(yaml.safe_dump({"models": models, **sections}))


def questions_about_chunks(place: Path) -> None:
    """The chunks, and the questions that the stage qa writes about them."""
    chunks(place)
    run(place, ["qa", "smollm2-135m"])
    shutil.rmtree(place / ".cache")


MODEL, LOSS = "lib/gpt/model.py", "lib/grpo/shared_prompt_trainer.py"
CASES = {
    "pretrain": Case(
        ["pretrain"],
        shards_and_params,
        (MODEL, "states = F.silu(F.linear(x, SIGMOID_SCALE", "states = 1.5 * F.silu(F.linear(x, SIGMOID_SCALE"),
        ("lib/curves/curve_picture.py", "linewidth=0.5", "linewidth=0.25"),
        trained(20),
    ),
    "finetune": Case(
        ["finetune"],
        base_and_instructions,
        ("lib/training/optimizer.py", "betas=(params.beta1, params.beta2)", "betas=(params.beta1, 0.5)"),
        ("lib/finetuning/answer_scores.py", "MOST_LABELS = 20", "MOST_LABELS = 19"),
        trained(20),
    ),
    "qlora": Case(
        ["qlora"],
        chats,
        (
            "lib/lora/masks.py",
            "labels[k] = encoded.ids[k]",
            "labels[k] = encoded.ids[k] if k % 3 or encoded.ids[k] in marks else IGNORED",
        ),
        ("lib/lora/memory.py", "FRAGMENTATION = 0.4", "FRAGMENTATION = 0.5"),
        trained(4),
    ),
    "grpo": Case(
        ["grpo"],
        reasoning,
        (LOSS, "log_probs = (logits[scored].float() / temperature)", "log_probs = (logits[scored].float() * 2)"),
        ("lib/grpo/reward_audit.py", '"""', '"""Changed. '),
        trained(2),
    ),
    "embed": Case(
        ["embed", "minilm-l6"],
        chunks,
        ("lib/embedding/pooling.py", "weights = mask.unsqueeze(-1)", "weights = mask.cumsum(1).unsqueeze(-1)"),
        ("lib/embedding/embedders.py", "READ_AT_ONCE = 10_000", "READ_AT_ONCE = 3"),
        lambda timings: int(timings["computed"]),
    ),
    "qa": Case(
        ["qa", "smollm2-135m"],
        chunks,
        (
            "lib/llm/hf_prompts.py",
            "return visible(text,",
            "return visible(text.replace(' the ', ' a '),",
        ),
        ("lib/qa/questions.py", "LEAK_COVERAGE = 0.85", "LEAK_COVERAGE = 0.99"),
        lambda timings: int(timings["asked"]),
    ),
    "judge": Case(
        ["judge", "smollm2-135m", "smollm2-135m"],
        questions_about_chunks,
        ("lib/llm/transformers_scoring.py", "total[rows]).double().sum()", "total[rows]).double().min()"),
        ("lib/judging/likelihood.py", "DIGITS = 6", "DIGITS = 5"),
        lambda timings: int(timings["asked"]),
    ),
}


def run(place: Path, command: list[str]) -> dict[str, Any]:
    """Runs a stage by the project's own code; returns its timings."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(place)}
    environment.pop("LLMILL_CACHE", None)
    stage, *arguments = command
    done = subprocess.run(
        [sys.executable, "-m", f"stages.{stage}", *arguments],
        cwd=place,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout[-1500:]}\n{done.stderr[-2500:]}"
    found: dict[str, Any] = json.loads((place / "timings" / f"{'_'.join(command)}.json").read_text())
    return found


def edit(place: Path, change: Edit) -> None:
    """Changes a line of the project's code, wherever its file's room is."""
    file, old, new = change
    path = place / "stages" / file
    text = path.read_text()
    assert old in text, f"{file} has no {old!r}"
    path.write_text(text.replace(old, new, 1))


def outputs(place: Path) -> dict[str, bytes]:
    """All that stages wrote, but for what the clock said."""
    files = [file for name in ("data", "metrics", "models") for file in (place / name).rglob("*") if file.is_file()]
    return {str(file.relative_to(place)): file.read_bytes() for file in sorted(files)}


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_an_edited_line_gives_what_an_empty_cache_gives(tmp_path: Path, name: str) -> None:
    case = CASES[name]
    place = tmp_path / "project"
    shutil.copytree(ROOT / "stages", place / "stages", ignore=shutil.ignore_patterns("__pycache__"))
    case.prepare(place)
    assert case.computed(run(place, case.command)) > 0
    before = outputs(place)

    assert case.computed(run(place, case.command)) == 0
    assert outputs(place) == before
    edit(place, case.matters_not)
    assert case.computed(run(place, case.command)) == 0, "a line that decides nothing had something computed anew"

    edit(place, case.matters)
    assert case.computed(run(place, case.command)) > 0, "the old result was published under the new code"
    changed = outputs(place)
    assert changed != before
    shutil.rmtree(place / ".cache")
    run(place, case.command)
    assert outputs(place) == changed
