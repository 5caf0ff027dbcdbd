"""Keys of params.yaml that have another name now: who brings an old one is told the new one."""

import importlib
from dataclasses import fields
from pathlib import Path

import pytest

from profiles.overlay import lay_over
from stages.lib.core.params import RENAMED, from_mapping
from tests.params_of import project_params, section

ROOT = Path(__file__).parents[3]
PAIRS = [(stage, old, new) for stage, names in RENAMED.items() for old, new in names.items()]


@pytest.mark.parametrize(("stage", "old", "new"), PAIRS)
def test_an_old_name_is_answered_by_the_new_one(stage: str, old: str, new: str) -> None:
    params = importlib.import_module(f"stages.{stage}").Params
    content = section(stage)
    content[old] = content.pop(new)
    with pytest.raises(ValueError, match=rf"^mine\.yaml: {stage}\.{old}: is called {new} now$"):
        from_mapping(params, content, f"mine.yaml: {stage}")
    with pytest.raises(ValueError, match=rf"^{stage}\.{old}: is called {new} now$"):
        lay_over(project_params(), {stage: {old: content[old]}})


def test_all_of_a_section_are_told_at_once() -> None:
    params = importlib.import_module("stages.qlora").Params
    content = section("qlora")
    content |= {"alpha": content.pop("lora_alpha"), "dropout": content.pop("lora_dropout"), "rank": 3}
    with pytest.raises(
        ValueError, match=r"qlora\.alpha: is called lora_alpha now\nqlora\.dropout: is called lora_dropout"
    ):
        from_mapping(params, content, "qlora")


def test_the_page_of_names_has_them_all() -> None:
    page = (ROOT / "docs/params.md").read_text(encoding="utf-8").partition("## Old names")[2]
    rows = [line for line in page.splitlines() if line.startswith("| `")]
    assert rows == [f"| `{stage}.{old}` | `{stage}.{new}` |" for stage, old, new in PAIRS]


def test_an_old_name_of_one_section_stays_a_knob_of_another() -> None:
    shared = {"batch_size", "prompts", "top_k", "dropout"}  # eval, pretrain, rerank, pretrain
    own = {
        field.name
        for name in ("eval", "pretrain", "rerank")
        for field in fields(importlib.import_module(f"stages.{name}").Params)
    }
    assert shared <= own & {old for _, old, _ in PAIRS}
