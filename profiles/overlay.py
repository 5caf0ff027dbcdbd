"""Lays a profile over params.yaml: mappings merge, lists and scalars replace, comments stay.

The way back is git's (`git checkout params.yaml`), so what is committed tells whether another profile's values
still lie in the file: two profiles are never mixed.
"""

import dataclasses
import importlib
import re
import subprocess
from difflib import get_close_matches
from io import StringIO
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from stages.lib.answering.chat_settings import ChatSettings
from stages.lib.core.params import PARAMS_FILE, from_mapping, in_domain, new_name, parse_yaml, read_yaml
from stages.lib.spread.cluster import RayParams
from stages.lib.weights.models import ModelEntry, model_entry

PROFILES_DIR = Path(__file__).parent
# Where the stages name models, as section and key; each name must stand under `models:`.
MODEL_LISTS = {
    ("dedup", "models"),
    ("qa", "generators"),
    ("judge", "judges"),
    ("embed", "models"),
    ("rerank", "rerankers"),
}
MODEL_NAMES = {
    ("dedup", "judge"),
    ("instruct", "generator"),
    ("qlora", "base"),
    ("eval", "base"),
    ("eval", "similarity_model"),
    ("eval", "judge"),
    ("grpo", "base"),
    ("grpo", "similarity_model"),
    ("gguf", "base"),
    ("chat", "embedding"),
    ("chat", "late_interaction"),
    ("rag", "similarity_model"),
    ("retriever", "base"),
}
ENTRY = re.compile(r"models\.[^.]+")
FIELDS = {field.name for field in dataclasses.fields(ModelEntry)}
SHARED: dict[str, type[Any]] = {"chat": ChatSettings, "ray": RayParams}  # sections that are no stage's own


def profile_names() -> list[str]:
    """The names of the profiles/*.yaml files."""
    return sorted(path.stem for path in PROFILES_DIR.glob("*.yaml"))


def read_profile(name: str) -> dict[str, Any]:
    """Reads profiles/<name>.yaml.

    Raises:
        ValueError: no such profile.
    """
    if name not in profile_names():
        raise ValueError(f"no profile {name!r}; there are {', '.join(profile_names())}")
    return read_yaml(PROFILES_DIR / f"{name}.yaml")


def set_value(profile: dict[str, Any], change: str) -> None:
    """Puts `a.b=value` into a profile in place; the value is read as YAML.

    Raises:
        ValueError: not of this form, or a key of it holds a value already.
    """
    path, equals, text = change.partition("=")
    *sections, key = path.split(".")
    if not equals or not all((*sections, key)):
        raise ValueError(f"{change!r}: write KEY=VALUE, such as dedup.sample=400")
    for section in sections:
        profile = profile.setdefault(section, {})
        if not isinstance(profile, dict):
            raise ValueError(f"{change!r}: {section} is a value, not a section")
    profile[key] = parse_yaml(f"value: {text}", Path(change))["value"]


def committed_text(root: Path) -> str | None:
    """params.yaml as last committed in the project at `root`; None where git has none."""
    command = ["git", "show", f"HEAD:./{PARAMS_FILE}"]
    try:
        shown = subprocess.run(command, cwd=root, capture_output=True, check=False)
    except FileNotFoundError:  # no git
        return None
    return shown.stdout.decode("utf-8") if shown.returncode == 0 else None


def refuse_a_mixture(name: str, text: str, committed: str | None) -> None:
    """Raises `ValueError` where profile `name`, laid over params.yaml (`text`), would leave another one's values in it.

    Changes of one's own (a model, an override) stay as they are; only a value that differs from the committed
    one, and that another profile sets just so where `name` does not, counts.
    """
    if committed is None:
        return
    now, before = leaves(parse_yaml(text, PARAMS_FILE)), leaves(parse_yaml(committed, PARAMS_FILE))
    changed = {key for key, value in now.items() if key not in before or value != before[key]}
    changed -= leaves(read_profile(name)).keys()
    left: dict[str, list[str]] = {}
    for other in profile_names():
        values = leaves(read_profile(other))
        left[other] = sorted(".".join(key) for key in changed & values.keys() if now[key] == values[key])
    most = max(left, key=lambda other: len(left[other]))
    if left[most]:
        raise ValueError(
            f"{PARAMS_FILE} still holds values of profile {most}, which {name} would leave: {', '.join(left[most])}; "
            f"`git checkout {PARAMS_FILE}` first, or commit them"
        )


def leaves(tree: dict[str, Any], where: tuple[str, ...] = ()) -> dict[tuple[str, ...], Any]:
    """Every value of nested mappings by its path; a list is a value."""
    found: dict[tuple[str, ...], Any] = {}
    for key, value in tree.items():
        place = (*where, str(key))
        found.update(leaves(value, place) if isinstance(value, dict) else {place: value})
    return found


def lay_over(base: Any, profile: dict[str, Any], where: str = "") -> list[str]:
    """Changes `base` in place to hold the profile's values; returns one line per change.

    An entry of `models:` leaves out what stays at its default: a profile may write it there.

    Raises:
        ValueError: the profile names another key that params.yaml lacks, or puts a value where a mapping is.
    """
    changes: list[str] = []
    for key, value in profile.items():
        place = f"{where}.{key}" if where else str(key)
        if key not in base and ENTRY.fullmatch(where) and key in FIELDS:
            changes.append(f"{place}: {_plain(value)}")
            base[key] = value
            continue
        if key not in base:
            if now := new_name(place):
                raise ValueError(f"{place}: is called {now} now")
            close = get_close_matches(str(key), [str(known) for known in base], n=1)
            hint = f" (did you mean {close[0]!r}?)" if close else ""
            raise ValueError(f"{place}: params.yaml has no such key{hint}")
        if isinstance(value, dict) != isinstance(base[key], dict):
            raise ValueError(f"{place}: a mapping and a value do not replace each other")
        if isinstance(value, dict):
            changes += lay_over(base[key], value, place)
        elif base[key] != value:
            changes.append(f"{place}: {_plain(base[key])} -> {_plain(value)}")
            base[key] = value
    return changes


def overlaid_text(text: str, profile: dict[str, Any]) -> tuple[str, list[str]]:
    """The text of params.yaml with the profile laid over it, comments kept, and the list of changes."""
    yaml = YAML()  # as DVC writes it: what `dvc exp run -S` changes afterwards is a diff of one line
    yaml.default_flow_style = False
    document = yaml.load(text)
    changes = lay_over(document, profile)
    out = StringIO()
    yaml.dump(document, out)
    return out.getvalue(), changes


def check_params(params: dict[str, Any], where: str) -> None:
    """Loads every section into its stage's `Params` and every model into a `ModelEntry`.

    Raises:
        ValueError: a section without a stage, a wrong key or value, a model's name that the stages refuse, or one
            that a section uses and that is not under `models:`.
    """
    for name in params["models"]:
        model_entry(name, params["models"], where)
    for section, content in params.items():
        if section == "models":
            continue
        if section == "domain":
            in_domain({"": "{domain}"}, content)
            continue
        from_mapping(params_type(section, where), content, where=f"{where}: {section}")
    named = [(f"{section}.{key}", name) for section, key in sorted(MODEL_LISTS) for name in params[section][key]]
    named += [(f"{section}.{key}", params[section][key]) for section, key in sorted(MODEL_NAMES)]
    named += [("dedup.thresholds", name) for name in params["dedup"]["thresholds"]]
    for place, name in named:
        if name not in params["models"]:
            raise ValueError(f"{where}: {place} names {name!r}, which is not under models: {sorted(params['models'])}")
    released, base = params["gguf"]["model"], params["gguf"]["base"]
    if released in params["models"] and released != base:
        raise ValueError(
            f"{where}: gguf.model names {released!r}, gguf.base {base!r}: to release a base, name it in both"
        )


def params_type(section: str, where: str) -> type[Any]:
    """The dataclass of a section.

    Raises:
        ValueError: no stage has such a section.
    """
    if section in SHARED:
        return SHARED[section]
    try:
        stage = importlib.import_module(f"stages.{section}")
    except ModuleNotFoundError as error:
        raise ValueError(f"{where}: section {section!r} has no stage stages/{section}.py") from error
    found = stage.Params
    assert isinstance(found, type) and dataclasses.is_dataclass(found)
    return found


def _plain(value: Any) -> str:
    return str([_plain(item) for item in value]) if isinstance(value, list) else str(value)
