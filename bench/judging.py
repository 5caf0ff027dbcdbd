"""How well measures of groundedness tell right answers from wrong ones: on people's questions and on our own.

Run: python -m bench.judging [--data ../shared/data] [--per-passage 3] [--weights] [--model NAME --cases 60]

Each set is split in two halves by document. The weights of the measure were chosen on the first half (`--weights`
looks for them again: the best mean AUC over the first halves, that of answers in own words left out), the second was
looked at for the tables alone. A table's row is a set, a half and a kind of wrong answer (judged_items.py): AUC with
its 95% bootstrap interval of the measure and of its parts. Then what the threshold `select.groundedness` drops: scores
are calibrated on the first half's wrong answers (1 + 4 * the share below), those below 4 go. `--model` adds the
likelihoods that a language model gives: the share of the answer's surprise that the chunk takes away (the judge's
measure up to 2026-11), and log p of the answer, on `--cases` cases of each set; minutes on two cores, once (the ledger
keeps them).

Our own questions are those of the workspace (data/qa; `dvc repro qa`), skipped where there are none.
"""

import argparse
import itertools
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from bench.judged_items import KINDS, OWN_WORDS, Case, halves, human_cases, own_cases, paper_cases
from stages.lib.core.params import fill, load_prompts
from stages.lib.core.params import load as load_params
from stages.lib.judging.grounding import FORM, HELD, NEAR, grounding
from stages.lib.judging.likelihood import NEUTRAL_QUESTION, calibrated
from stages.lib.judging.validity import JudgedItem, auc_report
from stages.lib.llm.asking import open_model
from stages.lib.llm.protocol import Prompt, ScoreRequest
from stages.lib.weights.models import load_model_entry
from stages.select import Params as SelectParams

SEED = 0
CHUNKS = Path("data/chunks/chunks_dedu.jsonl")
PARTS = ("held", "place", "near", "form")
GRID = ((2.0, 3.0, 5.0, 8.0), (1.0,), (0.5, 1.0, 1.5, 2.0, 3.0), (0.0, 0.1, 0.2, 0.3, 0.5))  # weights of PARTS
GIVEN = "Documentation: {context}\n\nQuestion: {question}\nAnswer:"
Measure = Callable[[JudgedItem], float]
Pairs = tuple[np.ndarray, np.ndarray]  # (n, 4) parts of right items, (n, 4) of the wrong ones


def load_sets(data: Path, per_passage: int) -> dict[str, list[Case]]:
    """All sets by name."""
    sets = human_cases(data / "xquad_en_beir", per_passage, SEED)
    sets |= paper_cases(data / "pubmedqa/DERIVED_pubmedqa_in_qasa_schema_500.json", SEED)
    for file in sorted(Path("data/qa").glob("*_qa.jsonl")):
        sets[f"ours, {file.stem.removesuffix('_qa')}"] = own_cases(file, CHUNKS, SEED)
    return sets


def parts_of(sets: Mapping[str, Sequence[Case]]) -> dict[tuple[str, int, str], Pairs]:
    """The parts of the measure by set, half (0, 1) and kind."""
    found = {}
    for name, cases in sets.items():
        for number, half in enumerate(halves(cases, SEED)):
            for kind in KINDS:
                both = [(_parts(case.item), _parts(case.wrong[kind])) for case in half if kind in case.wrong]
                if both:
                    found[name, number, kind] = (np.array([a for a, _ in both]), np.array([b for _, b in both]))
    return found


def _parts(item: JudgedItem) -> tuple[float, ...]:
    found = grounding(item)
    return tuple(getattr(found, part) for part in PARTS)


def table(pairs: Mapping[tuple[str, int, str], Pairs]) -> list[str]:
    """One row a set, half and kind."""
    weights = np.array([HELD, 1.0, NEAR, FORM])
    lines = [
        "| questions | half | wrong answer | n | AUC | held | place | near | form |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for (name, half, kind), (true, wrong) in pairs.items():
        columns = [_auc(true @ weights, wrong @ weights)]
        columns += [_auc(true[:, i], wrong[:, i]).split(" ")[0] for i in range(len(PARTS))]
        lines.append(f"| {name} | {half + 1} | {kind} | {len(true)} | {' | '.join(columns)} |")
    return lines


def dropped(pairs: Mapping[tuple[str, int, str], Pairs], threshold: float) -> list[str]:
    """What the threshold keeps and drops on the second half, calibrated by the wrong items of the first."""
    weights = np.array([HELD, 1.0, NEAR, FORM])
    lines = ["| questions | wrong answer | n | right kept | wrong dropped |", "|---|---|---|---|---|"]
    for name, half, kind in pairs:
        if half == 0 or (name, 0, kind) not in pairs:
            continue
        null = np.concatenate([pairs[key][1] @ weights for key in pairs if key[:2] == (name, 0)]).tolist()
        true, wrong = (
            np.array(calibrated((side @ weights).tolist(), null), dtype=np.float64) for side in pairs[name, 1, kind]
        )
        kept, gone = np.mean(true >= threshold), np.mean(wrong < threshold)
        lines.append(f"| {name} | {kind} | {len(true)} | {kept:.2f} | {gone:.2f} |")
    return lines


def best_weights(pairs: Mapping[tuple[str, int, str], Pairs]) -> tuple[float, tuple[float, ...]]:
    """The greatest mean AUC over the first halves of all sets but the one in own words, and its weights."""
    first = [both for (name, half, _), both in pairs.items() if half == 0 and name != OWN_WORDS]

    def mean(weights: tuple[float, ...]) -> float:
        return float(np.mean([_area(true @ np.array(weights), wrong @ np.array(weights)) for true, wrong in first]))

    return max((mean(weights), weights) for weights in itertools.product(*GRID))


def likelihoods(sets: Mapping[str, Sequence[Case]], model_name: str, count: int) -> list[str]:
    """The same table for what a language model says of `count` cases of each set."""
    alone = load_prompts(["answer_without_context_prompt"], domain="")["answer_without_context_prompt"]

    def asked(item: JudgedItem) -> tuple[ScoreRequest, ScoreRequest]:
        texts = (
            fill(GIVEN, context=item.context, question=item.question),
            fill(alone, question=NEUTRAL_QUESTION),
        )
        one, other = (ScoreRequest(prompt=Prompt(text=t, chat=False), choices=(f" {item.answer}",)) for t in texts)
        return one, other

    shown = {name: cases[:: max(1, len(cases) // count)] for name, cases in sets.items()}
    items = [item for cases in shown.values() for case in cases for item in (case.item, *case.wrong.values())]
    requests = list(dict.fromkeys(request for item in items for request in asked(item)))
    with open_model(load_model_entry(model_name)) as model:
        scores = dict(zip(requests, model.score(requests, progress="likelihood"), strict=True))

    def rate(request: ScoreRequest) -> float:
        value = scores[request].per_token
        if value is None:
            raise ValueError(f"{model_name}: {scores[request].error}")
        return value

    measures: dict[str, Measure] = {
        "1 - given/without": lambda item: 1 - rate(asked(item)[0]) / rate(asked(item)[1]),
        "log p a token": lambda item: rate(asked(item)[0]),
        "log p": lambda item: scores[asked(item)[0]].logprobs[0],
    }
    lines = [f"| questions | wrong answer | n | {' | '.join(measures)} |", f"|---|---|---|{'---|' * len(measures)}"]
    for name, cases in shown.items():
        for kind in KINDS:
            both = [(case.item, case.wrong[kind]) for case in cases if kind in case.wrong]
            columns = [_auc([one(a) for a, _ in both], [one(b) for _, b in both]) for one in measures.values()]
            lines.append(f"| {name} | {kind} | {len(both)} | {' | '.join(columns)} |")
    return lines


def _auc(true: Sequence[float] | np.ndarray, wrong: Sequence[float] | np.ndarray) -> str:
    found = auc_report(list(true), list(wrong), SEED)
    return f"{found['auc']:.2f} [{found['low']:.2f}, {found['high']:.2f}]"


def _area(true: np.ndarray, wrong: np.ndarray) -> float:
    return float(np.mean((true[:, None] > wrong[None, :]) + 0.5 * (true[:, None] == wrong[None, :])))


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("LLMILL_REAL_DATA", "../shared/data")))
    parser.add_argument("--per-passage", type=int, default=3, help="people's questions of a passage")
    parser.add_argument("--weights", action="store_true", help="look for the best weights on the first halves")
    parser.add_argument("--model", help="a language model of params.yaml, whose likelihoods stand beside")
    parser.add_argument("--cases", type=int, default=60, help="of each set, for --model")
    args = parser.parse_args()
    sets = load_sets(args.data, args.per_passage)
    start = time.perf_counter()
    pairs = parts_of(sets)
    items = sum(2 * len(true) for true, _ in pairs.values())
    seconds = (time.perf_counter() - start) / items
    print("\n".join(table(pairs)))
    print(f"\n{1000 * seconds:.1f} ms an item ({items} items)\n")
    threshold = load_params(SelectParams, "select").groundedness
    print("\n".join(dropped(pairs, threshold)))
    if args.weights:
        area, weights = best_weights(pairs)
        print(f"\nBest of the first halves: mean AUC {area:.3f} at {dict(zip(PARTS, weights, strict=True))}")
    if args.model:
        print("\n" + "\n".join(likelihoods(sets, args.model, args.cases)))


if __name__ == "__main__":
    main()
