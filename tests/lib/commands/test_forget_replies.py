import json
import sys
from contextlib import closing
from pathlib import Path

import pytest

from stages.lib.cache.ledger import Ledger
from stages.lib.commands import forget_replies
from stages.lib.commands.forget_replies import forget, name_of
from stages.lib.llm.asking import AskedModel
from stages.lib.llm.protocol import Prompt, ScoreRequest
from stages.lib.weights.models import ModelEntry
from tests.lib.llm.test_asking import Echo, requests_for

ONE = ModelEntry(source="server:one", backend="openai")
OTHER = ModelEntry(source="server:other", backend="openai", revision="v2")


def ask(path: Path, entry: ModelEntry, *texts: str) -> list[str]:
    """Asks for replies and a score; returns what the backend was asked."""
    backend = Echo()
    with closing(Ledger(path)) as ledger:
        model = AskedModel(entry, backend, ledger)
        model.generate(requests_for(*texts))
        model.score([ScoreRequest(prompt=Prompt(text=texts[0]), choices=("1",))])
    return backend.seen


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LLMILL_CACHE", str(tmp_path / "cache"))
    Path("params.yaml").write_text(
        "models:\n  mine: {source: 'server:other', backend: openai, revision: v2}\n"
        "  new: {source: 'server:new', backend: openai}\n"
    )
    path = tmp_path / "cache" / "llm" / "ledger.sqlite"
    ask(path, ONE, "a", "b")
    ask(path, OTHER, "a", "b", "c")
    return path


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", ["forget_replies", *arguments])
    forget_replies.main()


def test_one_models_answers_go_and_are_asked_anew(
    cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run(monkeypatch, "mine", "--dry-run")
    run(monkeypatch, "mine")
    would, did = capsys.readouterr().out.splitlines()
    assert would == "server:other@v2: would drop 3 replies and 1 scores; 3 answers stay"
    assert did == "server:other@v2: dropped 3 replies and 1 scores; 3 answers stay"
    assert ask(cache, ONE, "a", "b") == []
    assert ask(cache, OTHER, "a", "b", "c") == ["a", "b", "c", "a"]


def test_a_model_without_answers_is_told_who_has_some(
    cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run(monkeypatch, "new")
    said = capsys.readouterr().out
    assert "dropped 0 replies" in said and "answers of: server:one, server:other@v2" in said


def test_answers_of_an_older_version_get_their_name_when_they_are_used(
    cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with closing(Ledger(cache)) as ledger:
        rows = ledger._database.execute("SELECT key, value FROM answers").fetchall()
        contents = [(key, json.loads(value)) for key, value in rows]
        ledger.put((key, json.dumps({"answer": c["answer"], "seconds": c["seconds"]}).encode()) for key, c in contents)
    assert ask(cache, ONE, "a") == []  # names a reply and a score
    dropped, _ = forget(cache, "server:one", unnamed=False, dry_run=True)
    assert dropped == {"server:one": 1, "server:one scores": 1}
    run(monkeypatch, "server:one")
    assert "5 of them name no model" in capsys.readouterr().out
    run(monkeypatch, "server:one", "--unnamed")
    assert "dropped 4 replies and 1 scores; 0 answers stay" in capsys.readouterr().out


def test_a_wrong_name_and_an_absent_ledger_are_named(cache: Path) -> None:
    assert name_of("server:gone") == "server:gone"
    with pytest.raises(ValueError, match="no model 'nobody'"):
        name_of("nobody")
    with pytest.raises(ValueError, match=r"x\.sqlite: no such file"):
        forget(cache.parent / "x.sqlite", "server:one", unnamed=False, dry_run=False)
