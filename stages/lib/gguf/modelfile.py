"""A Modelfile for Ollama: FROM, the chat template in Go's language, and where to stop.

Ollama cannot run Jinja. Most chat templates, though, are a sequence of turns, each a prefix, the content and a
suffix. These are read off the Jinja template with probe words, and what they make is compared with the template's
own text on several conversations; a template that is more than that is refused plainly.
"""

from dataclasses import dataclass
from typing import Any

from jinja2 import TemplateError

from stages.lib.core.records import Message
from stages.lib.gguf.vocabulary import template_text
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

    def render(self, messages: list[Message]) -> str:
        """What the Go template makes of a conversation that ends with the user."""
        parts = [] if messages[0]["role"] == "system" else [self.beginning]
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
        for i, (role, (prefix, suffix)) in enumerate(branches):
            text += f'{{{{ {"else " if i else ""}if eq .Role "{role}" }}}}{prefix}{{{{ .Content }}}}{suffix}'
        return text + "{{ end }}{{ end }}" + self.generation


def read_turns(tokenizer: Any) -> Turns:
    """The turns of a chat template.

    Raises:
        ValueError: it is not a plain sequence of turns.
    """

    def render(messages: list[Message], generate: bool = True) -> str:
        return str(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=generate))

    first, reply, second = (
        {"role": r, "content": c} for r, c in (("user", FIRST), ("assistant", REPLY), ("user", SECOND))
    )
    system = {"role": "system", "content": SYSTEM}
    try:
        whole = render([first, reply, second])
        user_suffix = render([first], generate=False).partition(FIRST)[2]
        before, _, rest = whole.partition(FIRST)
        after_user, _, rest = rest.partition(REPLY)
        after_reply, _, last = rest.partition(SECOND)
        reply_suffix = render([first, reply], generate=False).partition(REPLY)[2]
        user_prefix = after_reply.removeprefix(reply_suffix)
        turns = Turns(
            beginning=before.removesuffix(user_prefix),
            system=None,
            user=(user_prefix, user_suffix),
            assistant=(after_user.removeprefix(user_suffix), reply_suffix),
            generation=last.removeprefix(user_suffix),
        )
        try:
            start, _, end = render([system, first]).partition(SYSTEM)
            end = end.partition(FIRST)[0]
            if start and end.endswith(user_prefix) and SYSTEM not in end:
                turns = Turns(turns.beginning, (start, end.removesuffix(user_prefix)), *_rest(turns))
        except TemplateError:
            pass  # the template takes no system turn
        shapes = [[first], [first, reply, second], [first, reply, second, reply, first]]
        if turns.system:
            shapes += [[system, *shape] for shape in shapes]
        for shape in shapes:
            if turns.render(shape) != render(shape):
                roles = ", ".join(message["role"] for message in shape)
                raise ValueError(f"the chat template is no plain sequence of turns ({roles}): write TEMPLATE by hand")
    except TemplateError as error:
        raise ValueError(f"the chat template refuses a conversation of user and assistant: {error}") from error
    return turns


def make_modelfile(file_name: str, tokenizer: Any, context: int, end_of_turn: int | None, add_bos: bool) -> str:
    """The Modelfile; where the template is refused, it says why and leaves it to Ollama's reading of the GGUF."""
    lines = [f"FROM ./{file_name}", f"PARAMETER num_ctx {min(context, MAX_CONTEXT)}"]
    if not template_text(tokenizer):
        return "\n".join([*lines, 'TEMPLATE """{{ .Prompt }}"""']) + "\n"
    try:
        template = read_turns(tokenizer).go_template()
        if '"""' in template:
            raise ValueError('the chat template holds """, which ends a Modelfile\'s text')
        if add_bos:  # Ollama puts it there itself
            template = template.replace(tokenizer.bos_token, "")
        lines.append(f'TEMPLATE """{template}"""')
    except ValueError as error:
        lines.append(f"# No TEMPLATE: {error}")
    stops = end_tokens(tokenizer, None, end_of_turn)
    return "\n".join([*lines, *(f'PARAMETER stop "{tokenizer.decode([stop])}"' for stop in sorted(stops))]) + "\n"


def _rest(turns: Turns) -> tuple[tuple[str, str], tuple[str, str], str]:
    return turns.user, turns.assistant, turns.generation
