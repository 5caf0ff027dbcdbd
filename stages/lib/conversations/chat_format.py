"""What a model's entry says about how its conversations are written; one of these goes with every rendering."""

import datetime
from dataclasses import dataclass
from typing import Any

from stages.lib.weights.models import ModelEntry, SystemRole

# Some templates (Llama 3, gpt-oss) print today's date: with another one each day, a model would be asked with a date
# that it was not trained with, and everything would be asked anew overnight.
TODAY = datetime.date(2026, 1, 1)
DATE_STRING = TODAY.strftime("%d %b %Y")  # as Llama's own templates write it


@dataclass(frozen=True, kw_only=True)
class ChatFormat:
    """The fields of a model's entry that decide how its conversations are written."""

    system_role: SystemRole = "auto"  # auto: fold where the template refuses a system turn or leaves it out
    thinking: bool = False  # whether the model thinks before it answers, where its template has a switch for it

    @classmethod
    def of(cls, entry: ModelEntry) -> "ChatFormat":
        """The format of an entry."""
        return cls(system_role=entry.system_role, thinking=entry.thinking)

    @property
    def facts(self) -> dict[str, Any]:
        """What decides the text beside template and turns: part of a training's key."""
        return {"system_role": self.system_role, "thinking": self.thinking, "today": TODAY.isoformat()}
