"""What other people's servers do, by the fake server's models."""

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stages.lib.cache.ledger import Ledger
from stages.lib.judging.rating import SCORES
from stages.lib.llm.asking import AskedModel
from stages.lib.llm.openai_backend import OpenAiBackend
from stages.lib.llm.openai_client import api_key
from stages.lib.llm.protocol import GenerateRequest, Prompt, Reply, Sampling, Score, ScoreRequest
from stages.lib.qa.question_writing import SCHEMA
from stages.lib.weights.models import ModelEntry, load_model_entry
from tests.fake_openai_server import FakeServer

PASSAGE = 'Passage:\n"""\nThe machine number {i} weighs {i} tons. {poison}\n"""\nReply with JSON.'


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with FakeServer() as server:
        yield server


def asked(server: FakeServer, model: str, tmp_path: Path, **fields: Any) -> AskedModel:
    options: dict[str, Any] = {"concurrency": 3, "base_url": server.url} | fields
    entry = ModelEntry(source=f"server:{model}", backend="openai", **options)
    return AskedModel(entry, OpenAiBackend(entry, first_wait=0.01), Ledger(tmp_path / "ledger.sqlite"))


def requests(count: int = 6, **sampling: Any) -> list[GenerateRequest]:
    """The third is poisoned."""
    texts = [PASSAGE.format(i=i, poison="POISON" if i == 2 else "") for i in range(count)]
    chosen = Sampling(**sampling)
    return [GenerateRequest(prompt=Prompt(text=text), sampling=chosen, schema=SCHEMA) for text in texts]


def scored(model: AskedModel, count: int = 3) -> list[Score]:
    prompts = [Prompt(text=f"rate {i}", answer_prefix='{"score": ') for i in range(count)]
    return model.score([ScoreRequest(prompt=prompt, choices=SCORES) for prompt in prompts])


@pytest.mark.parametrize(
    ("model", "says"),
    [
        ("poison500", "status 500: EngineCore encountered an issue"),
        ("poison503", "status 503: overloaded"),
        ("poisonempty", "not an answer of this API: .*choices"),
        ("poisonerror", "not an answer of this API: upstream is gone"),
        ("poisonlong", "status 400: This model's maximum context length"),
        ("poison400", "status 400: .*Bad Request"),
        ("poison413", "status 413: .*too large"),
        ("poisonreset", "(RemoteProtocolError|ReadError)"),
        ("poisonfilter", "ended the reply with 'content_filter'"),
        ("poisonabort", "ended the reply with 'abort'"),
        ("poisonblank", "the reply is empty"),
        ("poisonhtml", "not an answer of this API: '<html>login"),
        ("poisonhang", "no whole answer within 1.5 s"),
        ("poisonslow", "no whole answer within 1.5 s"),
        ("poisonslowheader", "no whole answer within 1.5 s"),
    ],
)
def test_one_request_that_keeps_failing_fails_alone_and_is_asked_again_alone(
    server: FakeServer, tmp_path: Path, model: str, says: str, capfd: pytest.CaptureFixture[str]
) -> None:
    for attempt in range(2):
        before = server.counts[model]
        found = asked(server, model, tmp_path, **({"timeout": 1.5} if "hang" in model or "slow" in model else {}))
        replies = found.generate(requests())
        assert [bool(reply.error) for reply in replies] == [False, False, True, False, False, False]
        assert re.search(says, replies[2].error)
        assert replies[2] == Reply.refused(replies[2].error, replies[2].prompt_tokens)
        assert found.reused == attempt * 5
        assert server.counts[model] - before <= (20 if attempt == 0 else 15)
    assert "does not take" not in capfd.readouterr().err  # nothing was stepped down because of it


@pytest.mark.parametrize(
    "model", ["eos", "eos_token", "end_turn", "stop_sequence", "STOP", "nullfinish", "nullusage", "parts", "surrogate"]
)
def test_a_complete_reply_counts(server: FakeServer, tmp_path: Path, model: str) -> None:
    replies = asked(server, model, tmp_path).generate(requests())
    assert {(reply.finish_reason, reply.error) for reply in replies} == {("stop", "")}
    assert all(reply.text.startswith('{"question": "What does ') for reply in replies)
    assert asked(server, model, tmp_path).generate(requests()) == replies
    assert server.counts[model] == 6


def test_a_reply_that_was_cut_off_is_told_apart(server: FakeServer, tmp_path: Path) -> None:
    assert {reply.finish_reason for reply in asked(server, "cut", tmp_path).generate(requests())} == {"length"}


@pytest.mark.parametrize(
    ("model", "says"),
    [
        ("reasoning_content", "everything into the reasoning"),
        ("reasoning", "everything into the reasoning"),
        ("reasoning_length", "cut off while the model was thinking"),
        ("refusal", "the model refuses: I'm sorry"),
    ],
)
def test_no_answer_is_a_failure_and_not_kept(server: FakeServer, tmp_path: Path, model: str, says: str) -> None:
    for times in (1, 2):
        replies = asked(server, model, tmp_path).generate(requests())
        assert all(re.search(says, reply.error) and reply.text == "" for reply in replies)
        assert server.counts[model] == 6 * times


def test_a_server_put_right_is_asked_for_what_it_failed_on(server: FakeServer, tmp_path: Path) -> None:
    first = asked(server, "toggle", tmp_path).generate(requests())
    assert sum(bool(reply.error) for reply in first) == 2
    assert not any(reply.error for reply in asked(server, "toggle", tmp_path).generate(requests()))
    assert server.counts["toggle"] == 8


def test_an_empty_reply_of_an_older_ledger_is_asked_anew(server: FakeServer, tmp_path: Path) -> None:
    model = asked(server, "good", tmp_path)
    replies = model.generate(requests())
    ledger = Ledger(tmp_path / "ledger.sqlite")
    key = model._key(requests()[0])
    empty = ledger.get([key])[key].replace(replies[0].text.replace('"', '\\"').encode(), b" ")
    ledger.put([(key, empty)])
    assert asked(server, "good", tmp_path).generate(requests()) == replies
    assert server.counts["good"] == 7


@pytest.mark.parametrize(
    ("model", "seconds"),
    [
        ("date429", 0.9),
        ("ms429", 0.7),
        ("seconds429", 0.7),
        ("past429", 0.0),
        ("s408", 0.0),
        ("s409", 0.0),
        ("s425", 0.0),
        ("s502", 0.0),
        ("reset", 0.0),
        ("half", 0.0),
        ("gzip", 0.0),
        ("nogzip", 0.0),
        ("utf8", 0.0),
    ],
)
def test_what_passes_is_sat_out(server: FakeServer, tmp_path: Path, model: str, seconds: float) -> None:
    start = time.perf_counter()
    replies = asked(server, model, tmp_path).generate(requests(1))
    assert replies[0].finish_reason == "stop", replies[0].error
    assert seconds <= time.perf_counter() - start < seconds + 2
    assert server.counts[model] == (3 if model == "reset" else 2)


def test_a_declared_charset_is_read_by(server: FakeServer, tmp_path: Path) -> None:
    assert asked(server, "latin1", tmp_path).generate(requests(1))[0].text == "größer"


@pytest.mark.parametrize(
    ("model", "says_and_most"),
    [
        ("always429", ("status 429: rate limit reached, quota per day", 40)),
        ("always500", ("status 500: CUDA out of memory", 40)),
        ("html", ("not an answer of this API: '<html>login</html>'", 40)),
        ("quota", ("status 429: You exceeded your quota", 6)),
        ("redirect", ("redirects to '/elsewhere'", 6)),
        ("wrongkey", (r"status 401 for model 'wrongkey': Incorrect API key: Bearer \*\*\*", 6)),
        ("absent", ("status 404 for model 'absent': The model `absent` does not exist", 6)),
        ("hang", (r"no whole answer within 0\.5 s", 10)),
    ],
)
def test_a_server_that_answers_nobody_ends_the_run_with_its_own_words(
    server: FakeServer, tmp_path: Path, model: str, says_and_most: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    says, most = says_and_most
    monkeypatch.setenv("KEY_OF_THE_TEST", "sk-secret")
    timeout = 0.5 if model == "hang" else 60.0
    found = asked(server, model, tmp_path, timeout=timeout, api_key_env="KEY_OF_THE_TEST")
    with pytest.raises(RuntimeError, match=f"{says}.*; 0 of 1000 requests were answered") as caught:
        found.generate(requests(1000))
    assert "sk-secret" not in str(caught.value)
    assert server.counts[model] <= most
    assert set(server.keys) == {"Bearer sk-secret"}


def test_a_run_ends_when_more_fail_than_may(server: FakeServer, tmp_path: Path) -> None:
    with pytest.raises(
        RuntimeError, match=r"(\d+) requests failed and 0 of 1000 were answered.*max_failed 0.5"
    ) as caught:
        asked(server, "refusal", tmp_path).generate(requests(1000))
    assert "50 x the model refuses: I'm sorry" in str(caught.value)
    assert server.counts["refusal"] <= 55
    assert len(asked(server, "refusal", tmp_path, max_failed=1.0).generate(requests(100))) == 100


@pytest.mark.parametrize(
    ("model", "said_and_sent"),
    [
        ("no-max-tokens", ("max_completion_tokens", {"max_completion_tokens": 99})),
        ("no-temperature", ("temperature", {"max_tokens": 99})),
        ("temperature1", ("temperature other than 1", {"temperature": 1})),
        ("reasoner", ("max_completion_tokens", {"max_completion_tokens": 99})),
        ("deepseek", ("JSON schema", {"response_format": {"type": "json_object"}})),
        ("noformat", ("response_format", {})),
        ("minlength", ("minLength", {"max_tokens": 99})),
        ("silent", ("response_format", {"max_tokens": 99})),
        ("strict", ("chat_template_kwargs", {"max_tokens": 99, "temperature": 0.7})),
        ("openai", ("chat_template_kwargs", {"max_completion_tokens": 99})),
    ],
)
def test_what_a_server_refuses_is_asked_otherwise_and_said_once(
    server: FakeServer,
    tmp_path: Path,
    model: str,
    said_and_sent: tuple[str, dict[str, Any]],
    capfd: pytest.CaptureFixture[str],
) -> None:
    said, fields = said_and_sent
    found = asked(server, model, tmp_path)
    replies = found.generate(requests(30, max_tokens=99, temperature=0.7 if model in ("strict", "openai") else 0.0))
    assert not any(reply.error for reply in replies), replies[0].error
    stderr = capfd.readouterr().err
    assert stderr.count(said) >= 1
    lines = [line for line in stderr.splitlines() if "does not take" in line]
    assert len(lines) == len(set(lines)) <= 8
    learned = server.counts[model]
    assert learned <= 30 + 20
    last = server.bodies[-1]
    assert {key: last.get(key) for key in fields} == fields
    if model in ("noformat", "silent", "strict"):
        assert "response_format" not in last
    if model in ("deepseek", "noformat"):
        assert '"question"' in last["messages"][-1]["content"]  # the schema, told in words
    if model == "minlength":
        assert last["response_format"]["json_schema"]["schema"]["required"] == ["question", "answer"]
    found.generate(requests(40, max_tokens=99, temperature=0.7 if model in ("strict", "openai") else 0.0))
    assert server.counts[model] == learned + 10  # remembered
    assert capfd.readouterr().err == ""


def test_a_system_turn_that_is_refused_begins_the_users(server: FakeServer, tmp_path: Path) -> None:
    request = GenerateRequest(prompt=Prompt(text="hello", system="be brief"))
    assert asked(server, "nosystem", tmp_path).generate([request])[0].error == ""
    assert server.bodies[-1]["messages"] == [{"role": "user", "content": "be brief\n\nhello"}]


def test_an_extra_body_comes_last_and_is_part_of_the_key(server: FakeServer, tmp_path: Path) -> None:
    extra = {"top_k": 5, "temperature": None, "chat_template_kwargs": {"thinking": False}}
    assert asked(server, "good", tmp_path, extra_body=extra).generate(requests(1))[0].error == ""
    assert server.bodies[0]["top_k"] == 5
    assert "temperature" not in server.bodies[0]
    assert server.bodies[0]["chat_template_kwargs"] == {"thinking": False}
    asked(server, "good", tmp_path).generate(requests(1))
    assert server.counts["good"] == 2  # other words may come of it
    with FakeServer() as moved:
        again = asked(moved, "good", tmp_path, extra_body=extra)
        again.generate(requests(1))
    assert (again.reused, moved.counts["good"]) == (1, 0)  # where the server is does not


def test_thinking_is_switched_at_the_server(server: FakeServer, tmp_path: Path) -> None:
    request = GenerateRequest(prompt=Prompt(text="hello"))
    for thinking in (False, True):
        asked(server, "good", tmp_path / str(thinking), thinking=thinking).generate([request])
        assert server.bodies[-1]["chat_template_kwargs"] == {"enable_thinking": thinking}
    asked(server, "good", tmp_path).generate([GenerateRequest(prompt=Prompt(text="raw", chat=False))])
    assert "chat_template_kwargs" not in server.bodies[-1]


def test_scores_of_a_server_that_continues_the_turn(server: FakeServer, tmp_path: Path) -> None:
    score = scored(asked(server, "continues", tmp_path))[0]
    assert score.logprobs[3:] == (-2.5, -0.1)
    assert (server.bodies[0]["continue_final_message"], server.bodies[0]["add_generation_prompt"]) == (True, False)
    assert scored(asked(server, "fewlogprobs", tmp_path))[0].logprobs[3:] == (-2.5, -0.1)
    assert server.bodies[-1]["top_logprobs"] == 5


@pytest.mark.parametrize(
    ("model", "says"),
    [
        ("good", "the server does not continue the turn, likeliest are"),
        ("nologprobs", "gives no log-probabilities"),
        ("score400", "status 400: This model's maximum context"),
        ("score500", "status 500: EngineCore died"),
        ("noprefill", "status 400: Expected last role User"),
    ],
)
def test_scores_that_a_server_does_not_give_fail_and_end_nothing(
    server: FakeServer, tmp_path: Path, model: str, says: str
) -> None:
    scores = scored(asked(server, model, tmp_path), 200)
    assert all(score.logprobs == () and says in score.error for score in scores)
    assert server.counts[model] < 260 if model == "score500" else server.counts[model] <= 100  # not asked 200 times
    assert not asked(server, model, tmp_path).generate(requests(1))[0].error


def test_a_rerun_that_fails_on_the_same_few_does_not_end(server: FakeServer, tmp_path: Path) -> None:
    """70 of 210 requests fail, and in the second run nothing else is asked."""
    texts = [f"{i} {'POISON' if i % 3 == 0 else ''}" for i in range(210)]
    wanted = [GenerateRequest(prompt=Prompt(text=text)) for text in texts]
    for expected in (210, 70):
        before = server.counts["poisonlong"]
        replies = asked(server, "poisonlong", tmp_path).generate(wanted)
        assert sum(bool(reply.error) for reply in replies) == 70
        assert server.counts["poisonlong"] - before == expected


@pytest.mark.parametrize(
    ("url", "sent"),
    [("http://127.0.0.1:8000/v1", True), ("https://api.openai.com/v1", True), ("https://api.other.com/v1", False)],
)
def test_a_key_of_one_company_is_not_sent_to_another(url: str, sent: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LLMILL_OPENAI_API_KEY", raising=False)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-openai")
    entry = ModelEntry(source="server:x", backend="openai", base_url=url)
    assert api_key(entry) == ("sk-of-openai" if sent else "")
    monkeypatch.setenv("LLMILL_OPENAI_API_KEY", "sk-given")
    assert api_key(entry) == "sk-given"
    monkeypatch.setenv("LLMILL_OPENAI_API_KEY", "größe")
    with pytest.raises(ValueError, match="the key in LLMILL_OPENAI_API_KEY holds letters"):
        api_key(entry)


def test_two_entries_of_one_name_at_two_servers_share_no_replies(server: FakeServer, tmp_path: Path) -> None:
    params = tmp_path / "params.yaml"
    with FakeServer() as other:
        models = {
            name: {"source": "server:good", "backend": "openai", "base_url": where.url}
            for name, where in {"one": server, "two": other}.items()
        }
        params.write_text(json.dumps({"models": models}))
        identities = {load_model_entry(name, params).identity for name in models}
        assert len(identities) == 2
        params.write_text(json.dumps({"models": {name: entry | {"revision": "a"} for name, entry in models.items()}}))
        assert len({load_model_entry(name, params).identity for name in models}) == 1


@pytest.mark.parametrize(
    "fields",
    [
        {"base_url": "127.0.0.1:8000"},
        {"base_url": "http://"},
        {"api_key_env": "sk-proj-secret"},
        {"timeout": 0.0},
        {"max_failed": 1.5},
    ],
)
def test_an_entry_that_cannot_be_is_refused_without_its_key(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"base_url|api_key_env|timeout") as caught:
        ModelEntry(source="server:x", backend="openai", **fields)
    assert "secret" not in str(caught.value)
    with pytest.raises(ValueError, match="for servers"):
        ModelEntry(source="path:x", backend="vllm", extra_body={"a": 1})
