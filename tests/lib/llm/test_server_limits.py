"""Refusals in the words of real servers: what they are about."""

from collections.abc import Callable
from typing import Any

import pytest

from stages.lib.llm.openai_client import RefusedError
from stages.lib.llm.server_limits import ServerLimits

SCHEMA = {
    "type": "object",
    "properties": {"minLength": {"type": "string", "minLength": 3}, "score": {"enum": [1, 2], "type": "integer"}},
    "required": ["minLength", "score"],
}
BODY: dict[str, Any] = {
    "messages": [{"role": "user", "content": "Hello"}],
    "max_tokens": 9,
    "temperature": 0.5,
    "top_p": 0.9,
    "seed": 3,
    "stop": ["\n"],
    "response_format": {"type": "json_schema", "json_schema": {"name": "reply", "strict": True, "schema": SCHEMA}},
    "chat_template_kwargs": {"enable_thinking": False},
}


class Refusing:
    """Refuses bodies with a message as long as they are as they should not be."""

    def __init__(self, message: str, refuses: Callable[[dict[str, Any]], bool]) -> None:
        self.message, self.refuses = message, refuses
        self.sent: list[dict[str, Any]] = []

    def __call__(self, body: dict[str, Any]) -> str:
        self.sent.append(body)
        if self.refuses(body):
            raise RefusedError(self.message)
        return "answered"


@pytest.mark.parametrize(
    ("message", "field"),
    [
        ("status 400: Unrecognized request argument supplied: chat_template_kwargs", "chat_template_kwargs"),
        ("status 422: [{'type': 'extra_forbidden', 'loc': ('body', 'seed'), 'msg': 'Extra inputs'}]", "seed"),
        ("status 400: Unsupported parameter: 'stop' is not supported with this model.", "stop"),
        ("status 400: `top_p` must be unset", "top_p"),
        ("status 400: Unsupported parameter: 'temperature'", "temperature"),
        ("status 400: property 'response_format' is unsupported", "response_format"),
        ("status 400: This model only supports max_completion_tokens, not max_tokens", "max_tokens"),
        ("status 400: Bad Request", "seed"),
        ("status 400: {}", "top_p"),
    ],
)
def test_a_refusal_drops_what_it_is_about_and_no_more(message: str, field: str) -> None:
    send = Refusing(message, lambda body: field in body)
    limits = ServerLimits("server:x", {})
    assert limits.ask(BODY, send) == "answered"
    sent = send.sent[-1]
    renamed = {"max_completion_tokens"} if field == "max_tokens" else set()
    assert set(sent) == set(BODY) - {field} | renamed
    before = len(send.sent)
    assert limits.ask(BODY, send) == "answered"
    assert len(send.sent) == before + 1


@pytest.mark.parametrize(
    "message",
    [
        "status 400: This model's maximum context length is 4096 tokens. However, you requested 5000 (max_tokens 900)",
        "status 400: 'max_tokens' is too large: 900. This model's maximum context length is 4096 tokens",
        "status 400: request (931 tokens) exceeds the available context size (512 tokens), try increasing it",
        "status 400: The input (5000 tokens) is longer than the model's context length (4096 tokens).",
        "status 422: Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4096. Given: 5000",
        "status 400: Requested token count exceeds the model's maximum context length of 4096 tokens.",
        "status 400: prompt is too long: 250000 tokens > 200000 maximum",
        "status 400: The response was filtered due to the prompt triggering Azure OpenAI's content management policy",
        "status 413: Request Entity Too Large",
    ],
)
def test_a_prompt_that_is_refused_steps_nothing_down(message: str) -> None:
    send = Refusing(message, lambda body: True)
    with pytest.raises(RefusedError):
        ServerLimits("server:x", {}).ask(BODY, send)
    assert send.sent == [BODY]


def test_what_was_taken_before_is_not_doubted() -> None:
    limits = ServerLimits("server:x", {})
    limits.ask(BODY, lambda body: "answered")
    send = Refusing("status 400: Invalid value for temperature or schema in this conversation", lambda body: True)
    with pytest.raises(RefusedError):
        limits.ask(BODY | {"messages": [{"role": "user", "content": "Other"}]}, send)
    assert len(send.sent) == 1


def test_a_schema_loses_its_bounds_and_keeps_its_names() -> None:
    send = Refusing("'minLength' is not permitted", lambda body: '"minLength": 3' in str(body).replace("'", '"'))
    ServerLimits("server:x", {}).ask(BODY, send)
    properties = send.sent[-1]["response_format"]["json_schema"]["schema"]["properties"]
    assert properties == {"minLength": {"type": "string"}, "score": {"enum": [1, 2], "type": "integer"}}


def test_without_a_schema_the_prompt_tells_it_once() -> None:
    send = Refusing("json_schema is not supported", lambda body: "json_schema" in str(body.get("response_format")))
    limits = ServerLimits("server:x", {})
    limits.ask(BODY, send)
    told = send.sent[-1]["messages"][0]["content"]
    assert told.startswith("Hello\n\nReply with one JSON object") and '"score"' in told
    knows = BODY | {"messages": [{"role": "user", "content": 'JSON of "minLength" and "score"'}]}
    limits.ask(knows, send)
    assert send.sent[-1]["messages"] == knows["messages"]


def test_an_extra_body_is_sent_as_it_is_and_none_leaves_out() -> None:
    send = Refusing("temperature", lambda body: body.get("temperature") != 1)
    assert ServerLimits("server:x", {"temperature": 1, "seed": None}).ask(BODY, send) == "answered"
    assert "seed" not in send.sent[0]
