"""A Modelfile for Ollama: FROM, the chat template in Go's language, and where to stop.

Ollama cannot run Jinja. Most chat templates, though, are a sequence of turns, each a prefix, the content and a
suffix. These are read off the Jinja template with probe words, and what they make is compared with the template's
own text on several conversations; a template that is more than that is refused plainly.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from stages.lib.conversations.chat_format import ChatFormat
from stages.lib.conversations.rendering import folds, render
from stages.lib.conversations.turns import UnfitConversationError
from stages.lib.core.records import Message
from stages.lib.gguf.vocabulary import Vocabulary
from stages.lib.weights.base import end_tokens

SYSTEM, FIRST, REPLY, SECOND = "qsystemq", "qfirstq", "qreplyq", "qsecondq"
MAX_CONTEXT = 8192  # tokens; Ollama reserves memory for all of them


@dataclass(frozen=True)
class Turns:
    """A chat template as text around contents."""

    beginning: str  # where there is no system turn: its default, or nothing
    system: tuple[str, str] | None  # prefix and suffix; None: the template has no system turn
    user: tuple[str, str]
    assistant: tuple[str, str]
    generation: str  # after the last turn, for the reply
    folds: bool = False  # a system turn's text stands at the head of the first user turn

    def render(self, messages: list[Message]) -> str:
        """What the Go template makes of a conversation that ends with the user."""
        parts = [] if messages[0]["role"] == "system" and not self.folds else [self.beginning]
        if self.folds and messages[0]["role"] == "system":
            first = messages[1] | {"content": f"{messages[0]['content']}\n\n{messages[1]['content']}"}
            messages = [first, *messages[2:]]
        for message in messages:
            prefix, suffix = {"system": self.system or ("", ""), "user": self.user, "assistant": self.assistant}[
                message["role"]
            ]
            parts += [prefix, message["content"], suffix]
        return "".join(parts) + self.generation

    def go_template(self) -> str:
        """The same for Ollama."""
        branches = [("user", self.user), ("assistant", self.assistant)]
        if self.system:
            branches.insert(0, ("system", self.system))
        beginning = self.beginning
        if self.system and beginning:
            beginning = "{{ if not .System }}" + beginning + "{{ end }}"
        text = beginning + "{{ range .Messages }}"
        if self.folds:
            text = "{{ $system := .System }}" + text
        for i, (role, (prefix, suffix)) in enumerate(branches):
            content = "{{ .Content }}"
            if self.folds and role == "user":
                content = '{{ if $system }}{{ $system }}\n\n{{ $system = "" }}{{ end }}' + content
            text += f'{{{{ {"else " if i else ""}if eq .Role "{role}" }}}}{prefix}{content}{suffix}'
        return text + "{{ end }}{{ end }}" + self.generation


def read_turns(tokenizer: Any, fmt: ChatFormat = ChatFormat()) -> Turns:  # noqa: B008  # frozen
    """The turns of a chat template, as the model's entry has it written.

    Raises:
        ValueError: it is not a plain sequence of turns.
    """

    def write(messages: list[Message], generate: bool = True) -> str:
        return render(tokenizer, messages, fmt, generation_prompt=generate).text

    first, reply, second = (
        {"role": r, "content": c} for r, c in (("user", FIRST), ("assistant", REPLY), ("user", SECOND))
    )
    system = {"role": "system", "content": SYSTEM}
    try:
        whole = write([first, reply, second])
        user_suffix = write([first], generate=False).partition(FIRST)[2]
        before, _, rest = whole.partition(FIRST)
        after_user, _, rest = rest.partition(REPLY)
        after_reply, _, last = rest.partition(SECOND)
        reply_suffix = write([first, reply], generate=False).partition(REPLY)[2]
        user_prefix = after_reply.removeprefix(reply_suffix)
        turns = Turns(
            beginning=before.removesuffix(user_prefix),
            system=None,
            user=(user_prefix, user_suffix),
            assistant=(after_user.removeprefix(user_suffix), reply_suffix),
            generation=last.removeprefix(user_suffix),
            folds=folds(tokenizer, fmt),
        )
        if not turns.folds:
            turns = _with_system(turns, system, first, write)
        shapes = [[first], [first, reply, second], [first, reply, second, reply, first]]
        if turns.system or turns.folds:
            shapes += [[system, *shape] for shape in shapes]
        for shape in shapes:
            if turns.render(shape) != write(shape):
                roles = ", ".join(message["role"] for message in shape)
                raise ValueError(f"the chat template is no plain sequence of turns ({roles}): write TEMPLATE by hand")
    except UnfitConversationError as error:
        raise ValueError(f"the chat template refuses a conversation of user and assistant: {error}") from error
    return turns


def make_modelfile(file_name: str, tokenizer: Any, fmt: ChatFormat, context: int, vocabulary: Vocabulary) -> str:
    """The Modelfile; where the template is refused, it says why and leaves it to Ollama's reading of the GGUF."""
    lines = [f"FROM ./{file_name}", f"PARAMETER num_ctx {min(context, MAX_CONTEXT)}"]
    if not vocabulary.chat_template:
        return "\n".join([*lines, 'TEMPLATE """{{ .Prompt }}"""']) + "\n"
    if "thinking" in vocabulary.chat_template:
        switch = "thinks before it answers" if fmt.thinking else "does not think before it answers"
        lines.append(f"# The model {switch}: `thinking` of its entry in params.yaml when it was exported")
    try:
        template = read_turns(tokenizer, fmt).go_template()
        if '"""' in template:
            raise ValueError('the chat template holds """, which ends a Modelfile\'s text')
        if vocabulary.add_bos:  # Ollama puts it there itself
            template = template.replace(tokenizer.bos_token, "")
        lines.append(f'TEMPLATE """{template}"""')
    except ValueError as error:
        lines.append(f"# No TEMPLATE: {error}")
    stops = end_tokens(tokenizer, None, vocabulary.end_of_turn)
    return "\n".join([*lines, *(f'PARAMETER stop "{tokenizer.decode([stop])}"' for stop in sorted(stops))]) + "\n"


def _with_system(turns: Turns, system: Message, first: Message, write: Callable[[list[Message]], str]) -> Turns:
    """The turns with a system turn of their own, or at the head of the user's (Gemma 3), or without one."""
    try:
        text = write([system, first])
    except UnfitConversationError:
        return turns
    start, _, end = text.partition(SYSTEM)
    end = end.partition(FIRST)[0]
    if end.endswith(turns.user[0]):
        found = replace(turns, system=(start, end.removesuffix(turns.user[0])))
        if found.render([system, first]) == text:
            return found
    return replace(turns, folds=True)  # where that is wrong, too, the comparison of the shapes tells
