"""The edge cases of one side of the split: refusals, corrections, and true premises in the form of false ones."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Literal, assert_never, get_args

from stages.lib.chats.entries import parameter_name
from stages.lib.chats.false_premises import false_premise, true_premise
from stages.lib.chats.generated_edge_cases import Settings, write_false_premises, write_unanswerable
from stages.lib.chats.pairing import Texts, pair_unanswerable
from stages.lib.chats.qa_items import QAItem
from stages.lib.llm.protocol import LanguageModel
from stages.lib.reading.documents import Drop
from stages.lib.statistics.drawing import drawn

EdgeKind = Literal["unanswerable", "false_premise", "true_premise"]
EDGE_KINDS: tuple[EdgeKind, ...] = get_args(EdgeKind)
ASKED = 2  # replies for each edge case that is wanted of a generator; what is left over is dropped


def by_rules(
    items: Sequence[QAItem], groups: dict[str, str], prompts: dict[str, str]
) -> dict[EdgeKind, list[QAItem | Drop]]:
    """Candidates of each kind from the items of one side."""
    texts = Texts(items, groups)
    parameters = sorted({name for item in items if (name := parameter_name(item))})

    def written(kind: EdgeKind) -> list[QAItem | Drop]:
        match kind:
            case "unanswerable":
                return [pair_unanswerable(i, texts, groups[i.source], prompts["refusal_answers"]) for i in items]
            case "false_premise":
                return [false_premise(item, parameters, prompts["correction_answers"]) for item in items]
            case "true_premise":
                return [true_premise(item, prompts["confirmation_answers"]) for item in items]
            case _:
                assert_never(kind)

    return {kind: written(kind) for kind in EDGE_KINDS}


def by_generator(
    items: Sequence[QAItem],
    wanted: Mapping[EdgeKind, int],
    prompts: dict[str, str],
    model: LanguageModel,
    settings: Settings,
) -> dict[EdgeKind, list[QAItem | Drop]]:
    """The same from a generator, asked about twice as many items as are wanted; true premises need none."""

    named = {item.id: item for item in items}

    def written(kind: EdgeKind) -> list[QAItem | Drop]:
        some = [named[name] for name in drawn(f"ask {kind}", named)[: ASKED * wanted[kind]]]
        match kind:
            case "unanswerable":
                return write_unanswerable(some, prompts["unanswerable_question_prompt"], model, settings)
            case "false_premise":
                return write_false_premises(some, prompts["false_premise_prompt"], model, settings)
            case "true_premise":
                return []
            case _:
                assert_never(kind)

    return {kind: written(kind) for kind in EDGE_KINDS}


def wanted_counts(items: Sequence[QAItem], shares: Mapping[EdgeKind, float]) -> dict[EdgeKind, int]:
    """How many of each kind its share of one side allows.

    Shares are of the questions on a text: closed-book ones do not count. People's refusals among `items` do.
    """
    given = Counter(item.kind for item in items if item.context)
    total = (given.total() - sum(given[kind] for kind in EDGE_KINDS)) / (1 - sum(shares.values()))
    return {kind: max(0, round(total * shares[kind]) - given[kind]) for kind in EDGE_KINDS}


def draw(found: Sequence[QAItem | Drop], wanted: int) -> list[QAItem | Drop]:
    """As many of the items as are wanted, by hash of their names; the others become drops (`over_share`)."""
    names = {item.id for item in found if isinstance(item, QAItem)}
    chosen = set(drawn("share", names)[:wanted])
    return [
        item if isinstance(item, Drop) or item.id in chosen else Drop(item.id, "over_share", item.question)
        for item in found
    ]
