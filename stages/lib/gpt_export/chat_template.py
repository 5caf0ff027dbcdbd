"""The chat template of a finetuned model: what it makes of a question and its answer are the ids that were trained.

The template of instructions (tokens/instruction_template.py) has room for one question. So it takes a system turn,
which goes to the head of the question as in finetune's data (instructions/examples.py), one user turn and at most one
assistant turn; anything else it refuses with a sentence that says so. Contents lose the white space around them, as
finetune's examples do.
"""

import json

_REFUSAL = (
    "this model was finetuned on one question and its answer: give one user turn, perhaps a system turn before it and "
    "the assistant turn after it; earlier turns have no place in its template"
)
_TEMPLATE = """\
{%- set said = namespace(prompt='', asked=false, answered=false) -%}
{%- for message in messages -%}
{%- if message['role'] == 'system' and not said.asked -%}
{%- set part = message['content'] | trim -%}
{%- if part -%}{%- set said.prompt = said.prompt + part + '\\n\\n' -%}{%- endif -%}
{%- elif message['role'] == 'user' and not said.asked -%}
{%- set said.asked = true -%}
{{- (said.prompt + message['content'] | trim) | trim -}}
{%- elif message['role'] == 'assistant' and said.asked and not said.answered -%}
{%- set said.answered = true -%}
{{- SEP -}}{{- message['content'] | trim -}}{{- EOT -}}
{%- else -%}
{{- raise_exception(REFUSAL) -}}
{%- endif -%}
{%- endfor -%}
{%- if not said.asked or (add_generation_prompt and said.answered) -%}{{- raise_exception(REFUSAL) -}}{%- endif -%}
{%- if add_generation_prompt -%}{{- SEP -}}{%- endif -%}
"""


def chat_template(sep: str, eot: str) -> str:
    """The Jinja template, in which `sep` and `eot` are the texts of those tokens."""
    made = _TEMPLATE.replace("REFUSAL", json.dumps(_REFUSAL))
    return made.replace("SEP", json.dumps(sep)).replace("EOT", json.dumps(eot))
