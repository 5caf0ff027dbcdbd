"""Strict, typed parameters: one section of params.yaml -> one frozen dataclass.

A stage declares its parameters as a frozen, keyword-only dataclass and calls
`load(Params, "chunk")`. Unknown, missing or wrongly typed keys raise `ValueError`
that names the key, the value and what is allowed.

Every YAML file is read here, by the reader that DVC uses (ruamel.yaml, YAML 1.2): what `dvc exp run -S` writes,
and what DVC compares to tell whether a stage is up to date, is what the stage sees. So 5e-05 and 1e3 are numbers,
`on` and `no` are texts.

What DVC has to track is announced: each key and prompt that is read raises Python's audit event
`llmill.read` with the file and the key, which a hook (tests/recorder) compares with dvc.yaml.
"""

import dataclasses
import re
import sys
import types
import typing
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")

PARAMS_FILE = Path("params.yaml")
PROMPTS_FILE = Path("prompts.yaml")
# What keys were called before, by section: who brings an old one is told the name of today (docs/params.md says why).
RENAMED: dict[str, dict[str, str]] = {
    "pretrain": {"sample_tokens": "max_new_tokens"},
    "finetune": {"held_out_fraction": "val_fraction"},
    "dedup": {"max_tokens": "max_new_tokens"},
    "qa": {"max_tokens": "max_new_tokens", "max_question_tokens": "question_max_new_tokens"},
    "judge": {"max_tokens": "max_new_tokens"},
    "benchmark": {"top_k": "cutoffs"},
    "instruct": {"max_tokens": "max_new_tokens", "max_question_tokens": "question_max_new_tokens"},
    "qlora": {
        "compute_dtype": "dtype",
        "alpha": "lora_alpha",
        "dropout": "lora_dropout",
        "scheduler": "lr_scheduler_type",
        "batch_size": "micro_batch",
        "accumulation": "gradient_accumulation_steps",
        "checkpointing": "gradient_checkpointing",
    },
    "eval": {"embedding": "similarity_model", "judge_tokens": "judge_max_new_tokens"},
    "grpo": {
        "generations": "num_generations",
        "max_completion_tokens": "max_new_tokens",
        "max_prompt_tokens": "max_prompt_length",
        "train_prompts": "train_limit",
        "test_prompts": "test_limit",
        "lora_rank": "r",
        "lr_schedule": "lr_scheduler_type",
        "iterations": "num_iterations",
        "mask_truncated": "mask_truncated_completions",
        "weights": "reward_weights",
        "batch_size": "eval_batch_size",
    },
    "gguf": {"prompts": "conversations", "reply_tokens": "max_new_tokens"},
}


def read_yaml(path: Path) -> dict[str, Any]:
    """Reads a YAML mapping. Raises `ValueError` naming the file if it is missing or not a mapping."""
    if not path.is_file():
        raise ValueError(f"{path}: no such file (run from the root of the project)")
    return parse_yaml(path.read_text(encoding="utf-8"), path)


def parse_yaml(text: str, path: Path) -> dict[str, Any]:
    """A YAML mapping from the text of the file `path`.

    Raises:
        ValueError: naming the file: not valid YAML, a key twice, or not a mapping.
    """
    # Here, so that what trains or measures with params made in code runs where there is no ruamel.yaml.
    from ruamel.yaml import YAML
    from ruamel.yaml.constructor import DuplicateKeyError
    from ruamel.yaml.error import YAMLError

    try:
        content = YAML(typ="safe").load(text)
    except DuplicateKeyError as error:
        key = str(error.problem).removeprefix("found duplicate key ").partition(" with value ")[0]
        raise ValueError(f"{path}: line {error.problem_mark.line + 1}: the key {key} stands twice") from error
    except (YAMLError, ValueError) as error:  # ValueError: the 31st of February
        raise ValueError(f"{path}: not valid YAML: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path}: expected a mapping at the top, found {type(content).__name__}")
    return content


def load(cls: type[T], section: str, path: Path = PARAMS_FILE) -> T:
    """Loads the named section of params.yaml into the dataclass `cls`.

    Raises:
        ValueError: the section is absent, or a key is unknown, missing or of another type.
    """
    content = read_yaml(path)
    if section not in content:
        raise ValueError(f"{path}: no section {section!r}; there are {sorted(map(str, content))}")
    if isinstance(content[section], dict):
        announce(path, [f"{section}.{key}" for key in content[section]])
    return from_mapping(cls, content[section], where=f"{path}: {section}")


def read_param(key: str, path: Path = PARAMS_FILE) -> Any:
    """The value of one dotted key, such as another section's `qa.generators`; None where there is no such key."""
    value: Any = read_yaml(path)
    for part in key.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    announce(path, [key])
    return value


def read_names(key: str, path: Path = PARAMS_FILE) -> list[str]:
    """The names that a dotted key lists, or that a mapping has as its keys.

    Raises:
        ValueError: there is no such key, or it holds something else.
    """
    value = read_param(key, path)
    if not isinstance(value, list | dict) or not all(isinstance(name, str) for name in value):
        raise ValueError(f"{path}: {key}: expected names, found {value!r}")
    return list(value)


def announce(path: Path, keys: Iterable[str]) -> None:
    """Tells audit hooks which keys of a params file are read; without a hook it does nothing."""
    for key in keys:
        sys.audit("llmill.read", str(path), key)


def load_prompts(names: list[str], path: Path = PROMPTS_FILE, *, domain: Any = None) -> dict[str, str]:
    """Reads the named prompts from prompts.yaml; `domain`, the param of that name, stands for {domain} in them.

    Raises:
        ValueError: a prompt is absent or not a text, or the domain is no text.
    """
    content = read_yaml(path)
    for name in names:
        if name not in content:
            raise ValueError(f"{path}: no prompt {name!r}; there are {sorted(map(str, content))}")
        if not isinstance(content[name], str):
            raise ValueError(f"{path}: {name} must be a text, found {content[name]!r}")
    announce(path, names)
    return in_domain({name: content[name] for name in names}, domain)


def in_domain(texts: dict[str, str], domain: Any) -> dict[str, str]:
    """Texts by name, with the field that the documents are of (the param `domain`) in place of {domain}.

    Raises:
        ValueError: a text has {domain}, and the domain is no text, or a blank one.
    """
    if not any("{domain}" in text for text in texts.values()):
        return texts
    if not isinstance(domain, str) or not domain.strip():
        raise ValueError(f"{PARAMS_FILE}: domain: expected the field of the documents in words, found {domain!r}")
    return {name: text.replace("{domain}", domain.strip()) for name, text in texts.items()}


def fill(template: str, **values: str) -> str:
    """Puts values into the {placeholders} of a prompt; other braces (JSON examples) stay as they are.

    Raises:
        ValueError: the template lacks the placeholder of a value.
    """
    for name in values:
        if "{" + name + "}" not in template:
            raise ValueError(f"the prompt lacks the placeholder {{{name}}}: {template[:80]!r}...")
    # One pass, so that a value which happens to hold "{answer}" stays as it is.
    names = "|".join(map(re.escape, values))
    return re.sub(rf"\{{({names})\}}", lambda match: values[match[1]], template) if values else template


def from_mapping(cls: type[T], content: Any, where: str) -> T:
    """Builds the dataclass `cls` from a mapping, strictly; `where` names the place in error messages."""
    assert dataclasses.is_dataclass(cls), cls
    if not isinstance(content, dict):
        raise ValueError(f"{where}: expected a mapping, found {content!r}")
    fields = {field.name: field for field in dataclasses.fields(cls)}
    hints = typing.get_type_hints(cls)
    places = [f"{where}.{key}" for key in content if key not in fields]
    renamed = [f"{place}: is called {now} now" for place in places if (now := new_name(place))]
    if renamed:
        raise ValueError("\n".join(renamed))
    for key in content:
        if key not in fields:
            close = get_close_matches(str(key), fields, n=1)
            hint = f" (did you mean {close[0]!r}?)" if close else ""
            raise ValueError(f"{where}.{key}: unknown key{hint}; allowed are {sorted(fields)}")
    missing = [
        name
        for name, field in fields.items()
        if name not in content and field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    ]
    if missing:
        raise ValueError(f"{where}: missing {', '.join(missing)}")
    values = {key: _convert(value, hints[key], f"{where}.{key}") for key, value in content.items()}
    try:
        return cls(**values)
    except ValueError as error:  # a range check in __post_init__
        raise ValueError(f"{where}: {error}") from error


def new_name(place: str) -> str | None:
    """Today's name of the key at `place` (`qlora.alpha`, or `params.yaml: qlora.alpha`); None: it is no old name."""
    section, _, key = place.rpartition(" ")[2].partition(".")
    return RENAMED.get(section, {}).get(key)


def pick(cls: type[T], params: Any) -> T:
    """Those of a stage's params that `cls` has as its fields, by their names: what a library takes of them.

    Raises:
        ValueError: a value out of range (from `cls`).
    """
    assert dataclasses.is_dataclass(cls), cls
    return cls(**{field.name: getattr(params, field.name) for field in dataclasses.fields(cls)})


def _convert(value: Any, hint: Any, where: str) -> Any:
    """Checks `value` against the type `hint`; an int passes for a float, nothing else is converted."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in args:
            return None
        others = [arg for arg in args if arg is not type(None)]
        errors = []
        for arg in others:
            try:
                return _convert(value, arg, where)
            except ValueError as error:
                errors.append(str(error))
        raise ValueError(errors[0])
    if origin is typing.Literal:
        if value not in args or type(value) not in {type(arg) for arg in args}:
            raise ValueError(f"{where}: {value!r} is not allowed; one of {list(args)}")
        return value
    if origin in (list, tuple):
        if not isinstance(value, list):
            raise ValueError(f"{where}: expected a list, found {value!r}")
        items = [_convert(item, args[0], f"{where}[{i}]") for i, item in enumerate(value)]
        return items if origin is list else tuple(items)
    if origin is dict:
        if not isinstance(value, dict):
            raise ValueError(f"{where}: expected a mapping, found {value!r}")
        return {
            _convert(key, args[0], f"{where} (key)"): _convert(item, args[1], f"{where}.{key}")
            for key, item in value.items()
        }
    if hint is Any:
        return value
    if dataclasses.is_dataclass(hint):
        assert isinstance(hint, type)
        return from_mapping(hint, value, where)
    if hint is float and type(value) is int:
        return float(value)
    if type(value) is not hint:
        advice = ""
        if hint in (int, float) and isinstance(value, str):
            advice = " (this is text: a number, such as 5 or 3e-4, has no quotes; write 3.0e-4)"
        elif hint is int and isinstance(value, float) and value.is_integer():
            advice = f" (a whole number has no point and no exponent: write {int(value)})"
        raise ValueError(f"{where}: expected {hint.__name__}, found {value!r}{advice}")
    return value
