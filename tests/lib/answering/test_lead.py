"""What stands first in an answer, by params.yaml or by what stage rag measured."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stages.lib.answering.chat_settings import ChatSettings
from stages.lib.answering.lead import chosen_lead
from stages.lib.core.metrics import write_metrics
from stages.lib.core.params import from_mapping
from tests.params_of import section


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ChatSettings:
    monkeypatch.chdir(tmp_path)
    return from_mapping(ChatSettings, section("chat", lead="auto", min_f1=0.6), "chat")


def measured(f1: float) -> dict[str, Any]:
    return {"asked": {"answerable": 12}, "systems": {"base": {}, "tuned": {"token_f1": {"value": f1}}}}


@pytest.mark.parametrize(("f1", "lead"), [(0.599, "quotes"), (0.6, "model"), (0.9, "model")])
def test_the_model_leads_where_its_answers_hold(settings: ChatSettings, f1: float, lead: str) -> None:
    write_metrics("rag", measured(f1))
    chosen = chosen_lead(settings)
    assert chosen.lead == lead
    assert f"token F1 {f1:.2f} on 12 held-out questions" in chosen.why and "0.6" in chosen.why


def test_without_a_measurement_the_quotes_lead(settings: ChatSettings) -> None:
    assert chosen_lead(settings) == ("quotes", "how well the model answers is not measured yet (`dvc repro rag`)")
    write_metrics("rag", {"systems": {"tuned": {}}, "asked": {}})  # no answerable question was asked
    assert chosen_lead(settings).lead == "quotes"


@pytest.mark.parametrize("lead", ["quotes", "model"])
def test_params_yaml_decides_first(settings: ChatSettings, lead: Any) -> None:
    write_metrics("rag", measured(0.9 if lead == "quotes" else 0.1))
    assert chosen_lead(replace(settings, lead=lead)) == (lead, f"chat.lead is {lead}")
