"""Where the support of an answer is found, on the default values that the docstrings of installed libraries state.

Run: python -m bench.support [--libraries peft accelerate] [--chars 700] [--misses 10]

Each parameter whose entry states a default is asked for: "What is the default value of r in LoraConfig?" - "8". Right
is a span within that parameter's own entry. The text is the whole docstring, and the docstring cut to --chars
characters around the entry, as a chunk would hold it. Beside ours stands the first occurrence, as it was found before.
"""

import argparse
import re
from collections.abc import Sequence

from bench.defaults import LIBRARIES, Entry, parameter_entries
from stages.lib.qa.support import find_support


def first_occurrence(answer: str, text: str) -> dict[str, int] | None:
    """The first place where the text holds the answer."""
    match = re.search(rf"(?<!\w){re.escape(answer)}(?!\w)", text, re.IGNORECASE)
    return {"start": match.start(), "end": match.end()} if match else None


def window(entry: Entry, chars: int) -> tuple[int, int]:
    """The lines around the entry, `chars` characters in all (0: the whole docstring), the entry in the middle."""
    if chars == 0:
        return 0, len(entry.docstring)
    spare = max(0, chars - (entry.end - entry.start)) // 2
    start = entry.docstring.rfind("\n", 0, max(0, entry.start - spare)) + 1
    return start, min(len(entry.docstring), entry.end + spare)


def is_right(span: dict[str, int] | None, entry: Entry, start: int) -> bool:
    """Whether a span of the text that begins at `start` lies in the entry."""
    return span is not None and entry.start <= span["start"] + start and span["end"] + start <= entry.end


def main(libraries: Sequence[str], chars: int, misses: int) -> str:
    """The table, and what was missed."""
    asked = [entry for entry in parameter_entries(libraries) if entry.default]
    lines = ["| text | default values | first occurrence elsewhere | ours elsewhere |", "|---|---|---|---|"]
    missed: list[str] = []
    for label, size in (("docstring", 0), (f"{chars} characters", chars)):
        wrong = {"first": 0, "ours": 0}
        for entry in asked:
            start, end = window(entry, size)
            text = entry.docstring[start:end]
            question = f"What is the default value of {entry.name} in {entry.owner}?"
            wrong["first"] += not is_right(first_occurrence(entry.default, text), entry, start)
            span = find_support(entry.default, text, question)
            if not is_right(span, entry, start):
                wrong["ours"] += 1
                found = text[max(0, span["start"] - 60) : span["end"] + 20] if span else None
                missed.append(f"{question} {entry.default!r} in {found!r}; its entry: {entry.text[:120]!r}")
        lines.append(f"| {label} | {len(asked)} | {wrong['first']} | {wrong['ours']} |")
    return "\n".join([*lines, *missed[:misses]])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--libraries", nargs="+", default=list(LIBRARIES))
    parser.add_argument("--chars", type=int, default=700)
    parser.add_argument("--misses", type=int, default=10, help="misses that are shown")
    args = parser.parse_args()
    print(main(args.libraries, args.chars, args.misses))
