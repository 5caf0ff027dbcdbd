"""What random weights leave nothing of is handed on from the embedded default, under their names.

A model of random weights writes no readable question and no rating: its stage says so and ends. The later stages then
get the questions that SmolLM2 writes on the same chunks, and its judgments of them.
"""

import json
import re
from collections.abc import Callable
from pathlib import Path

STAND_IN = "smollm2-135m"
# Stage -> what its error says where no reply could be used.
NOTHING = {
    "qa": re.compile(r"none of \d+ chunks got a usable question"),
    "judge": re.compile(r"could judge none of \d+ questions"),
}


def left_nothing(stage: str, said: str) -> bool:
    """Whether a stage ended because no reply was usable."""
    return stage in NOTHING and NOTHING[stage].search(said) is not None


def hand_on(project: Path, stage: str, arguments: tuple[str, ...], run: Callable[[str, tuple[str, ...]], None]) -> str:
    """Puts the embedded default's records in the place of those that a stage could not make; returns what it did.

    `run` runs a stage with arguments; the default's records are made once.
    """
    name = arguments[0]
    match stage:
        case "qa":
            source, target = _questions(project, STAND_IN), _questions(project, name)
            if not source.is_file():
                run("qa", (STAND_IN,))
            _rename(source, target, "generator", name)
            return f"no usable question; {STAND_IN}'s handed on"
        case _:
            generator = arguments[1]
            source, target = (_judgments(project, judge, generator) for judge in (STAND_IN, name))
            if not source.is_file():
                run("judge", (STAND_IN, generator))
            _rename(source, target, "judge", name)
            return f"no usable judgment; {STAND_IN}'s handed on"


def _questions(project: Path, generator: str) -> Path:
    return project / "data" / "qa" / f"{generator}_qa.jsonl"


def _judgments(project: Path, judge: str, generator: str) -> Path:
    return project / "data" / "judgments" / f"{judge}_{generator}_qa.jsonl"


def _rename(source: Path, target: Path, key: str, name: str) -> None:
    """Copies records, the model's name under `key` and in their ids replaced."""
    lines = []
    for line in source.read_text(encoding="utf-8").splitlines():
        record = json.loads(line)
        record[key] = name
        if key == "generator":
            record["id"] = str(record["id"]).replace(STAND_IN, name)
        lines.append(json.dumps(record, ensure_ascii=False) + "\n")
    target.write_text("".join(lines), encoding="utf-8")
