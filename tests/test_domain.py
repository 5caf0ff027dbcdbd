"""`dvc exp run -S domain='German tenancy law'`: prompts and instructions speak of that field, and of no other."""

import re
from pathlib import Path

import pytest

from stages import embed, qa
from stages.lib.core.params import in_domain, load, load_prompts, parse_yaml, read_param
from tests.params_of import project_text

ROOT = Path(__file__).parent.parent
PROMPTS = list(parse_yaml((ROOT / "prompts.yaml").read_text(encoding="utf-8"), Path("prompts.yaml")))
OF_OUR_FIELD = re.compile(r"machine.learning|software|librar|technical documentation|class(es)?\b|function", re.I)
ENGLISH_SHOTS = "fact_first_question_prompt"  # of Python libraries, as the rules that go with it
SPEAK_OF_IT = {
    "QA_generation_prompt",
    "question_groundedness_critique_prompt",
    "question_relevance_critique_prompt",
    "question_standalone_critique_prompt",
    "document_duplication_critique_prompt",
}


@pytest.fixture
def overridden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """params.yaml as `dvc exp run -S ...` leaves it."""
    from dvc.utils.hydra import apply_overrides  # type: ignore[import-untyped,unused-ignore]

    monkeypatch.chdir(tmp_path)
    file = tmp_path / "params.yaml"
    file.write_text(project_text(), encoding="utf-8")
    overrides = ["domain='German tenancy law'", "embed.tell=[source,heading]", "qa.tell=[heading]"]
    apply_overrides(str(file), overrides)
    return file


def test_overrides_reach_the_stages(overridden: Path) -> None:
    assert read_param("domain") == "German tenancy law"
    assert load(embed.Params, "embed").tell == ["source", "heading"] and load(qa.Params, "qa").tell == ["heading"]
    instructions = in_domain(load(embed.Params, "embed").instructions, read_param("domain"))
    assert instructions["ml"] == "Given a question about German tenancy law, retrieve passages that answer it"
    assert instructions["base"] == ""


@pytest.mark.parametrize("name", PROMPTS)
def test_no_prompt_speaks_of_another_field(name: str) -> None:
    text = load_prompts([name], ROOT / "prompts.yaml", domain="German tenancy law")[name]
    assert ("German tenancy law" in text) == (name in SPEAK_OF_IT)
    assert "{domain}" not in text
    assert name == ENGLISH_SHOTS or not OF_OUR_FIELD.search(text)


def test_the_projects_own_instructions_are_those_that_it_was_measured_with() -> None:
    params = parse_yaml(project_text(), Path("params.yaml"))
    instructions = in_domain(params["embed"]["instructions"], params["domain"])
    assert instructions["ml"] == "Given a question about machine learning, retrieve passages that answer it"


@pytest.mark.parametrize("domain", [None, "", "  ", 7])
def test_a_domain_that_is_no_text_is_refused_where_a_text_has_a_place_for_it(domain: object) -> None:
    assert in_domain({"a": "no place"}, domain) == {"a": "no place"}
    with pytest.raises(ValueError, match=r"params\.yaml: domain: expected the field of the documents in words"):
        in_domain({"a": "about {domain}"}, domain)
    with pytest.raises(ValueError, match=r"params\.yaml: domain"):
        load_prompts(["QA_generation_prompt"], ROOT / "prompts.yaml", domain=domain)
