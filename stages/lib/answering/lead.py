"""What stands first in an answer: the verbatim quotes, or the model's words where they were measured to hold."""

from pathlib import Path
from typing import Literal, NamedTuple

from stages.lib.answering.chat_settings import ChatSettings
from stages.lib.core.metrics import read_results


class ChosenLead(NamedTuple):
    """What leads, and why."""

    lead: Literal["quotes", "model"]
    why: str


def chosen_lead(settings: ChatSettings, project: Path = Path()) -> ChosenLead:
    """`chat.lead`; `auto`: the model where stage rag measured `chat.min_f1` of the released one, else the quotes.

    What was measured is the released GGUF; of another model it tells nothing.

    Args:
        settings: section `chat`.
        project: where metrics/ lies.
    """
    if settings.lead != "auto":
        return ChosenLead(settings.lead, f"chat.lead is {settings.lead}")
    try:
        results = read_results("rag", project)
        row = results["systems"]["tuned"]["token_f1"]
        found = float(row["value"])
    except (ValueError, KeyError, TypeError):
        return ChosenLead("quotes", "how well the model answers is not measured yet (`dvc repro rag`)")
    said = f"token F1 {found:.2f} on {results['asked'].get('answerable', 0)} held-out questions"
    if found >= settings.min_f1:
        return ChosenLead("model", f"the released model has {said}, at least chat.min_f1 {settings.min_f1}")
    return ChosenLead("quotes", f"the released model has {said}, below chat.min_f1 {settings.min_f1}")
