"""One question asked on the page: answered, shown as it comes, and kept when it is done."""

import logging
import threading
import time
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, field

from app.answer_json import answer_json
from app.assistant import Answer, Assistant
from app.conversations import Conversation
from app.models import leading
from app.open_models import OpenModels
from app.people import Person
from app.settings import wording
from stages.lib.core.records import Record

LOG = logging.getLogger(__name__)
REDRAW_SECONDS = 0.1  # at most ten times a second, however fast the model writes


@dataclass
class Live:
    """The turn that is being answered."""

    turn: Record
    progress: str
    stop: threading.Event = field(default_factory=threading.Event)


class Answers:
    """Answers that are being written, by conversation."""

    def __init__(self, models: OpenModels) -> None:
        self._models = models
        self.live: dict[tuple[str, str], Live] = {}

    def ask(
        self, person: Person, conversation: Conversation, question: str, *, left_out: Sequence[str], model: str
    ) -> Generator[Live, None, None]:
        """Yields what is known so far, first at once; the turn is kept at the end, also when it was stopped."""
        place = (person.key, conversation.id)
        answer = Answer(question)
        live = self.live[place] = Live(_turn(answer, model), "searching")
        try:
            yield live
            try:
                with closing(
                    self._events(person, conversation, answer, left_out=left_out, model=model, stop=live.stop)
                ) as events:
                    drawn = 0.0
                    for answer in events:
                        live.turn, live.progress = _turn(answer, model), answer.progress
                        if time.monotonic() - drawn >= REDRAW_SECONDS or not answer.progress:
                            drawn = time.monotonic()
                            yield live
            except (ValueError, OSError) as error:  # what a person can do something about
                answer.error = str(error)
                live.turn, live.progress = _turn(answer, model), ""
            except Exception as error:  # the page must not be left waiting
                LOG.exception("a question broke")
                answer.error = f"this broke inside the program ({type(error).__name__}); its log says more"
                live.turn, live.progress = _turn(answer, model), ""
        finally:
            live.turn["stopped"] = live.turn["stopped"] or live.stop.is_set() or bool(live.progress)
            with person.changing:
                kept = person.conversations.open(conversation.id)
                kept.turns.append(live.turn)
                person.conversations.keep(kept)
                del self.live[place]

    def _events(
        self,
        person: Person,
        conversation: Conversation,
        answer: Answer,
        *,
        left_out: Sequence[str],
        model: str,
        stop: threading.Event,
    ) -> Generator[Answer, None, None]:
        documents = person.documents
        chosen = [document.sha256 for document in documents if document.sha256 not in left_out]
        if documents and not chosen:
            raise ValueError("no document is ticked; tick at least one on the left")
        index = person.index()
        lead = leading(person.searching.settings, model)
        assistant = Assistant(
            person.searching, self._models.stream(model), wording(person.searching.settings.reasoning), lead
        )
        name = f"{person.key}:{conversation.id}"
        history = conversation.history
        found = assistant.answer(answer.question, index, history, documents=chosen, stop=stop, conversation=name)
        with closing(found) as parts:
            for part in parts:
                if part.progress == "reading" and not self._models.is_open(model):
                    part.progress = f"loading {self._models.choices[model].label}"
                yield part


def _turn(answer: Answer, model: str) -> Record:
    wrote = model if answer.text or answer.reasoning or answer.thinking else ""
    return answer_json(answer) | {"model": wrote, "stopped": answer.stopped, "rating": ""}
