"""Whether false premises give themselves away by their questions, on PubMedQA, QASA and XQuAD's paragraphs.

Run: LLMILL_REAL_DATA=DIR python -m bench.give_away [--share 0.15] [--show 10]

The rules of the stage instruct make false and true premises of each text; a classifier that sees the
questions alone tells them apart as well as it can (lib/chats/give_away.py). No model is asked.
"""

import argparse
import os
from collections import Counter
from pathlib import Path

from stages.lib.chats.collect_items import qasa_items
from stages.lib.chats.edge_cases import offers_by_rules
from stages.lib.chats.give_away import give_away, warnings
from stages.lib.chats.premise_pairs import pair_premises
from stages.lib.chats.qa_items import QAItem
from stages.lib.chats.qasa import read_qasa
from stages.lib.chats.record_files import read_records
from stages.lib.core.params import load_prompts
from stages.lib.core.records import read_jsonl
from stages.lib.reading.documents import Drop

QASA_FILES = {"PubMedQA": "pubmedqa/DERIVED*.json", "QASA": "qasa/*.json"}
PARAGRAPHS = "xquad_en_beir/corpus.jsonl"


def read_items(data: Path) -> dict[str, list[QAItem]]:
    """The questions on passages of each set; of XQuAD the paragraphs alone."""
    found = {}
    for name, pattern in QASA_FILES.items():
        questions = read_qasa(list(read_records([str(data / pattern)])))
        items = qasa_items([question for question in questions if not isinstance(question, Drop)])
        found[name] = [item for item in items if isinstance(item, QAItem)]
    found["XQuAD"] = [
        QAItem(
            id=line["_id"], kind="rated", source=line["_id"], context=line["text"], question="", answer="", made_by=""
        )
        for line in read_jsonl(data / PARAGRAPHS, required=["_id", "text"])
    ]
    return found


def main(data: Path, share: float, show: int) -> str:
    """A row a set, and some of the questions."""
    prompts = load_prompts(["correction_answers", "confirmation_answers"])
    lines = [
        "| set | questions | false | true | AUC of the questions alone | accuracy (of the commoner kind) |",
        "|---|---|---|---|---|---|",
    ]
    shown, told = [], []
    for name, items in read_items(data).items():
        false, true = offers_by_rules(items, prompts)
        wanted = round(len(items) / (1 - 0.2 - 2 * share) * share)
        taken = [[o for o in side if isinstance(o, QAItem)] for side in pair_premises(false, true, wanted, wanted)]
        measured = give_away(*taken)
        auc = (
            "-"
            if measured["auc"] is None
            else f"{measured['auc']:.3f} ({measured['low']:.3f} to {measured['high']:.3f})"
        )
        right = "-" if measured["auc"] is None else f"{measured['accuracy']:.3f} ({measured['majority']:.3f})"
        lines.append(f"| {name} | {len(items)} | {len(taken[0])} | {len(taken[1])} | {auc} | {right} |")
        kinds = Counter(one.change.type for one in taken[0] if one.change)
        told += [f"{name}: {dict(sorted(kinds.items()))}", *warnings(measured)]
        for one in taken[0][:show]:
            shown.append(f"{one.change.true} -> {one.change.false}: {one.question}" if one.change else "")
    return "\n".join([*lines, *told, *shown])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--share", type=float, default=0.15, help="of each of the two kinds")
    parser.add_argument("--show", type=int, default=10, help="false premises of each set that are shown")
    arguments = parser.parse_args()
    if "LLMILL_REAL_DATA" not in os.environ:
        parser.error("set LLMILL_REAL_DATA to the folder that holds pubmedqa and qasa")
    print(main(Path(os.environ["LLMILL_REAL_DATA"]), arguments.share, arguments.show))
