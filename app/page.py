"""What happens on the page when something is done to it. Each handler looks things up by the token that came along."""

import json
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

import gradio as gr

from app.answers import Answers
from app.conversations import DOWN, UP, Conversation, rate, rated_records
from app.door import is_upload, number, told
from app.importing import import_files, open_locked
from app.layout import DOWNLOAD, SHOW_AT_ONCE, Layout
from app.open_models import OpenModels
from app.page_view import Drawings, shown_page
from app.people import People, Person, is_token, new_token
from app.settings import Searching
from app.turn_view import conversations_html, documents_html, header_html, messages_html, talk_html
from stages.lib.core.records import Record

FOLLOWS = 20  # seconds
Update = dict[Any, Any]  # component -> what it shows from now on


class Page:
    """The page over some models."""

    def __init__(self, searching: Searching, models: OpenModels, libraries: Path, uploads: Path) -> None:
        """`libraries`: where people's documents and conversations lie; `uploads`: where Gradio puts their files."""
        self._searching, self._models, self._uploads = searching, models, uploads
        self._people, self._answers, self._drawings = People(libraries, searching), Answers(models), Drawings()
        self._sessions: dict[str, tuple[str, str]] = {}  # session -> (person, conversation) that it waits for
        with gr.Blocks(title="Chat with your papers", analytics_enabled=False, fill_width=True) as self.blocks:
            named = [(choice.label, name) for name, choice in models.choices.items()]
            self._on = Layout(self._header(models.default.name), named, searching.settings.max_file_mb)
            self._connect()

    def _connect(self) -> None:
        on = self._on
        quiet: dict[str, Any] = {"show_progress": "hidden", "concurrency_limit": None, "api_visibility": "private"}
        slow = quiet | {"concurrency_limit": 8}
        who = [on.token, on.conversation]
        talk = [on.talk, on.conversations, on.conversation, on.question, on.replacing]
        imported = [on.said, on.documents, on.locked, on.password]
        asked, answering = [*who, on.left_out, on.model], [*talk, on.ask, on.stop, on.retry, on.edit]
        opened = self.blocks.load(self._open_page, [on.token], [on.token, on.documents, *talk], **quiet)
        self.blocks.unload(self._leave)
        on.files.act(self._import, [on.token, on.left_out], imported, trigger_mode="multiple", **slow)
        unlocked = [on.unlock.click, on.password.submit]
        gr.on(unlocked, self._unlock, [on.token, on.left_out, on.password], imported, **slow)
        listed = [on.documents, on.left_out, on.page, on.said]
        on.documents.act(self._document_act, [on.token, on.left_out], listed, **quiet)
        on.talk.act(self._talk_act, who, [on.talk, on.page], **quiet)
        on.page.act(self._page_act, [on.token], [on.page], **quiet)
        on.conversations.act(self._conversation_act, who, talk, cancels=[opened], **quiet)
        on.new.click(self._begin, [on.token], talk, cancels=[opened], **quiet)
        on.edit.click(self._edit, who, [on.question, on.replacing], **quiet)
        exporting = on.export.click(self._export, [on.token], [on.exported], **quiet)
        exporting.then(None, [on.exported], None, js=DOWNLOAD, api_visibility="private")
        on.model.change(self._header, [on.model], [on.header], **quiet)
        given = [*asked, on.question, on.replacing]
        gr.on([on.question.submit, on.ask.click], self._ask, given, answering, js=SHOW_AT_ONCE, **slow)
        on.retry.click(self._retry, asked, answering, **slow)
        on.stop.click(self._stop, None, None, **quiet)

    # Opening and leaving

    def _header(self, model: str) -> str:
        return header_html(self._searching.choice, self._models.choices[model])

    def _open_page(self, token: Any) -> Generator[Update, None, None]:
        token = token if is_token(token) else new_token()
        person = self._people.get(token)
        kept = person.conversations.all()
        live = [conversation for key, conversation in list(self._answers.live) if key == person.key]
        found = [*map(person.conversations.open, live), *kept]
        conversation = found[0] if found else person.conversations.new()
        documents = documents_html(person.documents, [])
        yield {self._on.token: token, self._on.documents: documents} | self._shown(person, conversation)
        # After a reload the answer that was being written is stopped, as the page that asked is gone: its end is shown.
        end = time.monotonic() + FOLLOWS
        while (person.key, conversation.id) in self._answers.live and time.monotonic() < end:
            time.sleep(0.2)
            yield self._shown(person, person.conversations.open(conversation.id))

    def _leave(self, request: gr.Request) -> None:
        self._stop(request)

    # Documents

    def _import(self, token: Any, left_out: list[str], event: gr.EventData) -> Generator[Update, None, None]:
        person, data = self._people.get(token), told(event._data)
        files = [
            (Path(file["path"]), str(file.get("name")))
            for file in data.get("files", [])
            if is_upload(file.get("path"), self._uploads)  # as the door has seen to
        ]
        for _ in import_files(person, files, data.get("refused", [])):
            yield {self._on.said: messages_html(person.said)}
        yield self._after_import(person, left_out)

    def _unlock(self, token: Any, left_out: list[str], password: str) -> Generator[Update, None, None]:
        person = self._people.get(token)
        for _ in open_locked(person, password):
            yield {self._on.said: messages_html(person.said)}
        yield self._after_import(person, left_out)

    def _after_import(self, person: Person, left_out: list[str]) -> Update:
        locked = gr.update(visible=bool(person.locked))
        documents = documents_html(person.documents, left_out)
        said = messages_html(person.said)
        return {self._on.said: said, self._on.documents: documents, self._on.locked: locked, self._on.password: ""}

    def _document_act(self, token: Any, left_out: list[str], event: gr.EventData) -> Update:
        person, data = self._people.get(token), told(event._data)
        sha256 = str(data.get("sha"))
        try:
            document = person.document(sha256)
        except KeyError:  # removed in another window
            return {self._on.documents: documents_html(person.documents, left_out)}
        match data.get("act"):
            case "filter":
                left_out = [other for other in left_out if other != sha256] + [sha256] * (not data.get("checked"))
                return {self._on.left_out: left_out}
            case "remove":
                person.remove(sha256)
                said = messages_html([[("good", f"{document.name} is removed")]])
                return {self._on.documents: documents_html(person.documents, left_out), self._on.said: said}
            case "show":
                return {self._on.page: shown_page(person, sha256, 1, None, self._drawings)}
        return {}

    # Conversation

    def _shown(self, person: Person, conversation: Conversation) -> Update:
        return {
            self._on.talk: self._talk(person, conversation),
            self._on.conversations: conversations_html(person.conversations.all(), conversation.id),
            self._on.conversation: conversation.id,
        }

    def _talk(self, person: Person, conversation: Conversation) -> str:
        live = self._answers.live.get((person.key, conversation.id))
        return talk_html(conversation.turns, live.turn if live else None, live.progress if live else "")

    def _turns(self, person: Person, conversation: Conversation) -> list[Record]:
        live = self._answers.live.get((person.key, conversation.id))
        return [*conversation.turns, live.turn] if live else conversation.turns

    def _talk_act(self, token: Any, name: str, event: gr.EventData) -> Update:
        person, data = self._people.get(token), told(event._data)
        conversation = person.conversations.open(name)
        turns = self._turns(person, conversation)
        place = number(data.get("turn"))
        if not 0 <= place < len(turns):
            return {}
        match data.get("act"):
            case "cite":
                quotes = turns[place]["citations"] or turns[place]["nearest"]
                chosen = number(data.get("quote"))
                if 0 <= chosen < len(quotes):
                    quote = quotes[chosen]
                    shown = shown_page(person, quote["sha256"], quote["page"], quote, self._drawings)
                    return {self._on.page: shown}
            case "rate" if data.get("rating") in (UP, DOWN) and place < len(conversation.turns):
                with person.changing:
                    conversation = person.conversations.open(name)
                    rate(conversation.turns[place], data["rating"])
                    person.conversations.keep(conversation)
                return {self._on.talk: self._talk(person, conversation)}
        return {}

    def _page_act(self, token: Any, event: gr.EventData) -> str:
        person, data = self._people.get(token), told(event._data)
        return shown_page(person, str(data.get("sha")), number(data.get("page")), None, self._drawings)

    def _conversation_act(self, token: Any, name: str, event: gr.EventData) -> Update:
        person, data = self._people.get(token), told(event._data)
        chosen = str(data.get("conversation"))
        try:
            if data.get("act") == "forget":
                person.conversations.remove(chosen)
                if chosen == name:
                    return self._begin(token)
                return self._shown(person, person.conversations.open(name))
            return self._shown(person, person.conversations.get(chosen)) | {self._on.replacing: False}
        except KeyError:  # removed in another window
            return self._shown(person, person.conversations.open(name))

    def _begin(self, token: Any) -> Update:
        person = self._people.get(token)
        return self._shown(person, person.conversations.new()) | {self._on.question: "", self._on.replacing: False}

    def _edit(self, token: Any, name: str) -> Update:
        turns = self._people.get(token).conversations.open(name).turns
        return {self._on.question: turns[-1]["question"], self._on.replacing: True} if turns else {}

    def _export(self, token: Any) -> str:
        records = rated_records(self._people.get(token).conversations.all())
        if not records:
            gr.Info("No answer is rated yet: rate with the thumbs below an answer first.")
        return "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)

    # Asking

    def _ask(  # noqa: PLR0917  # Gradio hands them over by place
        self,
        token: Any,
        name: str,
        left_out: list[str],
        model: str,
        question: str,
        replacing: bool,
        request: gr.Request,
    ) -> Generator[Update, None, None]:
        person = self._people.get(token)
        conversation = person.conversations.open(name)
        if not question.strip():
            yield {}
            return
        place = (person.key, conversation.id)
        if place in self._answers.live:
            gr.Info("An answer is being written in this conversation, perhaps in another window; stop it first.")
            yield {self._on.talk: self._talk(person, conversation)}
            return
        if replacing and conversation.turns:
            conversation.turns.pop()
            person.conversations.keep(conversation)
        on, session = self._on, str(request.session_hash)
        self._sessions[session] = place
        busy = {on.ask: gr.update(interactive=False), on.stop: gr.update(interactive=True)}
        busy |= {on.retry: gr.update(interactive=False), on.edit: gr.update(interactive=False)}
        first: Update = {on.question: "", on.replacing: False} | busy
        try:
            for live in self._answers.ask(person, conversation, question.strip(), left_out=left_out, model=model):
                yield {on.talk: talk_html(conversation.turns, live.turn, live.progress)} | first
                first = {}
        finally:
            self._sessions.pop(session, None)
        free = {component: gr.update(interactive=component is not on.stop) for component in busy}
        yield self._shown(person, person.conversations.open(conversation.id)) | free

    def _retry(
        self, token: Any, name: str, left_out: list[str], model: str, request: gr.Request
    ) -> Generator[Update, None, None]:
        turns = self._people.get(token).conversations.open(name).turns
        question = turns[-1]["question"] if turns else ""
        yield from self._ask(token, name, left_out, model, question, True, request)

    def _stop(self, request: gr.Request) -> None:
        live = self._answers.live.get(self._sessions.get(str(request.session_hash), ("", "")))
        if live:
            live.stop.set()
