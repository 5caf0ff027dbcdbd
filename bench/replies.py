"""How well refusals and corrections are read: the rules of before beside the reader, on texts that it was not made on.

Run: python -m bench.replies [--data DIR] [--cases FILE] [--misses 10]

- phrasings, families: the reader's own examples by cross-validation; ten parts of phrasings, or each family of
  phrasings held out whole (harder: its kind of sentence was never seen).
- written later: bench/replies.yaml, made after the first version of the reader, and looked at since.
- --cases: refusals.json of people's wordings. --data (default $LLMILL_REAL_DATA): QASA's answers to questions that
  their authors could not answer, PubMedQA's and SciDQA's answers, which are all answers (SciDQA's authors do refuse now
  and then, so that its last digit is too low). Replies are read with their questions.

Recall is of the refusals, specificity of the answers; intervals are Wilson's at 95%.
"""

import argparse
import json
import math
import os
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import yaml

from stages.lib.answers.statements import holds
from stages.lib.reply_acts.correcting import corrects_value
from stages.lib.reply_acts.refusal_reader import Example, RefusalReader, examples
from stages.lib.reply_acts.refusing import REFUSES, says_not_told
from stages.lib.statistics.drawing import fraction_of

LATER = Path(__file__).with_name("replies.yaml")
PARTS = 10
# Of QASA's half that is at hand, what its annotators answered after all, by the record's number
QASA_ANSWERED = frozenset("66 81 82 83 84 88 94 116 117 130 139 149 191 227".split())

# The rules until then, made on this half of QASA and our own templates
_VERBS = (
    r"(?:say|tell|answer|contain|define|explain|mention|discuss|provide|describe|detail|state|specify|give|address|"
    r"compare|differentiate|infer|reason|include|indicate|clarify|analy[sz]e|pose|hold|name|report|cover)"
)
_NOT = r"(?:not|n['’]t|never)"
_OLD_REFUSAL = re.compile(
    r"\bun-?an?s\w*able\b|\bnot (?:be )?(?:answer|possible to (?:answer|infer|know|tell)|clear)\w*|"
    r"\b(?:no|less) (?:information|mention|clue|evidential|details?)\b|\bno evidence available\b|"
    r"\b(?:text|paper|authors?|they|passage|context|document|paragraphs?|it|questions?)\b[^.?!]{0,60}?"
    rf"\b(?:do|does|did|is|are|was|were|has|have|had|could|)(?: ?{_NOT})(?: \w+)? (?:been |be )?"
    rf"(?:{_VERBS}(?:ed|d|n|s)?|have the answer|explicitly {_VERBS})\b|"
    r"\b(?:can ?not|can['’]t|could not|couldn['’]t)(?: \w+)?(?: be)? "
    r"(?:answer|f[io]u?nd|explain|told|tell|infer|differen)\w*|"
    r"\b(?:not|never) (?:been )?(?:discussed|mentioned|stated|described|defined|specified|provided)\b|"
    r"\bnot (?:available|sufficient) (?:in|from)\b",
    re.IGNORECASE,
)
_OLD_DENIAL = re.compile(
    r"^\W*no\b(?! (?:information|mention|need))|\b(?:incorrect|mistaken|untrue|wrong|contrary|misconception)\b|"
    r"\bnot (?:\w+ )?(?:true|so|the case|correct|right|accurate|what the (?:text|question))\b|"
    r"\bother way (?:a?round)\b|\btakes? for granted\b|\bpremise\b|\bactually\b|\bcontradicts?\b|"
    r"\b(?:does|do|is|are) not\b[^.]{0,80}\bbut\b|,\s*not\b",
    re.IGNORECASE,
)


class Reply(NamedTuple):
    """A reply, what it replies to, and whether it refuses (or corrects)."""

    question: str
    text: str
    expected: bool
    reference: str = ""
    values: tuple[str, str] = ("", "")  # true and false ones


def old_refuses(reply: Reply) -> bool:
    """By the rules of before."""
    return bool(_OLD_REFUSAL.search(reply.text))


def refuses(reply: Reply) -> bool:
    """By the reader, with the question."""
    return says_not_told(reply.text, reply.question, reply.reference)


def old_corrects(reply: Reply) -> bool:
    """By the rules of before."""
    return bool(_OLD_DENIAL.search(reply.text)) and holds(reply.text, reply.values[0])


def corrects(reply: Reply) -> bool:
    """By the values that the reply states and rejects."""
    return corrects_value(reply.question, reply.text, *reply.values)


def wilson(count: int, total: int) -> str:
    """The share with Wilson's 95% interval; "" of none."""
    if not total:
        return ""
    share, z = count / total, 1.96
    middle = (share + z * z / (2 * total)) / (1 + z * z / total)
    half = z * math.sqrt(share * (1 - share) / total + z * z / (4 * total**2)) / (1 + z * z / total)
    return f"{share:.3f} [{max(0, middle - half):.3f}, {min(1, middle + half):.3f}]"


def row(name: str, by: str, expected: Sequence[bool], found: Sequence[bool]) -> str:
    """A line of the table."""
    pairs = list(zip(expected, found, strict=True))
    right = sum(e and f for e, f in pairs)
    positives, negatives, said = sum(expected), len(expected) - sum(expected), sum(found)
    precision = wilson(right, said) if positives and negatives else ""
    f1 = f"{2 * right / (positives + said):.3f}" if positives and negatives else ""
    specificity = wilson(sum(not e and not f for e, f in pairs), negatives)
    cells = [name, positives, negatives, by, wilson(right, positives), specificity, precision, f1]
    return f"| {' | '.join(map(str, cells))} |"


def crossed(part_of: Callable[[Example], str]) -> Iterator[tuple[bool, bool]]:
    """Yields, for each example, what it is and what a reader says that has not seen its part."""
    everything = examples()
    for part in sorted({part_of(example) for example in everything}):
        reader = RefusalReader([example for example in everything if part_of(example) != part])
        for example in everything:
            if part_of(example) == part:
                yield example.refuses, reader.probability(example.text) > REFUSES


def refusal_sets(data: Path | None, cases: Path | None) -> Iterator[tuple[str, list[Reply]]]:
    """Yields the sets that are there."""
    later = yaml.safe_load(LATER.read_text(encoding="utf-8"))
    pairs = ((key == "refuses", one) for key in ("refuses", "answers") for one in later[key])
    yield "written later", [Reply(one[0], one[1], refuses, *one[2:]) for refuses, one in pairs]
    if cases:
        found = json.loads(cases.read_text(encoding="utf-8"))
        yield "cases", [Reply("", text, key == "refusals") for key in ("refusals", "answers") for text in found[key]]
    if not data:
        return
    qasa = json.loads((data / "qasa" / "qasa_unanswerable_half_by_paper.json").read_text(encoding="utf-8"))
    yield (
        "QASA",
        [
            Reply(one["question"], one["composition"], key not in QASA_ANSWERED)
            for key, one in qasa.items()
            if one["composition"].strip()
        ],
    )
    pubmed = json.loads((data / "pubmedqa" / "ori_pqal_train500.json").read_text(encoding="utf-8"))
    yield "PubMedQA", [Reply(one["QUESTION"], one["LONG_ANSWER"], False) for one in pubmed.values()]
    lines = (data / "scidqa" / "scidqa_dev.jsonl").read_text(encoding="utf-8").splitlines()
    scidqa = [json.loads(line) for line in lines]
    yield "SciDQA", [Reply(one["que"], one["ans"].removeprefix("A:").strip(), False) for one in scidqa if one["ans"]]


def correction_sets(cases: Path | None) -> Iterator[tuple[str, list[Reply]]]:
    """Yields the sets that are there."""
    later = yaml.safe_load(LATER.read_text(encoding="utf-8"))
    yield (
        "written later",
        [
            Reply(question, text, key == "corrects", values=(true, false))
            for key in ("corrects", "corrects_not")
            for question, true, false, text in later[key]
        ],
    )
    if cases:
        found = json.loads(cases.read_text(encoding="utf-8"))
        question = "What is the parameter r, which defaults to 16, for?"
        yield (
            "cases",
            [
                Reply(question, text, not key.startswith("no_"), values=("8", "16"))
                for key in ("corrections_of_16_to_8", "no_corrections_of_16_to_8")
                for text in found[key]
            ],
        )


def main(data: Path | None, cases: Path | None, misses: int) -> str:
    """The tables, and what was misread."""
    head = "| | yes | no | read by | recall | specificity | precision | F1 |\n|---|---|---|---|---|---|---|---|"
    lines = ["refusals", head]
    parts = {
        "phrasings, cross-validated": lambda one: str(int(fraction_of("part", one.phrasing) * PARTS)),
        "families, each held out": lambda one: one.family,
    }
    for name, part_of in parts.items():
        expected, found = zip(*crossed(part_of), strict=True)
        lines.append(row(name, "reader", expected, found))
    wrong: list[str] = []
    for title, sets, methods in (
        ("", refusal_sets(data, cases), {"rules": old_refuses, "reader": refuses}),
        ("corrections", correction_sets(cases), {"rules": old_corrects, "values": corrects}),
    ):
        lines += [title, head] if title else []
        for name, replies in sets:
            for by, method in methods.items():
                answers = [method(reply) for reply in replies]
                lines.append(row(name, by, [reply.expected for reply in replies], answers))
            missed = [r for r, answer in zip(replies, answers, strict=True) if answer != r.expected]
            wrong += [f"{name}: {'missed' if r.expected else 'false'}: {r.text[:200]!r}" for r in missed[:misses]]
    return "\n".join([*lines, *wrong])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=os.environ.get("LLMILL_REAL_DATA"))
    parser.add_argument("--cases", type=Path)
    parser.add_argument("--misses", type=int, default=0)
    args = parser.parse_args()
    print(main(Path(args.data) if args.data else None, args.cases, args.misses))
