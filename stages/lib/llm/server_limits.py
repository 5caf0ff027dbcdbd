"""What a server refuses of a request's body with 400 or 422, and how the body is written for it from then on.

Each way round is a step. A step is taken when the server's message names what the step changes; where the message
names nothing, each step is tried by itself. What a server was seen to take is never doubted again: with the same
parameters, a refusal is about the prompt. Nor is a step taken where the message is about the length of the context or
a content filter. `extra_body` of the model's entry comes last and is never stepped down.
"""

import json
import re
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from stages.lib.llm.openai_client import RefusedError

Body = dict[str, Any]
A = TypeVar("A")
OWN_FAULT = re.compile(
    r"context[ _](?:length|window|size)|maximum context|model_max_length|n_ctx|too (?:long|many (?:input )?tokens)|"
    r"reduce (?:the|your) (?:length|prompt|input)|(?:prompt|input|messages?)\b.{0,60}\b(?:exceeds?|longer than|"
    r"too large)|"
    r"exceeds? .{0,40}\b(?:context|model len|available)|content[_ ](?:filter|management|policy)|moderation|"
    r"string_above_max_length|flagged|status 413|tokens?\b.{0,60}must be (?:<|less|at most)",
    re.IGNORECASE | re.DOTALL,
)
SIZES = ("minLength", "maxLength", "minItems", "maxItems", "minimum", "maximum", "pattern", "format", "multipleOf")
FEW_LOGPROBS = 5  # the most that some servers give


@dataclass(frozen=True)
class Step:
    """A way round: the words of a message that ask for it, and what it makes of a body (None: nothing to change)."""

    name: str  # as it is said to the user
    named_by: str  # regular expression
    change: Callable[[Body], Body | None]


def _without(*keys: str) -> Callable[[Body], Body | None]:
    def change(body: Body) -> Body | None:
        rest = {key: value for key, value in body.items() if key not in keys}
        return rest if len(rest) < len(body) else None

    return change


def _renamed_max_tokens(body: Body) -> Body | None:
    if "max_tokens" not in body:
        return None
    return {("max_completion_tokens" if key == "max_tokens" else key): value for key, value in body.items()}


def _temperature_1(body: Body) -> Body | None:
    return body | {"temperature": 1} if body.get("temperature", 1) != 1 else None


def _schema(body: Body) -> Any:
    return ((body.get("response_format") or {}).get("json_schema") or {}).get("schema")


def _with_schema(body: Body, schema: Any) -> Body | None:
    if schema is None or schema == _schema(body):
        return None
    named = body["response_format"]["json_schema"] | {"schema": schema}
    return body | {"response_format": body["response_format"] | {"json_schema": named}}


def _schema_without_sizes(body: Body) -> Body | None:
    return _with_schema(body, _cleaned(_schema(body), SIZES))


def _schema_without_choices(body: Body) -> Body | None:
    return _with_schema(body, _cleaned(_schema(body), (*SIZES, "enum", "const")))


def _open_schema(body: Body) -> Body | None:
    return _with_schema(body, _cleaned(_schema(body), ("additionalProperties",)))


def _not_strict(body: Body) -> Body | None:
    named = (body.get("response_format") or {}).get("json_schema") or {}
    if "strict" not in named:
        return None
    loose = {key: value for key, value in named.items() if key != "strict"}
    return body | {"response_format": body["response_format"] | {"json_schema": loose}}


def _cleaned(schema: Any, keywords: tuple[str, ...]) -> Any:
    """A schema without keywords; the names of properties are none."""
    if isinstance(schema, list):
        return [_cleaned(part, keywords) for part in schema]
    if not isinstance(schema, dict):
        return schema
    kept = {key: value for key, value in schema.items() if key not in keywords}
    return {
        key: {name: _cleaned(part, keywords) for name, part in value.items()}
        if key == "properties"
        else _cleaned(value, keywords)
        for key, value in kept.items()
    }


def _json_object(body: Body) -> Body | None:
    if _schema(body) is None:
        return None
    return _told_in_words(body, _schema(body)) | {"response_format": {"type": "json_object"}}


def _no_format(body: Body) -> Body | None:
    if "response_format" not in body:
        return None
    schema = _schema(body)
    told = body if schema is None else _told_in_words(body, schema)
    return {key: value for key, value in told.items() if key != "response_format"}


def _told_in_words(body: Body, schema: Any) -> Body:
    """The body with the schema in its last user's turn, where that does not speak of JSON and each key already."""
    if not isinstance(schema, dict) or "messages" not in body:
        return body
    turns = list(body["messages"])
    place = max((i for i, turn in enumerate(turns) if turn["role"] == "user"), default=-1)
    text = turns[place]["content"]
    if place < 0 or ("json" in text.lower() and all(f'"{key}"' in text for key in schema.get("properties", {}))):
        return body
    asked = f"{text}\n\nReply with one JSON object and nothing else, by this schema: {json.dumps(schema)}"
    turns[place] = turns[place] | {"content": asked}
    return body | {"messages": turns}


def _few_logprobs(body: Body) -> Body | None:
    for key in ("top_logprobs", "logprobs"):
        if type(body.get(key)) is int and body[key] > FEW_LOGPROBS:
            return body | {key: FEW_LOGPROBS}
    return None


def _no_system_turn(body: Body) -> Body | None:
    turns = body.get("messages") or []
    if len(turns) < 2 or turns[0]["role"] != "system" or turns[1]["role"] != "user":
        return None
    merged = {"role": "user", "content": f"{turns[0]['content']}\n\n{turns[1]['content']}"}
    return body | {"messages": [merged, *turns[2:]]}


STEPS = (  # in the order in which they are applied, and tried where a message names nothing
    Step("stream_options", r"stream_options|include_usage", _without("stream_options")),
    Step(
        "chat_template_kwargs",
        r"chat_template_kwargs|enable_thinking|chat template kwargs",
        _without("chat_template_kwargs"),
    ),
    Step(
        "continue_final_message and add_generation_prompt",
        r"continue_final_message|add_generation_prompt",
        _without("continue_final_message", "add_generation_prompt"),
    ),
    Step("max_tokens (max_completion_tokens instead)", r"\bmax_tokens\b", _renamed_max_tokens),
    Step("temperature", r"\btemperature\b", _without("temperature")),
    Step("a temperature other than 1", r"\btemperature\b", _temperature_1),
    Step("top_p", r"\btop_?p\b", _without("top_p")),
    Step("seed", r"\bseed\b|random_seed", _without("seed")),
    Step("stop (replies are cut here)", r"\bstop\b(?!ped)", _without("stop")),
    Step(
        "bounds such as minLength in a JSON schema",
        "|".join(rf"\b{word}\b" for word in SIZES if word != "format") + r"|'format'|\"format\"",
        _schema_without_sizes,
    ),
    Step("enum in a JSON schema", r"\benum\b|\bconst\b", _schema_without_choices),
    Step("strict in a JSON schema", r"\bstrict\b", _not_strict),
    Step("additionalProperties in a JSON schema", r"additional_?properties", _open_schema),
    Step(
        "a JSON schema (a JSON object instead)",
        r"response_format|json_?schema|json schema|structured.?output|guided|grammar|\bschema\b",
        _json_object,
    ),
    Step(
        "response_format (the prompt alone asks for JSON)",
        r"response_format|json_object|json mode|structured.?output|guided|grammar",
        _no_format,
    ),
    Step(f"more than {FEW_LOGPROBS} logprobs", r"logprobs", _few_logprobs),
    Step("a system turn (it begins the user's)", r"\bsystem\b", _no_system_turn),
)


class ServerLimits:
    """What one server takes, learned from what it refuses and kept for the run; any number of threads."""

    def __init__(self, source: str, extra_body: Body) -> None:
        """`source`: names the model where a step is said; `extra_body`: a value of None leaves a field out."""
        self._source, self._extra_body = source, extra_body
        self._taken: set[Step] = set()
        self._accepted: set[str] = set()  # parameters of bodies that were answered
        self._hopeless: set[str] = set()  # and of those that no step helped
        self._learning = threading.Lock()

    def fitted(self, body: Body, tried: frozenset[Step] = frozenset()) -> Body:
        """The body as this server takes it, as far as is known; `tried`: steps on top."""
        for step in STEPS:
            if step in self._taken or step in tried:
                body = step.change(body) or body
        merged = body | self._extra_body
        return {key: value for key, value in merged.items() if value is not None or key not in self._extra_body}

    def ask(self, body: Body, send: Callable[[Body], A]) -> A:
        """Sends a body as the server takes it, and learns from refusals.

        Raises:
            RefusedError: the server refuses what is asked, however it is written; and what `send` raises.
        """
        while True:
            sent = self.fitted(body)
            try:
                answer = send(sent)
            except RefusedError as refusal:
                with self._learning:
                    if self.fitted(body) == sent and (found := self._way_round(body, sent, refusal, send)) is not None:
                        return found
                continue
            self._accepted.add(_parameters(sent))
            return answer

    def _way_round(self, body: Body, sent: Body, refusal: RefusedError, send: Callable[[Body], A]) -> A | None:
        """The answer to a body by another step, which is remembered; None: a step was taken, and the next is due.

        Raises:
            RefusedError: no step helps, so that the refusal is the request's own.
        """
        message, parameters = str(refusal), _parameters(sent)
        if OWN_FAULT.search(message) or parameters in self._accepted or parameters in self._hopeless:
            raise refusal
        helpful = [step for step in STEPS if self.fitted(body, frozenset({step})) != sent]
        named = [step for step in helpful if _names(message, step)]
        tried = [frozenset({step}) for step in named or helpful]
        for steps in [*tried, frozenset(helpful)] if len(helpful) > 1 else tried:
            other = self.fitted(body, steps)
            try:
                answer = send(other)
            except RefusedError as error:
                if named and len(steps) == 1 and not _names(str(error), *steps):  # now it is about something else
                    self._take(steps, message)
                    return None
                continue
            self._take(steps, message)
            self._accepted.add(_parameters(other))
            return answer
        self._hopeless.add(parameters)
        raise refusal

    def _take(self, steps: frozenset[Step], message: str) -> None:
        """Remembers steps, and says each once on stderr."""
        for step in STEPS:
            if step in steps - self._taken:
                print(
                    f"{self._source}: the server does not take {step.name}; asked otherwise from here on ({message})",
                    file=sys.stderr,
                )
        self._taken |= steps


def _names(message: str, step: Step) -> bool:
    return re.search(step.named_by, message, re.IGNORECASE | re.DOTALL) is not None


def _parameters(body: Body) -> str:
    """A body without what is asked."""
    said = {key: value for key, value in body.items() if key not in ("messages", "prompt", "seed")}
    roles = [turn["role"] for turn in body.get("messages") or []]
    return json.dumps([said, roles, "seed" in body], sort_keys=True)
