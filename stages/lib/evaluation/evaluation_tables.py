"""The tables of an evaluation: one with everything, one for people to mark who must not know which system is which."""

from collections.abc import Mapping, Sequence

from stages.lib.core.records import Record
from stages.lib.evaluation.win_rate import Preference
from stages.lib.replying.conversation_replies import ConversationReply
from stages.lib.statistics.drawing import drawn


def marks(record: Record, system: str, seed: int) -> tuple[str, str]:
    """Which letter the base and the system have in evaluation_for_marking.csv, by hash, so that a reader is blind."""
    swapped = drawn(f"marking {seed} {system} {record['id']}", ["0", "1"])[0] == "1"
    return ("B", "A") if swapped else ("A", "B")


def evaluation_rows(
    records: Sequence[Record],
    replies: Mapping[str, Sequence[ConversationReply]],
    scores: Mapping[str, Sequence[Record]],
    verdicts: Mapping[str, Sequence[Preference]],
    seed: int,
) -> tuple[list[Record], list[Record]]:
    """The rows of evaluation.csv, and of evaluation_for_marking.csv: a question and system, blind, no winner yet."""
    rows, marking = [], []
    for i, record in enumerate(records):
        row = {name: record[name] for name in ("id", "kind", "question")} | {"reference": record["answer"]}
        row |= {system: found[i].text for system, found in replies.items()}
        for system, found in scores.items():
            row |= {f"{system}_{name}": value for name, value in found[i].items()}
        for system, judged in verdicts.items():
            letters = marks(record, system, seed)
            row |= {f"{system}_against_base": judged[i].outcome, f"{system}_judge_says": judged[i].why}
            row[f"{system}_marked_as"] = letters[1]
            texts = dict(zip(letters, (replies["base"][i].text, replies[system][i].text), strict=True))
            asked = {name: record[name] for name in ("id", "kind", "context", "question")}
            shown = {"reference": record["answer"], "answer_a": texts["A"], "answer_b": texts["B"]}
            marking.append(asked | shown | {"system": system, "winner": ""})
        rows.append(row | {"context": record["context"]})
    return rows, marking
