import pytest

from stages.lib.qa.topics import name_library, name_topic, page_subject, topic_name, topic_phrase


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


@pytest.mark.parametrize(
    "source",
    [
        *("corpus.jsonl:1", "data/pages.json[3]", "json@x:train[0]", "org/set@0123456789ab:train[7]"),
        *(
            "documents/page_1.txt",
            "document (2).pdf",
            "Untitled 3.md",
            "2405.12345v1.pdf",
            "0001.txt",
            "corpus",
            "train",
        ),
        *("d41d8cd98f00b204e9800998ecf8427e.txt", "550e8400-e29b-41d4-a716-446655440000.md", "part-00001.txt"),
        *("documents/index.md", "scan0001.pdf", "http://example.org/"),
    ],
)
def test_a_name_that_tells_nothing_is_no_topic(source: str) -> None:
    assert topic_phrase(source) == ""
    assert name_topic("What is r?", source) == "What is r?"


@pytest.mark.parametrize(
    ("source", "phrase"),
    [
        ("papers/DeepSeek_R1.pdf", 'the document "DeepSeek R1"'),
        ("C:\\notes\\guide.md", 'the page "guide"'),
        ("https://example.org/a/guide.html?v=1#top", 'the page "guide"'),
        ("docs/install/index.md", 'the page "install"'),
        ("facade.md", 'the page "facade"'),
        ("huggingface/transformers/blob/main/docs/source/en/training.md", 'the transformers page "training"'),
        ("chapter_2_pumps.md", 'the page "chapter 2 pumps"'),
    ],
)
def test_a_name_that_tells_something_is_one(source: str, phrase: str) -> None:
    assert topic_phrase(source) == phrase


def test_a_place_stands_before_a_question_that_ends_with_a_preposition() -> None:
    source = "huggingface/transformers/blob/main/docs/source/en/model_doc/led.md"
    assert name_library("What was LED proposed in?", source) == "In transformers, what was LED proposed in?"
    assert name_library("What does LED pad?", source) == "What does LED pad in transformers?"


def test_the_subject_of_a_page_is_its_first_heading_where_that_is_its_name() -> None:
    folder = "huggingface/transformers/blob/main/docs/source/en"
    assert page_subject(f"{folder}/model_doc/big_bird.md", "BigBird > Overview") == "BigBird"
    assert page_subject(f"{folder}/installation.md", "Installation") == ""
    assert page_subject(f"{folder}/model_doc/led.md", "How to run LED") == ""
    assert page_subject("books.jsonl:3", "Chapter 4") == ""
