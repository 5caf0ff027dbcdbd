"""The chat template that goes into a GGUF file: what llama.cpp makes of it without being told anything is what was
trained.

A server of llama.cpp passes its own date and thinking switch and knows no entry of `models:`. So what our rendering
passes to the template (stages/lib/conversations/rendering.py) is written into it: the one fixed date, the thinking
switch where it is off, the system turn at the head of the first user turn, and the final channel of harmony. The rest
of the template stays word for word.
"""

import re
from typing import Any

from stages.lib.conversations.chat_format import DATE_STRING, TODAY, ChatFormat
from stages.lib.conversations.markup import template_text
from stages.lib.conversations.rendering import folds
from stages.lib.replies.thinking import FINAL_CHANNEL

DATE_OF_TODAY = re.compile(r"""strftime_now\(\s*(?P<quote>["'])(?P<form>[^"']*)(?P=quote)\s*\)""")
# llama.cpp's own Jinja has selectattr and rejectattr with one or three arguments alone, and refuses the file (Mistral's
# templates). `defined` is what one argument asks, but for a value that is there and false.
TWO_ARGUMENTS = re.compile(r"""(select|reject)attr\(\s*(["']\w+["'])\s*,\s*["'](defined|undefined)["']\s*\)""")
FOLDED = (
    "{%- set folded = namespace(said='', turns=[], leading=true) %}"
    "{%- for turn in messages %}"
    "{%- if folded.leading and turn['role'] == 'system' %}"
    "{%- if turn['content'] | trim %}{%- set folded.said = folded.said + turn['content'] + '\\n\\n' %}{%- endif %}"
    "{%- elif folded.leading and folded.said and turn['role'] == 'user' %}"
    "{%- set folded.turns = folded.turns + [{'role': 'user', 'content': folded.said + turn['content']}] %}"
    "{%- set folded.leading = false %}"
    "{%- else %}{%- set folded.turns = folded.turns + [turn] %}{%- set folded.leading = false %}{%- endif %}"
    "{%- endfor %}{%- set messages = folded.turns %}"
)


def exported_template(tokenizer: Any, fmt: ChatFormat) -> str:
    """The chat template of a tokenizer for llama.cpp, by the fields of the model's entry; empty: there is none."""
    template = template_text(tokenizer)
    if not template:
        return ""
    before = ""
    if _mentions(template, "date_string"):
        before += f'{{%- set date_string = "{DATE_STRING}" %}}'
    for switch in ("enable_thinking", "thinking"):
        if _mentions(template, switch) and not fmt.thinking:
            before += f"{{%- set {switch} = false %}}"
    if folds(tokenizer, fmt):
        before += FOLDED
    after = ""
    if "<|channel|>" in template and not fmt.thinking:
        after = f"{{%- if add_generation_prompt %}}{{{{- '{FINAL_CHANNEL}' }}}}{{%- endif %}}"
    body = DATE_OF_TODAY.sub(lambda call: f'"{TODAY.strftime(call["form"])}"', template)
    body = TWO_ARGUMENTS.sub(_one_argument, body)
    if before:
        body = _as_first_line(body)
    return before + body + after


def _mentions(template: str, name: str) -> bool:
    """Whether a template reads a variable; a key of that name in quotes or behind a dot is none."""
    return re.search(rf"(?<![\w.'\"]){name}(?![\w'\"])", template) is not None


def _one_argument(call: re.Match[str]) -> str:
    wanted = (call[1] == "select") == (call[3] == "defined")
    return f"{'select' if wanted else 'reject'}attr({call[2]})"


def _as_first_line(template: str) -> str:
    """The template so that it reads the same behind a block: a line end after one and blanks before one are dropped."""
    bare = template.lstrip(" \t")
    if bare.startswith(("{%", "{#")):
        return bare
    return "{{- '\\n' }}" + template[1:] if template.startswith("\n") else template
