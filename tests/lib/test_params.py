import dataclasses
from pathlib import Path
from typing import Literal

import pytest

from stages.lib.params import fill, from_mapping, load, load_prompts, read_yaml


@dataclasses.dataclass(frozen=True, kw_only=True)
class Source:
    kind: Literal["hub", "files"]
    names: list[str] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Params:
    chars: int
    fraction: float = 0.1
    sources: list[Source] = dataclasses.field(default_factory=list)
    limits: dict[str, float] = dataclasses.field(default_factory=dict)
    seed: int | None = None

    def __post_init__(self) -> None:
        if self.chars <= 0:
            raise ValueError(f"chars must be above 0, found {self.chars}")


def test_loads_a_section(tmp_path: Path) -> None:
    file = tmp_path / "params.yaml"
    file.write_text("chunk:\n  chars: 5\n  fraction: 1\n  sources:\n    - {kind: hub, names: [a]}\n  limits: {m: 2}\n")
    params = load(Params, "chunk", file)
    assert params == Params(chars=5, fraction=1.0, sources=[Source(kind="hub", names=["a"])], limits={"m": 2.0})
    assert isinstance(params.fraction, float) and isinstance(params.limits["m"], float)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"char": 5}, r"p\.char: unknown key \(did you mean 'chars'\?\)"),
        ({}, "p: missing chars"),
        ({"chars": "5"}, r"p\.chars: expected int, found '5'"),
        ({"chars": True}, r"p\.chars: expected int, found True"),
        ({"chars": 1.0}, r"p\.chars: expected int, found 1\.0"),
        ({"chars": 1, "fraction": "3e-4"}, r"p\.fraction: .* write 3\.0e-4"),
        ({"chars": 1, "sources": {"kind": "hub"}}, r"p\.sources: expected a list"),
        ({"chars": 1, "sources": [{"kind": "web"}]}, r"p\.sources\[0\]\.kind: 'web' is not allowed; one of"),
        ({"chars": 1, "limits": {"m": "x"}}, r"p\.limits\.m: expected float"),
        ({"chars": 0}, "p: chars must be above 0"),
        ([1], "p: expected a mapping"),
    ],
)
def test_bad_content_is_named(content: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        from_mapping(Params, content, where="p")


def test_missing_section_names_those_that_exist(tmp_path: Path) -> None:
    file = tmp_path / "params.yaml"
    file.write_text("chunk: {chars: 1}\n")
    with pytest.raises(ValueError, match=r"no section 'chnk'; there are \['chunk'\]"):
        load(Params, "chnk", file)


def test_bad_yaml_names_the_file(tmp_path: Path) -> None:
    file = tmp_path / "params.yaml"
    file.write_text("a: [1\n")
    with pytest.raises(ValueError, match=r"params\.yaml: not valid YAML"):
        read_yaml(file)
    with pytest.raises(ValueError, match="no such file"):
        read_yaml(tmp_path / "absent.yaml")


def test_prompts_are_read_by_name(tmp_path: Path) -> None:
    file = tmp_path / "prompts.yaml"
    file.write_text("a: hello\nb: [1]\n")
    assert load_prompts(["a"], file) == {"a": "hello"}
    with pytest.raises(ValueError, match="no prompt 'c'"):
        load_prompts(["c"], file)
    with pytest.raises(ValueError, match="b must be a text"):
        load_prompts(["b"], file)


def test_fill_puts_each_value_in_once_and_leaves_json_alone() -> None:
    template = 'Context: {context} Question: {question} Reply {"a": 1}'
    filled = fill(template, context="holds {question}", question="why?")
    assert filled == 'Context: holds {question} Question: why? Reply {"a": 1}'
    with pytest.raises(ValueError, match=r"lacks the placeholder \{answer\}"):
        fill(template, answer="x")
