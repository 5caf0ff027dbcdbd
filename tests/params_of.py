"""The project's params for tests and bench: those that are committed, not what a profile or an override left behind.

A test must not turn red because somebody laid a profile over params.yaml, added a model or ran `dvc exp run -S`;
so the text is git's (`HEAD:params.yaml`). While a field is added or renamed, though, code and params.yaml change
together before they are committed: a committed section that the stage's `Params` does not load any more is
replaced by the one of the working file. Without git (an archive), the working file is read.
"""

import copy
from dataclasses import fields, replace
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from profiles import overlay
from stages.lib.core.params import from_mapping, parse_yaml, read_yaml

T = TypeVar("T")
ROOT = Path(__file__).parent.parent


@cache
def committed_text() -> str:
    """params.yaml as committed; the working file where there is no commit to read it from."""
    text = overlay.committed_text(ROOT)
    return (ROOT / "params.yaml").read_text(encoding="utf-8") if text is None else text


@cache
def _committed() -> dict[str, Any]:
    return parse_yaml(committed_text(), Path("HEAD:params.yaml"))


def _fits(name: str) -> bool:
    """Whether the stage of today's code loads its committed section; true of a stage that has none (near_pairs)."""
    if name not in _committed():
        return name not in read_yaml(ROOT / "params.yaml")
    try:
        from_mapping(overlay.params_type(name, "params.yaml"), _committed()[name], name)
    except ValueError:
        return False
    return True


@cache
def _section(name: str) -> dict[str, Any]:
    content: dict[str, Any] = _committed()[name] if _fits(name) else read_yaml(ROOT / "params.yaml")[name]
    return content


@cache
def project_text() -> str:
    """params.yaml as text: as committed; the working file where a stage does not load the committed one any more."""
    stages = [path.stem for path in (ROOT / "stages").glob("*.py") if path.stem != "__init__"]
    return committed_text() if all(map(_fits, stages)) else (ROOT / "params.yaml").read_text(encoding="utf-8")


def section(name: str, **changes: Any) -> dict[str, Any]:
    """A stage's section, with some values changed (or, to test that a stage refuses them, added)."""
    content: dict[str, Any] = copy.deepcopy(_section(name))
    return content | changes


def models(**added: dict[str, Any]) -> dict[str, Any]:
    """The `models:` section, with more entries (their names as params.yaml writes them, by `**{"a-b": ...}`)."""
    entries: dict[str, Any] = copy.deepcopy(_committed()["models"])
    return entries | added


def project_params(**changed: Any) -> dict[str, Any]:
    """All sections, some of them replaced."""
    texts = {"domain": parse_yaml(project_text(), Path("params.yaml"))["domain"]}
    sections = [name for name in _committed() if name not in texts]
    return {name: models() if name == "models" else section(name) for name in sections} | texts | changed


def params_of(cls: type[T], name: str, **changes: Any) -> T:
    """A stage's `Params` (or a base of it, whose fields are then picked) from its section, with some fields changed."""
    own = {field.name for field in fields(cls)}  # type: ignore[arg-type]
    content = {key: value for key, value in section(name).items() if key in own}
    return replace(from_mapping(cls, content, f"params.yaml: {name}"), **changes)  # type: ignore[type-var]
