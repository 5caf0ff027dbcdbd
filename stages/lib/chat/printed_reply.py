"""A reply on a terminal: what the model thinks dim and apart, then its answer."""

from typing import TextIO

from stages.lib.chat.events import Event, Finished, Piece, PromptProgress, Queued, Recalled, Thought

DIM, NORMAL = "\033[2m", "\033[0m"
# A model's words must not steer the terminal: of the control characters the line break and the tab are left.
_CONTROLS = dict.fromkeys([*range(9), *range(11, 32), *range(127, 160)])


class PrintedReply:
    """Prints a reply's events as they come."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._thinks = self._cut = False
        self._thought = ""
        self.reply = ""  # without what was thought

    def take(self, event: Event) -> None:
        """Prints an event."""
        match event:
            case Thought(text):
                if not self._thinks:
                    self._thinks = True
                    self._print(f"{self._style(DIM)}(thinking)\n")
                self._thought += text
                self._print(text.translate(_CONTROLS))
            case Piece(text):
                if self._thinks:
                    self._end_thought()
                    text = text if self.reply else text.lstrip()
                self.reply += text
                self._print(text.translate(_CONTROLS))
            case Recalled():
                self._thought, self.reply = self._thought + self.reply, ""
                self._print(f"\n{self._style(DIM)}(so far it was thinking)")
                self._end_thought()
            case Finished(reason=reason):
                self._cut = reason == "length"
            case Queued() | PromptProgress():
                pass

    def end(self) -> None:
        """Says what is to be said of a reply that ended by itself."""
        if self._thinks:
            self._end_thought()
        if self._cut and not self.reply and self._thought:
            self.note("cut off while it was still thinking: --max-new-tokens allows more")
        elif self._cut:
            self.note("cut off: --max-new-tokens allows more")
        elif not self.reply:
            self.note("it thought, and gave no answer" if self._thought else "no answer")

    def note(self, text: str) -> None:
        """A remark that is not the model's."""
        blank = "\n" if self._thinks else " " if self.reply else ""
        self._print(f"{self._style(NORMAL)}{blank}({text})")
        self._thinks = False

    def _end_thought(self) -> None:
        self._thinks = False
        self._print(f"{self._style(NORMAL)}\n\n")

    def _style(self, code: str) -> str:
        return code if self._out.isatty() else ""

    def _print(self, text: str) -> None:
        print(text, end="", file=self._out, flush=True)
