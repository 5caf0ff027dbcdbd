import dataclasses
import sys
from pathlib import Path
from typing import Literal

import pytest

from stages.lib.core.params import fill, from_mapping, load, load_prompts, parse_yaml, read_names, read_param, read_yaml


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
    switch: Literal[0, 1] = 0

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
        ({"chars": 1.0}, r"p\.chars: expected int, found 1\.0 .* write 1\)"),
        ({"chars": 1000.5}, r"p\.chars: expected int, found 1000\.5$"),
        ({"chars": 1, "fraction": "3e-4"}, r"p\.fraction: .* write 3\.0e-4"),
        ({"chars": 1, "sources": {"kind": "hub"}}, r"p\.sources: expected a list"),
        ({"chars": 1, "sources": [{"kind": "web"}]}, r"p\.sources\[0\]\.kind: 'web' is not allowed; one of"),
        ({"chars": 1, "limits": {"m": "x"}}, r"p\.limits\.m: expected float"),
        ({"chars": 1, "switch": True}, r"p\.switch: True is not allowed; one of \[0, 1\]"),
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


SCALARS = [
    *(
        "5e-05",
        "1e-3",
        "3E4",
        "1e3",
        "+1e3",
        "-2.5e-7",
        ".5",
        "5.",
        "-.5",
        "1.0e+3",
        "1e",
        ".inf",
        "-.INF",
        "1_000",
        "1_0.5",
    ),
    *("0", "-0", "012", "0o12", "0x1F", "0b101", "+7", "12:30", "1:30:59.5", "12:30:45"),
    *("on", "off", "yes", "No", "y", "n", "true", "False", "TRUE", "null", "~", "", "Null", "None"),
    *("2001-12-14", "2001-12-14t21:59:43.10-05:00", "2001-12-14 21:59:43", "'1e-3'", '"on"', "1e-3 # c"),
    *("[1e-3, on, {a: 5e-05}]", "|-\n  1e-3", "a b # c", "!!str 1", "!!float 1", "1.2.3", "v1.0", "1e-3x"),
]


@pytest.mark.parametrize("scalar", SCALARS)
def test_a_value_is_what_dvc_reads(scalar: str) -> None:
    from dvc.utils.serialize import parse_yaml as dvc_parse_yaml  # type: ignore[import-untyped,unused-ignore]

    text = f"key: {scalar}\n"
    ours, theirs = parse_yaml(text, Path("p.yaml")), dvc_parse_yaml(text, "p.yaml")
    assert repr(ours) == repr(theirs)  # types, too


@pytest.mark.parametrize(
    ("scalar", "value"), [("5e-05", 5e-05), ("3E4", 3e4), (".5", 0.5), ("on", "on"), ("12:30", "12:30"), ("012", 12)]
)
def test_numbers_are_numbers_and_texts_are_texts(scalar: str, value: object) -> None:
    found = parse_yaml(f"key: {scalar}", Path("p.yaml"))["key"]
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a:\n  b: 1\n  c: 2\n  b: 3\n", r'^p\.yaml: line 4: the key "b" stands twice$'),
        ("b: 1\nb: 1\n", r'^p\.yaml: line 2: the key "b" stands twice$'),
        ("b: 2001-02-31\n", r"^p\.yaml: not valid YAML: day is out of range"),
        ("- 1\n", r"^p\.yaml: expected a mapping at the top, found list$"),
        ("", r"^p\.yaml: expected a mapping at the top, found NoneType$"),
    ],
)
def test_bad_yaml_is_named(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_yaml(text, Path("p.yaml"))


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


def test_every_key_and_prompt_that_is_read_is_announced(tmp_path: Path) -> None:
    """What is not announced, the comparison with dvc.yaml cannot see."""
    seen: list[tuple[object, ...]] = []
    listening = True
    sys.addaudithook(lambda event, args: seen.append(args) if listening and event == "llmill.read" else None)
    params, prompts = tmp_path / "params.yaml", tmp_path / "prompts.yaml"
    params.write_text("chunk: {chars: 5, seed: 1}\nqa: {generators: [a]}\n")
    prompts.write_text("one: text\ntwo: text\n")
    load(Params, "chunk", params)
    assert seen == [(str(params), "chunk.chars"), (str(params), "chunk.seed")]
    seen.clear()
    assert read_param("chunk.seed", params) == 1
    assert read_names("qa.generators", params) == ["a"]
    assert seen == [(str(params), "chunk.seed"), (str(params), "qa.generators")]
    seen.clear()
    load_prompts(["two"], prompts)
    assert seen == [(str(prompts), "two")]
    listening = False
