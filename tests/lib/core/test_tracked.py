"""What a user names is tracked or refused: `untracked` held to what DVC notices, and each reader's refusal."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from stages.lib.core import tracked
from stages.lib.core.tracked import check_declared, check_tracked, stage_deps, untracked
from stages.lib.hellaswag.items import load_items
from stages.lib.reading.hub import HubSource, read_hub
from stages.lib.reading.patterns import matched_files
from stages.lib.tokens.tokenizers import load_tokenizer
from stages.lib.weights.models import load_model_entry
from tests.graph import ROOT
from tests.made_up_run import dvc, made_up_run, stale

# name -> a stage's deps and the file that it reads
CASES: dict[str, tuple[list[str], str]] = {
    "inside": (["documents"], "documents/a/b.md"),
    "itself": (["documents/a/b.md"], "documents/a/b.md"),
    "beside": (["documents"], "documents2/a.md"),
    "outside": (["documents"], "../outside/a.md"),
    "outside_dep": (["documents", "../outside"], "../outside/a.md"),
    "linked_file": (["documents"], "documents/linked.md"),
    "linked_folder": (["documents"], "documents/linked/c.md"),
    "linked_folder_dep": (["documents", "documents/linked"], "documents/linked/c.md"),
    "linked_folder_target_dep": (["documents", "../elsewhere"], "documents/linked/c.md"),
    "dep_is_a_link": (["link"], "link/c.md"),
    "folder_of_the_dep": (["documents/a/b.md"], "documents/a/other.md"),
}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with documents, links among them, and folders beside it."""
    project = tmp_path / "project"
    for file in (
        "project/documents/a/b.md",
        "project/documents/a/other.md",
        "project/documents2/a.md",
        "outside/a.md",
        "elsewhere/c.md",
        "elsewhere2/d.md",
    ):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text("one")
    (project / "documents/linked.md").symlink_to(tmp_path / "elsewhere2/d.md")
    (project / "documents/linked").symlink_to(tmp_path / "elsewhere")
    (project / "link").symlink_to(tmp_path / "elsewhere")
    monkeypatch.chdir(project)
    return project


@pytest.fixture
def in_chunk(place: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The project, as the stage chunk sees it, whose dep is documents."""
    (place / "dvc.yaml").write_text(yaml.safe_dump({"stages": {"chunk": {"cmd": "x", "deps": ["documents"]}}}))
    monkeypatch.setattr(tracked, "running_stage", lambda: "chunk")
    return place


def test_untracked_is_what_dvc_does_not_notice(place: Path) -> None:
    stages = {name: {"cmd": f"echo {name}", "deps": deps} for name, (deps, _) in CASES.items()}
    (place / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}))
    dvc(place, "init", "--no-scm", "--quiet")
    dvc(place, "repro", "--quiet")
    assert stale(place) == {}
    for name, (deps, file) in CASES.items():
        before = (place / file).read_text()
        (place / file).write_text(f"changed for {name}")
        noticed = name in stale(place)
        (place / file).write_text(before)
        assert noticed == (untracked([Path(file)], deps) == []), name
        assert noticed == (untracked([(place / file).absolute()], deps) == []), name


def test_the_message_names_file_stage_and_remedy(in_chunk: Path) -> None:
    with pytest.raises(ValueError) as error:
        matched_files(["documents/**/*.md", "../outside/*.md"])
    assert str(error.value) == (
        "patterns[0]: 'documents/**/*.md': DVC does not track documents/linked/c.md for stage chunk, as DVC does not "
        "follow the linked folder documents/linked: an edit of it would leave the old result standing; add "
        "`- documents/linked` to the deps of chunk in dvc.yaml"
    )
    with pytest.raises(ValueError) as error:
        matched_files(["documents/a/*.md", "../outside/*.md"])
    assert str(error.value) == (
        "patterns[1]: '../outside/*.md': DVC does not track ../outside/a.md for stage chunk: an edit of it would leave "
        "the old result standing; put it under documents/, or add `- ../outside/a.md` to the deps of chunk in dvc.yaml"
    )
    Path("../outside/b.md").touch()
    with pytest.raises(ValueError, match=r"a\.md \(and 1 more\) .* add `- \.\./outside` to the deps of chunk"):
        matched_files(["../outside/*.md"])


def test_a_linked_folder_is_not_tracked_as_a_whole_either(in_chunk: Path) -> None:
    assert untracked([Path("documents/linked")], ["documents"]) == [Path("documents/linked")]
    assert untracked([Path("documents/linked")], ["documents", "documents/linked"]) == []
    assert untracked([Path("documents/a")], ["documents"]) == []


def test_what_the_message_says_helps(in_chunk: Path) -> None:
    deps = ["documents", "documents/linked", "../outside"]
    (in_chunk / "dvc.yaml").write_text(yaml.safe_dump({"stages": {"chunk": {"cmd": "x", "deps": deps}}}))
    assert len(matched_files(["documents/**/*.md", "../outside/*.md"])) == 5


@pytest.mark.parametrize(
    ("read", "message"),
    [
        (lambda: list(read_hub(HubSource(kind="hub", name="../outside"), 99, print)), "data set '../outside'"),
        (
            lambda: list(read_hub(HubSource(kind="hub", name="text", data_files=["../outside/*"]), 99, print)),
            "data set 'text'",
        ),
        (lambda: load_items("../outside/a.md"), "hellaswag '../outside/a.md'"),
        (lambda: load_tokenizer("hf:../outside"), "tokenizer 'hf:../outside'"),
        (lambda: load_model_entry("loose"), "models.loose: 'path:../outside' without the `sha256`"),
        (lambda: load_model_entry("half-pinned"), "models.half-pinned: 'path:../outside' without the `sha256`"),
    ],
)
def test_each_reader_refuses(in_chunk: Path, read: Callable[[], object], message: str) -> None:
    pinned = {"source": "path:../outside", "backend": "transformers", "sha256": {"a.md": "0"}}
    (in_chunk / "../outside/config.json").write_text("{}")
    loose = {"source": "path:../outside", "backend": "transformers"}
    models = {"loose": loose, "half-pinned": pinned}
    (in_chunk / "params.yaml").write_text(yaml.safe_dump({"models": models}))
    with pytest.raises(ValueError, match=r"DVC does not track \.\./outside/") as error:
        read()
    assert message in str(error.value)


def test_weights_on_a_path_may_be_pinned_or_tracked(in_chunk: Path) -> None:
    entries = {
        "pinned": {"source": "path:../elsewhere", "backend": "transformers", "sha256": {"c.json": "0"}},
        "tracked": {"source": "path:documents/a", "backend": "transformers"},
    }
    (in_chunk / "../elsewhere/c.json").touch()  # a README beside it (c.md) decides nothing
    (in_chunk / "params.yaml").write_text(yaml.safe_dump({"models": entries}))
    assert load_model_entry("pinned").sha256 and load_model_entry("tracked").source == "path:documents/a"


def test_nothing_is_checked_outside_of_a_stage_or_without_dvc_yaml(
    in_chunk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outside = [Path("../outside/a.md")]
    with pytest.raises(ValueError, match="DVC does not track"):  # as long as there is a graph with this stage
        check_tracked(outside, "x")
    (in_chunk / "dvc.yaml").unlink()
    assert check_tracked(outside, "x") is None  # type: ignore[func-returns-value]
    (in_chunk / "dvc.yaml").write_text(yaml.safe_dump({"stages": {"other": {"cmd": "x"}}}))
    assert stage_deps("chunk") is None
    assert check_tracked(outside, "x") is None  # type: ignore[func-returns-value]
    monkeypatch.undo()
    monkeypatch.chdir(ROOT)
    assert tracked.running_stage() is None
    assert check_tracked(outside, "x") is None  # type: ignore[func-returns-value]


def test_deps_with_params_are_filled_in(place: Path) -> None:
    deps = ["${gguf.held_out}", "models/${gguf.model}", "data/${item.model}.npy"]
    (place / "dvc.yaml").write_text(yaml.safe_dump({"stages": {"gguf": {"cmd": "x", "deps": deps}}}))
    (place / "params.yaml").write_text(yaml.safe_dump({"gguf": {"held_out": "a.jsonl", "model": "m"}}))
    assert stage_deps("gguf") == ["a.jsonl", "models/m"] and stage_deps("absent") is None


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project that DVC takes for up to date."""
    return made_up_run(tmp_path_factory.mktemp("beside") / "project")


def test_a_stage_refuses_a_source_until_it_is_a_dep_whose_change_dvc_notices(project: Path) -> None:
    """`python -m stages.chunk` and DVC, from a source outside of documents/ to a dep of its own."""
    (project / "documents/new.md").write_text("A page about attention.\n" * 40)
    assert set(stale(project)) == {"shard", "finetune", "chunk", "instruct", "eval"}
    (project / "documents/new.md").unlink()
    assert stale(project) == {}

    papers = project.parent / "papers"
    papers.mkdir()
    (papers / "a.md").write_text("A page about attention.\n" * 40)
    params = yaml.safe_load((project / "params.yaml").read_text())
    params["chunk"]["sources"] = [{"kind": "files", "patterns": ["../papers/*.md"]}]
    (project / "params.yaml").write_text(yaml.safe_dump(params))
    refused = subprocess.run(
        [sys.executable, "-m", "stages.chunk"], cwd=project, capture_output=True, text=True, check=False
    )
    assert refused.returncode and "add `- ../papers/a.md` to the deps of chunk in dvc.yaml" in refused.stderr

    graph = yaml.safe_load((project / "dvc.yaml").read_text())
    graph["stages"]["chunk"]["deps"].append("../papers")
    (project / "dvc.yaml").write_text(yaml.safe_dump(graph))
    dvc(project, "repro", "--quiet", "--single-item", "chunk")
    assert "attention" in (project / "data/chunks/chunks.jsonl").read_text()
    assert "chunk" not in stale(project)
    (papers / "a.md").write_text("A page about dropout.\n" * 40)
    assert "chunk" in stale(project)


def test_outputs_named_by_params_are_declared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    outs = ["data/${item.model}_base.npy", "data/all"]
    (tmp_path / "dvc.yaml").write_text(yaml.safe_dump({"stages": {"embed": {"cmd": "x", "outs": outs}}}))
    monkeypatch.setattr(tracked, "running_stage", lambda: "embed")
    check_declared([Path("data/minilm-l6_base.npy"), Path("data/all/x.npy")], "embed.instructions")
    with pytest.raises(ValueError, match=r"embed\.instructions: data/minilm-l6_new\.npy is no output of stage embed"):
        check_declared([Path("data/minilm-l6_base.npy"), Path("data/minilm-l6_new.npy")], "embed.instructions")
    monkeypatch.setattr(tracked, "running_stage", lambda: None)
    check_declared([Path("anything")], "a function used alone")


def test_embed_refuses_an_instruction_that_dvc_does_not_know(tmp_path: Path) -> None:
    outs = ["data/embeddings/${item.model}_base_query.npy"]
    (tmp_path / "dvc.yaml").write_text(yaml.safe_dump({"stages": {"embed": {"cmd": "x", "outs": outs}}}))
    section = {"models": ["m"], "instructions": {"base": "", "law": "Find {domain}"}, "corpus": "all", "tell": []}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump({"embed": section, "domain": "statutes"}))
    done = subprocess.run(
        [sys.executable, "-m", "stages.embed", "m"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "embed.instructions: data/embeddings/m_law_query.npy is no output of stage embed" in done.stderr
