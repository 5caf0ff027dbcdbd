"""The edge cases of one side of the split: refusals, corrections, and true premises in the form of false ones."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Literal, Protocol, assert_never, get_args

from stages.lib.chats.entries import parameter_name
from stages.lib.chats.false_premises import Answering, false_premises, is_english, true_premises
from stages.lib.chats.generated_edge_cases import Settings, write_premises, write_unanswerable
from stages.lib.chats.pairing import Texts, pair_unanswerable
from stages.lib.chats.premise_pairs import Offers, pair_premises
from stages.lib.chats.qa_items import QAItem
from stages.lib.llm.protocol import LanguageModel
from stages.lib.reading.documents import Drop
from stages.lib.statistics.drawing import drawn

EdgeKind = Literal["unanswerable", "false_premise", "true_premise"]
EDGE_KINDS: tuple[EdgeKind, ...] = get_args(EdgeKind)
ASKED = 2  # replies for each edge case that is wanted of a generator; what is left over is dropped
Found = dict[EdgeKind, list[QAItem | Drop]]


class EdgeSettings(Settings, Protocol):
    """What a stage's params tell of edge cases."""

    @property
    def edge_cases(self) -> list[Literal["rules", "generator"]]:
        """Who writes them."""

    @property
    def shares(self) -> Mapping[EdgeKind, float]:
        """Of all questions on a text, by kind."""


def write_edge_cases(
    items: Sequence[QAItem],
    groups: dict[str, str],
    prompts: dict[str, str],
    model: LanguageModel | None,
    settings: EdgeSettings,
) -> Found:
    """The edge cases of one side's questions on texts, by the writers named; and what was dropped of them."""
    askable = [item for item in items if item.context and item.kind in ("selected", "abstract", "qasa", "rated")]
    wanted = wanted_counts(items, settings.shares)
    unanswerable: list[QAItem | Drop] = []
    false: dict[str, Offers] = {}
    true: dict[str, Offers] = {}
    named = {item.id: item for item in askable}

    def some(kind: EdgeKind, count: int) -> list[QAItem]:
        return [named[name] for name in drawn(f"ask {kind}", named)[: ASKED * count]]

    for writer in settings.edge_cases:
        match writer:
            case "rules":
                unanswerable += pair_all(askable, groups, prompts["refusal_answers"])
                false[writer], true[writer] = offers_by_rules(askable, prompts)
            case "generator":
                assert model
                asked = some("unanswerable", wanted["unanswerable"])
                unanswerable += write_unanswerable(asked, prompts["unanswerable_question_prompt"], model, settings)
                asked = some("false_premise", max(wanted["false_premise"], wanted["true_premise"]))
                false[writer], true[writer] = write_premises(
                    asked, prompts["false_premise_prompt"], prompts["confirmation_answers"], model, settings
                )
            case _:
                assert_never(writer)
    falses = {f"{writer} {name}": offer for writer, offers in false.items() for name, offer in offers.items()}
    trues = {f"{writer} {name}": offer for writer, offers in true.items() for name, offer in offers.items()}
    told_false, told_true = pair_premises(falses, trues, wanted["false_premise"], wanted["true_premise"])
    return {
        "unanswerable": draw(unanswerable, wanted["unanswerable"]),
        "false_premise": told_false,
        "true_premise": told_true,
    }


def offers_by_rules(items: Sequence[QAItem], prompts: dict[str, str]) -> tuple[Offers, Offers]:
    """False and true premises of each item, of which pairs are taken."""
    parameters = sorted({name for item in items if (name := parameter_name(item))})
    answering = Answering(corrections=prompts["correction_answers"], confirmations=prompts["confirmation_answers"])
    false = {item.id: false_premises(item, parameters, answering) for item in items}
    return false, {item.id: true_premises(item, answering) for item in items}


def pair_all(items: Sequence[QAItem], groups: dict[str, str], refusals: str) -> list[QAItem | Drop]:
    """Each question on a text that does not answer it; the refusals' wording is English (`not_english`)."""
    texts = Texts(items, groups)
    return [
        pair_unanswerable(item, texts, groups[item.source], refusals)
        if is_english(item)
        else Drop(f"unanswerable:{item.id}", "not_english", item.question)
        for item in items
    ]


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
