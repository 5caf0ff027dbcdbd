import dataclasses
import importlib.metadata
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from stages.lib.cache.ledger import Ledger
from stages.lib.llm import asking
from stages.lib.llm.asking import AskedModel, make_backend, open_model
from stages.lib.llm.protocol import GenerateRequest, Prompt, Reply, Sampling, Score, ScoreRequest
from stages.lib.weights.models import ModelEntry, load_model_entry

ENTRY = ModelEntry(source="server:echo", backend="openai")


class Echo:
    """Answers with the prompt; remembers what it was asked, dies when told to."""

    version = "echo 1"

    def __init__(self, batch: int = 2, die_after: int = 10**9) -> None:
        self.batch, self.die_after, self.seen = batch, die_after, list[str]()

    def render(self, request: GenerateRequest | ScoreRequest) -> str:
        return request.prompt.text

    def generate(
        self, requests: Sequence[GenerateRequest], missing: Sequence[int]
    ) -> Iterator[list[tuple[int, Reply]]]:
        for start in range(0, len(missing), self.batch):
            if len(self.seen) >= self.die_after:
                raise RuntimeError("the engine died")
            part = missing[start : start + self.batch]
            self.seen += [requests[i].prompt.text for i in part]
            yield [(i, self.reply(requests[i].prompt.text)) for i in part]

    def reply(self, text: str) -> Reply:
        error = "refused" if "bad" in text else ""
        return Reply(
            text=text, finish_reason="error" if error else "stop", prompt_tokens=1, completion_tokens=1, error=error
        )

    def score(self, requests: Sequence[ScoreRequest], missing: Sequence[int]) -> Iterator[list[tuple[int, Score]]]:
        for i in missing:
            self.seen.append(requests[i].prompt.text)
            yield [
                (
                    i,
                    Score(
                        logprobs=tuple(-float(len(c)) for c in requests[i].choices),
                        tokens=(1,) * len(requests[i].choices),
                    ),
                )
            ]

    def close(self) -> None:
        pass


def asked(backend: Echo, tmp_path: Path, entry: ModelEntry = ENTRY) -> AskedModel:
    return AskedModel(entry, backend, Ledger(tmp_path / "ledger.sqlite"))


def requests_for(*texts: str, **sampling: float) -> list[GenerateRequest]:
    return [GenerateRequest(prompt=Prompt(text=text), sampling=Sampling(**sampling)) for text in texts]  # type: ignore[arg-type]


def test_nothing_is_asked_twice_and_one_edit_asks_for_one(tmp_path: Path) -> None:
    first = Echo()
    model = asked(first, tmp_path)
    assert [reply.text for reply in model.generate(requests_for("a", "b", "a", "c"))] == ["a", "b", "a", "c"]
    assert first.seen == ["a", "b", "c"]
    assert (model.asked, model.reused) == (3, 0)
    second = Echo()
    model = asked(second, tmp_path)
    assert [reply.text for reply in model.generate(requests_for("a", "B", "a", "c"))] == ["a", "B", "a", "c"]
    assert second.seen == ["B"]
    assert (model.asked, model.reused) == (1, 2)


def test_what_was_answered_before_a_failure_is_kept(tmp_path: Path) -> None:
    texts = [str(i) for i in range(9)]
    dying = Echo(die_after=4)
    with pytest.raises(RuntimeError, match="died"):
        asked(dying, tmp_path).generate(requests_for(*texts))
    rest = Echo()
    assert [reply.text for reply in asked(rest, tmp_path).generate(requests_for(*texts))] == texts
    assert dying.seen + rest.seen == texts


def test_a_backend_gets_blocks_that_do_not_hang_on_what_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "BLOCK", 4)
    plans: list[list[str]] = []

    class Planning(Echo):
        def generate(
            self, requests: Sequence[GenerateRequest], missing: Sequence[int]
        ) -> Iterator[list[tuple[int, Reply]]]:
            plans.append([request.prompt.text for request in requests])
            yield from super().generate(requests, missing)

    texts = [str(i) for i in range(10)]
    with pytest.raises(RuntimeError, match="died; 6 of 10 requests were answered before"):
        asked(Planning(die_after=6), tmp_path).generate(requests_for(*texts))
    model = asked(Planning(), tmp_path)
    assert [reply.text for reply in model.generate(requests_for(*texts, "3"))] == [*texts, "3"]
    assert (model.asked, model.reused) == (4, 6)
    assert plans == [texts[:4], texts[4:8], texts[4:8], texts[8:]]


def test_an_error_reply_is_returned_and_asked_again(tmp_path: Path) -> None:
    replies = asked(Echo(), tmp_path).generate(requests_for("a", "bad"))
    assert [reply.finish_reason for reply in replies] == ["stop", "error"]
    again = Echo()
    asked(again, tmp_path).generate(requests_for("a", "bad"))
    assert again.seen == ["bad"]


def test_a_reply_without_a_word_is_asked_again(tmp_path: Path) -> None:
    assert [reply.text for reply in asked(Echo(), tmp_path).generate(requests_for("a", " "))] == ["a", " "]
    again = Echo()
    asked(again, tmp_path).generate(requests_for("a", " "))
    assert again.seen == [" "]


def test_a_reply_that_its_asker_cannot_read_is_returned_and_asked_again(tmp_path: Path) -> None:
    def asking(*texts: str) -> list[GenerateRequest]:
        return [
            GenerateRequest(prompt=Prompt(text=text), readable=lambda reply: reply.text.startswith("{"))
            for text in texts
        ]

    assert [reply.text for reply in asked(Echo(), tmp_path).generate(asking("{}", "hm"))] == ["{}", "hm"]
    again = Echo()
    model = asked(again, tmp_path)
    model.generate(asking("{}", "hm"))
    assert again.seen == ["hm"]
    assert (model.asked, model.reused) == (1, 1)


def test_an_unreadable_reply_of_an_older_ledger_is_dropped(tmp_path: Path) -> None:
    asked(Echo(), tmp_path).generate(requests_for("hm"))
    again = Echo()
    strict = [dataclasses.replace(request, readable=lambda _: False) for request in requests_for("hm")]
    asked(again, tmp_path).generate(strict)
    assert again.seen == ["hm"]
    once_more = Echo()
    asked(once_more, tmp_path).generate(requests_for("hm"))
    assert once_more.seen == ["hm"]


def test_the_key_holds_what_decides_the_answer_and_no_more(tmp_path: Path) -> None:
    asked(Echo(), tmp_path).generate(requests_for("a", temperature=0.0, seed=1, top_p=0.5))
    backend = Echo()
    model = asked(backend, tmp_path)
    model.generate(requests_for("a", temperature=0.0, seed=2))  # greedy: the seed decides nothing
    assert backend.seen == []
    model.generate(requests_for("a", temperature=1.0, seed=2))
    model.generate(requests_for("a", temperature=1.0, seed=3))
    model.generate([GenerateRequest(prompt=Prompt(text="a"), schema={"type": "object"})])
    model.generate([GenerateRequest(prompt=Prompt(text="a", chat=False))])
    assert backend.seen == ["a"] * 4
    other = Echo()
    asked(other, tmp_path, ModelEntry(source="server:other", backend="openai")).generate(requests_for("a"))
    assert other.seen == ["a"]
    newer = Echo()
    newer.version = "echo 2"
    asked(newer, tmp_path).generate(requests_for("a"))
    assert newer.seen == ["a"]


def test_scores_come_back_from_the_ledger_as_they_were(tmp_path: Path) -> None:
    request = ScoreRequest(prompt=Prompt(text="q"), choices=("1", "22"))
    fresh = asked(Echo(), tmp_path).score([request, request])
    backend = Echo()
    assert asked(backend, tmp_path).score([request]) == fresh[:1] == [Score(logprobs=(-1.0, -2.0), tokens=(1, 1))]
    assert backend.seen == []
    asked(backend, tmp_path).score([ScoreRequest(prompt=Prompt(text="q"), choices=("22", "1"))])
    assert backend.seen == ["q"]


def test_open_model_names_what_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMILL_CACHE", str(tmp_path / "cache"))
    params = tmp_path / "params.yaml"
    params.write_text(
        "models:\n"
        "  embedder:\n    source: path:x\n    backend: sentence_transformers\n"
        "  tampered:\n    source: package:pytest/pytest/__init__.py\n    backend: transformers\n"
        "    sha256:\n      __init__.py: '00'\n"
        "  absent:\n    source: package:no-such-weights/x.gguf\n    backend: transformers\n"
        "    sha256:\n      x.gguf: '00'\n"
    )
    request = requests_for("a")
    with pytest.raises(ValueError, match=r"no model 'smol'.*embedder"), open_model(load_model_entry("smol", params)):
        pass
    with (
        pytest.raises(ValueError, match="does not run language models"),
        open_model(load_model_entry("embedder", params)),
    ):
        pass
    with pytest.raises(ValueError, match="sha256 is"), open_model(load_model_entry("tampered", params)) as model:
        model.generate(request)
    with (
        pytest.raises(ValueError, match="no-such-weights is not installed"),
        open_model(load_model_entry("absent", params)) as model,
    ):
        model.generate(request)


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing_installed(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", nothing_installed)
    with pytest.raises(ValueError, match="backend llama_cpp needs `pip install xllamacpp`"):
        make_backend(ModelEntry(source="path:x.gguf", backend="llama_cpp"))
    with pytest.raises(ValueError, match="backend vllm needs a GPU and `make install-gpu`"):
        make_backend(ModelEntry(source="path:x", backend="vllm"))


def test_a_hub_model_without_network_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    backend = make_backend(ModelEntry(source="hub:nobody/nothing", revision="0" * 40, backend="transformers"))
    with pytest.raises(ValueError, match=r"hub:nobody/nothing.*0000.*cannot be fetched"):
        backend.render(requests_for("a")[0])
