"""What a model's ratings are worth as a judge: the validity check of stage judge on people's questions.

Run: python -m bench.ratings --model NAME [--data ../shared/data] [--pairs 20] [--replies FILE]

NAME is a model of params.yaml that answers a prompt; it is asked by `judge_method: rating`, whatever its entry says.
The items are XQuAD's questions, one a passage, answered by the sentence that people marked, and PubMedQA's, answered by
the authors' conclusion (bench/judged_items.py). `--pairs` of each set are judged, right and made wrong in each way
(stages/lib/judging/validity.py). A row of the table is a set, a criterion and a kind of wrong item: AUC with its 95%
bootstrap interval, the share of right items with the score `select` asks for, and of wrong ones below it.
"""

import argparse
import os
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bench.judged_items import human_cases, paper_cases
from stages.judge import CRITIQUE_PROMPTS
from stages.judge import Params as JudgeParams
from stages.lib.core.params import load as load_params
from stages.lib.core.params import load_prompts, read_param
from stages.lib.core.records import write_jsonl
from stages.lib.judging.judged import judge_by_rating
from stages.lib.judging.validity import PROBES, JudgedItem, auc_report, make_probes
from stages.lib.llm.asking import open_model
from stages.lib.llm.protocol import LanguageModel, Sampling
from stages.lib.weights.models import load_model_entry
from stages.select import Params as SelectParams

SEED = 0


def drawn(items: Sequence[JudgedItem], pairs: int) -> list[JudgedItem]:
    """`pairs` of them at most, spread over the documents' order."""
    return [items[int(i)] for i in np.unique(np.linspace(0, len(items) - 1, min(pairs, len(items))).round())]


def rows(name: str, items: Sequence[JudgedItem], model: LanguageModel, replies: Path | None) -> list[str]:
    """Asks, and gives the rows of the table; `replies`: a JSONL file for what was said of the right items."""
    params = load_params(JudgeParams, "judge")
    least = load_params(SelectParams, "select")
    prompts = load_prompts(list(CRITIQUE_PROMPTS.values()), domain=read_param("domain"))
    probes = make_probes(items, len(items), SEED)
    judged = judge_by_rating(
        items,
        probes,
        model,
        prompts={criterion: prompts[prompt] for criterion, prompt in CRITIQUE_PROMPTS.items()},
        sampling=Sampling(max_tokens=params.max_new_tokens),
        expected_scores=params.expected_scores,
        name=name,
    )
    if replies:
        asked = [{"question": item.question, "answer": item.answer} for item in items]
        told = [one | two for one, two in zip(asked, judged.fields, strict=True)]
        write_jsonl(replies.with_stem(f"{replies.stem}_{name.rsplit(maxsplit=1)[-1]}"), told)
    found = []
    for criterion, kinds in PROBES.items():
        least_score = getattr(least, criterion)
        for kind in kinds:
            places = [probe.index for probe in probes if probe.kind == kind]
            true = [value for i in places if (value := judged.measures[criterion][i]) is not None]
            wrong = [value for value in judged.probe_measures[criterion, kind] if value is not None]
            if not true or not wrong:
                continue
            auc = auc_report(true, wrong, SEED)
            kept = sum(value >= least_score for value in true) / len(true)
            gone = sum(value < least_score for value in wrong) / len(wrong)
            interval = f"{auc['auc']:.2f} [{auc['low']:.2f}, {auc['high']:.2f}]"
            found.append(f"| {name} | {criterion} | {kind} | {auc['pairs']} | {interval} | {kept:.2f} | {gone:.2f} |")
    failed = sum(record["failure"] is not None for record in judged.fields)
    return [*found, f"{name}: {failed} of {len(items)} right items have a rating that failed"]


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="a model of params.yaml")
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("LLMILL_REAL_DATA", "../shared/data")))
    parser.add_argument("--pairs", type=int, default=20, help="items of each set")
    parser.add_argument("--replies", type=Path, help="a JSONL file (one for each set) for the ratings of right items")
    args = parser.parse_args()
    sets = human_cases(args.data / "xquad_en_beir", 1, SEED)
    sets |= paper_cases(args.data / "pubmedqa/DERIVED_pubmedqa_in_qasa_schema_500.json", SEED)
    start = time.monotonic()
    print("| questions | criterion | wrong | n | AUC | right kept | wrong dropped |\n|---|---|---|---|---|---|---|")
    with open_model(load_model_entry(args.model)) as model:
        for name in ("people's, sentences", "people's, own words"):
            items = drawn([case.item for case in sets[name]], args.pairs)
            print("\n".join(rows(name, items, model, args.replies)), flush=True)
        print(f"{model.asked} requests, {model.reused} from the ledger, {time.monotonic() - start:.0f} s")


if __name__ == "__main__":
    main()
