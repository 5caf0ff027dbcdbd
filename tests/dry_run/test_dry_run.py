"""What a dry run does to a profile's params, and what it does where a stage finds nothing."""

import json
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from profiles.dry_run import running
from profiles.dry_run.graph import Run, runs
from profiles.dry_run.handed_on import STAND_IN, left_nothing
from profiles.dry_run.project import CARDS, COMPUTING, LEFT_OUT, ROOT, copy_project, dry_params
from profiles.dry_run.running import Ended, Outcome, Project, StageFailedError, table
from profiles.overlay import leaves, profile_names, read_profile
from profiles.pins import read_pins
from stages.lib.core.params import read_yaml

SIZED = {  # keys that a dry run may set: samples, steps, tokens, candidates, thresholds that random weights miss
    "limit", "sample", "neighbours", "max_new_tokens", "judge_max_new_tokens", "validity_pairs", "top_k", "steps",
    "cross_encoder", "yes_no", "late_interaction", "likelihood", "micro_batch", "train_limit", "val_limit",
    "test_limit", "checkpoint_every", "bootstrap_samples", "prompts_per_step", "num_generations", "audit_prompts",
    "audit_tolerance", "types", "held_out_tokens", "window", "conversations", "runtime_threads", "min_stopped",
    "questions", "forgetting_texts", "forgetting_tokens", "off_topic", "instructions", "sources",
    "val_fraction", "test_fraction", "gradient_accumulation_steps", "groundedness", "relevance", "standalone", "dtype",
    *CARDS,
}  # fmt: skip


@pytest.mark.parametrize("profile", profile_names())
def test_all_but_sizes_stays_the_profiles(profile: str) -> None:
    params, replaced = dry_params(profile)
    chosen = leaves(read_profile(profile))
    changed = {key for key, value in chosen.items() if leaves(params)[key] != value}
    assert {key[-1] for key in changed} <= SIZED
    assert [line for line in replaced if "unsloth" in line] == [
        f"{'.'.join(key)}: unsloth -> hf"
        for key in sorted(chosen, reverse=True)
        if key[-1] == "backend" and len(key) == 2
    ]


@pytest.mark.parametrize("profile", ["a100", "h100"])
def test_every_stage_behind_the_chunks_runs_with_the_arguments_of_the_graph(profile: str) -> None:
    graph = YAML(typ="safe").load(ROOT / "dvc.yaml")["stages"]
    params, _ = dry_params(profile)
    listed = runs(params)
    assert [stage for stage in graph if stage not in LEFT_OUT and stage not in {run.stage for run in listed}] == []
    for run in listed:
        command = graph[run.stage]["cmd"].split()
        assert command[:3] == ["python", "-m", f"stages.{run.stage}"]
        assert len(command[3:]) == len(run.arguments)
        assert all(name in params["models"] for name in run.models)


def test_a_cpu_that_multiplies_no_bfloat16_computes_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    params, replaced = dry_params("rtx4060ti-16g")
    assert {params[section]["dtype"] for section in COMPUTING} == {"float32"}
    assert sum("bfloat16 -> float32" in line for line in replaced) == len(COMPUTING)
    assert params["models"]["qwen25-3b-instruct"]["dtype"] == "bfloat16"


def test_the_copy_holds_the_code_and_nothing_is_left_in_the_checkout(tmp_path: Path) -> None:
    copy_project(tmp_path)
    assert (tmp_path / "stages" / "qa.py").read_bytes() == (ROOT / "stages" / "qa.py").read_bytes()
    assert not (tmp_path / ".git").exists()
    before = (ROOT / "params.yaml").read_bytes()
    Project(tmp_path, dry_params("h100")[0], tmp_path / "hub")
    assert (ROOT / "params.yaml").read_bytes() == before != (tmp_path / "params.yaml").read_bytes()
    assert read_yaml(tmp_path / "params.yaml")["embed"]["models"][-1] == "qwen3-embedding-8b"


def stage_that(ends: dict[str, tuple[int, str]], calls: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Puts made-up ends of stages, by title, in the place of processes."""

    def process(self: Project, run: Run, *, stand_ins: bool) -> Ended:
        calls.append(run.title)
        code, said = ends.get(run.title, (0, ""))
        if run.arguments[:1] == (STAND_IN,):
            assert STAND_IN in read_yaml(self.place / "params.yaml")["qa"]["generators"]
            folder = self.place / "data" / "qa"
            folder.mkdir(parents=True, exist_ok=True)
            record = {"id": f"{STAND_IN}-1", "generator": STAND_IN, "question": "What?"}
            (folder / f"{STAND_IN}_qa.jsonl").write_text(json.dumps(record) + "\n")
        return Ended(code, said, 2.0, 3.0, 10**9)

    monkeypatch.setattr(Project, "_process", process)


def test_where_random_weights_leave_nothing_others_questions_are_handed_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    params, _ = dry_params("h100")
    project, calls = Project(tmp_path, params, tmp_path / "hub"), list[str]()
    said = "ValueError: gpt-oss-20b: none of 8 chunks got a usable question: {'not_json': 8}; the replies are in x"
    stage_that({"qa gpt-oss-20b": (1, said)}, calls, monkeypatch)
    outcome = project.go(Run("qa", ("gpt-oss-20b",), ("gpt-oss-20b",)))
    assert calls == ["qa gpt-oss-20b", f"qa {STAND_IN}"]
    handed = json.loads((tmp_path / "data" / "qa" / "gpt-oss-20b_qa.jsonl").read_text())
    assert handed == {"id": "gpt-oss-20b-1", "generator": "gpt-oss-20b", "question": "What?"}
    assert read_yaml(tmp_path / "params.yaml") == params
    assert "handed on" in table([outcome])
    assert "vllm -> its interface on transformers" in table([outcome])


def test_another_error_ends_the_dry_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project, calls = Project(tmp_path, dry_params("a100")[0], tmp_path / "hub"), list[str]()
    stage_that({"qlora": (1, "Traceback\nRuntimeError: mat1 and mat2 shapes")}, calls, monkeypatch)
    with pytest.raises(StageFailedError, match=r"(?s)qlora ended with 1:.*mat1 and mat2"):
        project.go(Run("qlora", (), ("zephyr-7b",)))
    assert not left_nothing("qlora", "none of 8 chunks got a usable question")


def test_the_table_adds_up() -> None:
    rows = [Outcome(Run("embed", (name,), (name,)), Ended(0, "", 1.5, 2.5, 2 * 10**9), ()) for name in ("a", "b")]
    assert table(rows).splitlines()[-1] == "2 runs, 3 s, 5 s of CPU"


def test_the_stand_in_for_vllm_is_of_the_pinned_version() -> None:
    pinned = read_pins((ROOT / "constraints.txt").read_text())["vllm"]
    assert (ROOT / running.STAND_INS / f"vllm-{pinned}.dist-info" / "METADATA").is_file()
