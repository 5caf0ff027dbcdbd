import pytest

from stages.lib.qa.topics import name_topic, topic_name, topic_phrase


@pytest.mark.parametrize(
    ("source", "name", "phrase"),
    [
        ("peft==0.21.2:peft.tuners.lora.config.LoraConfig", ("peft", "LoraConfig"), "peft's LoraConfig"),
        ("peft==0.21.2:peft.PeftModel.merge", ("peft", "PeftModel.merge"), "peft's PeftModel.merge"),
        ("datasets==4.8.5:datasets.combine.interleave", ("datasets", "interleave"), "datasets' interleave"),
        ("accelerate==1.15.0:README", ("accelerate", ""), "accelerate"),
        (
            "huggingface/transformers/blob/main/docs/source/en/model_doc/bert.md",
            ("transformers", "bert"),
            'the transformers page "bert"',
        ),
        ("huggingface/hub-docs/blob/main/docs/hub/index.md", ("hub-docs", "hub"), 'the hub-docs page "hub"'),
        ("documents/my_notes.txt", ("", "my notes"), 'the page "my notes"'),
    ],
)
def test_topics_of_sources(source: str, name: tuple[str, str], phrase: str) -> None:
    assert topic_name(source) == name
    assert topic_phrase(source) == phrase


def test_a_question_that_does_not_name_its_topic_gets_it() -> None:
    source = "peft==0.21.2:peft.tuners.lora.config.LoraConfig"
    assert name_topic("What is r?", source) == "What is r in peft's LoraConfig?"
    assert name_topic("What is r of `LoraConfig`?", source) == "What is r of `LoraConfig`?"
    assert name_topic("It is not finished", source) == "It is not finished"
