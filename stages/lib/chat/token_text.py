"""The text of a reply token by token: whole characters, and of the special tokens the marks of thinking alone."""

from typing import Any

from stages.lib.conversations.replies import decode_after
from stages.lib.replies.thinking import marks_in

WINDOW = 32  # tokens that are decoded anew with each further one
UNFINISHED = "\ufffd"  # what an incomplete character is decoded to


class TokenText:
    """Decodes a reply as it is written; what it gave, joined, is the reply."""

    def __init__(self, tokenizer: Any, prompt: list[int], template: str) -> None:
        """`prompt`: its token ids; `template`: the chat template, which names the marks that are kept."""
        self._tokenizer, self._before = tokenizer, prompt[-4:]
        known = tokenizer.get_vocab()
        self._marks = {known[mark]: mark for mark in marks_in(template) if mark in known}
        self._run: list[int] = []  # tokens since the last mark or cut
        self._told = ""  # of the run

    def add(self, token: int) -> str:
        """The text that a token adds, empty while a character is incomplete."""
        if token in self._marks:
            text = self.rest() + self._marks[token]
            self._before, self._run, self._told = [*self._before, *self._run, token][-4:], [], ""
            return text
        self._run.append(token)
        text = decode_after(self._tokenizer, self._before, self._run)
        if text.endswith(UNFINISHED):
            return ""
        new, self._told = text[len(self._told) :], text
        if len(self._run) >= WINDOW:
            self._before, self._run, self._told = self._run[-4:], [], ""
        return new

    def rest(self) -> str:
        """What was kept back, at the end of a reply."""
        text = decode_after(self._tokenizer, self._before, self._run)
        new, self._told = text[len(self._told) :], text
        return new
