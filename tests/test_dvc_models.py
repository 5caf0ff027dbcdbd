"""A model more is a line under models: and a list entry, and runs its own processes and what gathers them."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.made_up_run import made_up_run, stale


@pytest.fixture(scope="module")
def untouched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project that DVC takes for up to date."""
    return made_up_run(tmp_path_factory.mktemp("untouched"))


@pytest.fixture
def project(untouched: Path, tmp_path: Path) -> Path:
    """A copy of it to change."""
    return Path(shutil.copytree(untouched, tmp_path / "project"))


def change(project: Path, *path: str, value: Any) -> None:
    """Sets one key of params.yaml; a list gets the value added."""
    file = project / "params.yaml"
    content = place = yaml.safe_load(file.read_text())
    for key in path[:-1]:
        place = place[key]
    if isinstance(place.get(path[-1]), list):
        place[path[-1]].append(value)
    else:
        place[path[-1]] = value
    file.write_text(yaml.safe_dump(content))


def test_what_is_not_touched_is_not_stale(project: Path) -> None:
    change(project, "models", "new-model", value={"source": "path:nowhere", "backend": "transformers"})
    change(project, "dedup", "thresholds", "new-model", value=0.9)
    assert stale(project) == {}


@pytest.mark.parametrize(
    ("section", "key", "expected"),
    [
        ("dedup", "models", {"near_pairs@new-model", "dedup"}),
        (
            "embed",
            "models",
            {
                "embed@new-model",
                "rerank@new-model-minilm-l6-base",
                "rerank@new-model-smollm2-135m-base",
                "benchmark",
            },
        ),
        ("qa", "generators", {"qa@new-model", "judge@smollm2-135m-new-model", "select"}),
        ("judge", "judges", {"judge@new-model-smollm2-135m", "select"}),
        ("rerank", "rerankers", {"rerank@minilm-l6-new-model-base", "benchmark"}),
    ],
)
def test_a_model_more_runs_its_own_processes_and_what_gathers_them(
    project: Path, section: str, key: str, expected: set[str]
) -> None:
    change(project, "models", "new-model", value={"source": "path:nowhere", "backend": "transformers"})
    change(project, "dedup", "thresholds", "new-model", value=0.9)
    change(project, section, key, value="new-model")
    assert set(stale(project)) == expected


def test_an_edit_of_a_model_entry_runs_what_uses_that_model(project: Path) -> None:
    change(project, "models", "minilm-l6", "batch_size", value=8)
    assert {name.partition("@")[0] for name in stale(project)} == {
        "near_pairs",
        "embed",
        "rerank",
        "retriever",
        "eval",
        "grpo",
        "rag",
    }
    assert "rerank@minilm-l6-smollm2-135m-base" not in stale(project)
