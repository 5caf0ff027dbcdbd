"""params.yaml and prompts.yaml stand as DVC's writer writes them: an override is a diff of its own lines."""

import difflib
import json
from pathlib import Path
from typing import Any

import pytest

from profiles.overlay import leaves, overlaid_text, profile_names, read_profile
from stages.lib.core.params import parse_yaml
from tests.params_of import project_params, project_text

ROOT = Path(__file__).parent.parent
PROMPTS = (ROOT / "prompts.yaml").read_text(encoding="utf-8")
SECTIONS = [name for name, content in project_params().items() if content]


def rewritten(place: Path, text: str, *overrides: str) -> str:
    """The text as `dvc exp run -S OVERRIDE...` leaves it."""
    from dvc.utils.hydra import apply_overrides  # type: ignore[import-untyped,unused-ignore]

    file = place / "some.yaml"
    file.write_text(text, encoding="utf-8")
    apply_overrides(str(file), list(overrides))
    return file.read_text(encoding="utf-8")


def lines_of(text: str, path: tuple[str, ...]) -> range:
    """The lines of a key and its value in a text of block style."""
    lines = text.splitlines()
    at, end = -1, len(lines)
    for depth, key in enumerate(path):
        head = "  " * depth + f"{key}:"
        at = next(i for i in range(at + 1, end) if (lines[i] + " ").startswith(head + " "))
    inside = ("  " * len(path), "  " * (len(path) - 1) + "- ")
    stop = at + 1
    while stop < end and lines[stop].startswith(inside) and not lines[stop].lstrip().startswith("#"):
        stop += 1
    return range(at, stop)


def changed_lines(old: str, new: str) -> set[int]:
    """The lines of `old` that `new` lacks, and those after which it has more."""
    found: set[int] = set()
    for tag, start, stop, _, _ in difflib.SequenceMatcher(
        None, old.splitlines(), new.splitlines(), False
    ).get_opcodes():
        if tag != "equal":
            found |= set(range(start, stop)) or {start - 1}
    return found


def comments(text: str) -> list[str]:
    return [line[line.index("# ") :] for line in text.splitlines() if line.startswith("# ") or " # " in line]


def other_value(value: Any) -> str:
    """Another value of the same kind, as -S takes it."""
    match value:
        case bool():
            return str(not value).lower()
        case int():
            return str(value + 1)
        case float():
            return repr(value * 0.3 + 1e-7)
        case list():
            return "[" + ",".join([*(json.dumps(item) for item in value if isinstance(item, str)), "one", "two"]) + "]"
        case _:
            return f"other-{value[:3]}" if value else "other"


def addressable(params: dict[str, Any]) -> dict[tuple[str, ...], Any]:
    """The values that -S can name: no key with a dot."""
    return {path: value for path, value in leaves(params).items() if not any("." in key for key in path)}


@pytest.mark.parametrize("section", SECTIONS)
def test_an_override_changes_the_lines_of_its_value_alone(tmp_path: Path, section: str) -> None:
    text = project_text()
    kinds: dict[tuple[type, int], tuple[tuple[str, ...], Any]] = {}
    for path, value in addressable({section: project_params()[section]}).items():
        kinds[type(value), len(path)] = (path, value)  # the last of each kind and depth
    for path, value in kinds.values():
        override = f"{'.'.join(path)}={other_value(value)}"
        new = rewritten(tmp_path, text, override)
        changed = changed_lines(text, new)
        assert changed and changed <= set(lines_of(text, path)), override
        assert len(changed) == 1 or isinstance(value, list), override
        assert comments(new) == comments(text), override


def test_overriding_every_scalar_at_once_keeps_every_other_line(tmp_path: Path) -> None:
    text = project_text()
    scalars = {path: value for path, value in addressable(project_params()).items() if not isinstance(value, list)}
    assert len(scalars) > 250
    new = rewritten(tmp_path, text, *(f"{'.'.join(path)}={other_value(value)}" for path, value in scalars.items()))
    assert len(new.splitlines()) == len(text.splitlines())
    allowed = {line for path in scalars for line in lines_of(text, path)}
    assert changed_lines(text, new) <= allowed
    assert comments(new) == comments(text)


def test_an_override_of_an_empty_list_keeps_the_comments_beside_it(tmp_path: Path) -> None:
    text = project_text()
    override = "instruct.abstracts=[{patterns:['a.jsonl'],text_key:abstract}]"
    new = rewritten(tmp_path, text, override)
    assert comments(new) == comments(text)
    assert parse_yaml(new, Path("new"))["instruct"]["abstracts"] == [{"patterns": ["a.jsonl"], "text_key": "abstract"}]
    assert len(changed_lines(text, new)) <= 3


@pytest.mark.parametrize("name", profile_names())
def test_a_profile_is_written_in_the_same_form(tmp_path: Path, name: str) -> None:
    text = project_text()
    profile = read_profile(name)
    new, _ = overlaid_text(text, profile)
    assert changed_lines(text, new) <= {line for path in leaves(profile) for line in lines_of(text, path)}
    assert comments(new) == comments(text)
    again = rewritten(tmp_path, new, "benchmark.rrf_k=30")
    assert changed_lines(new, again) == {lines_of(new, ("benchmark", "rrf_k"))[0]}


def test_no_profile_no_change() -> None:
    assert overlaid_text(project_text(), {})[0] == project_text()


@pytest.mark.parametrize("name", parse_yaml(PROMPTS, Path("prompts.yaml")))
def test_an_override_of_a_prompt_changes_its_lines_alone(tmp_path: Path, name: str) -> None:
    new = rewritten(tmp_path, PROMPTS, f"{name}='a new text: {{context}} #1'")
    assert parse_yaml(new, Path("new"))[name] == "a new text: {context} #1"
    lines = PROMPTS.splitlines()
    start = lines.index(f"{name}: |-")
    stop = next((i for i in range(start + 1, len(lines)) if lines[i] and not lines[i].startswith(" ")), len(lines))
    assert changed_lines(PROMPTS, new) <= set(range(start, stop))
    assert comments(new) == comments(PROMPTS)
