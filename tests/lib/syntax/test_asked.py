"""Sentences of documentation, textbooks and histories, and the questions that their parse allows."""

import pytest

from stages.lib.syntax.asked import questions, subject_of
from stages.lib.syntax.parser import parsed
from stages.lib.syntax.plain_text import masked, unmasked


def asked(text: str, named: str = "") -> dict[str, str]:
    """Question -> kind, of one sentence."""
    plain, names = masked(text)
    (document,) = parsed([plain])
    (sentence,) = document.sents
    return {unmasked(one.text, names): one.kind for one in questions(sentence, named)}


@pytest.mark.parametrize(
    ("sentence", "question", "kind"),
    [
        (
            "Anterograde amnesia is commonly caused by brain trauma.",
            "What is Anterograde amnesia commonly caused by",
            "name",
        ),
        (
            "Thomas Edison received the patent for the light bulb in 1880.",
            "When did Thomas Edison receive the patent for the light bulb",
            "time",
        ),
        ("Quantization is a technique to reduce the memory costs of inference.", "What is Quantization", "definition"),
        ("MagicMix is a pipeline that can mix an image and a text prompt.", "What is MagicMix", "definition"),
        (
            "Explicit memory is divided into episodic memory and semantic memory.",
            "What is explicit memory divided into",
            "complement",
        ),
        (
            "The Hohokam built an irrigation system to irrigate the desert.",
            "Why did the Hohokam build an irrigation system",
            "purpose",
        ),
        (
            "WebDatasets are loaded in streaming mode because of their size.",
            "Why are WebDatasets loaded in streaming mode",
            "cause",
        ),
        (
            "If a pregnant person consumes alcohol, the infant may be born with defects.",
            "What happens if a pregnant person consumes alcohol",
            "condition",
        ),
        ("BERTScore takes 3 mandatory arguments.", "How many mandatory arguments does BERTScore take", "number"),
        (
            "To monitor training progress, add the flag to the training command.",
            "How do you monitor training progress",
            "instruction",
        ),
        ("Use `Trainer.train` to finetune a large model.", "How do you finetune a large model", "instruction"),
        (
            "Training statistics can be accessed on the project's server.",
            "Where can training statistics be accessed",
            "place",
        ),
        ("Pavlov demonstrated that fears can be conditioned.", "What did Pavlov demonstrate", "statement"),
        (
            "The `HfApi` class allows you to retrieve Discussions and Pull Requests.",
            "What does the HfApi class allow you to do",
            "effect",
        ),
        ("The replacement is rolled back when the callback fails.", "When is the replacement rolled back", "condition"),
        ("Heroin produces intense feelings of euphoria.", "What does Heroin produce", "effect"),
        ("We show that BigBird is a universal approximator of sequence functions.", "What is BigBird", "definition"),
        ("One can use `AutoProcessor` to prepare images.", "How can you prepare images", "instruction"),
        ("The `size` flag controls how many examples are loaded.", "What does the size flag control", "object"),
        (
            "The Transformer model is trained in 2 stages.",
            "In how many stages is the Transformer model trained",
            "number",
        ),
        (
            "Instead of passing a plugin you can pass a number of steps.",
            "What can you do instead of passing a plugin",
            "instruction",
        ),
        (
            "To get a single tensor, you must use the `Array` feature type.",
            "How do you get a single tensor",
            "instruction",
        ),
    ],
)
def test_what_a_sentence_answers(sentence: str, question: str, kind: str) -> None:
    assert asked(sentence).get(question) == kind, asked(sentence)


@pytest.mark.parametrize(
    "sentence",
    [
        "This is useful for improving the quality of images.",
        "It was later extended by the authors of the paper.",
        "We show the results in the following table.",
        "The first author was born in the same year.",
        "Avoid assumptions: people experience health differently.",
        "Panic attacks themselves are not disorders.",
        "What a great day it was in New York!",
        "Follow the instructions below to set up your environment.",
        "Some 85 percent were enslaved people of the South.",
        "Thomas and Chess found temperaments as you learned in class.",
    ],
)
def test_what_leans_on_its_neighbours_is_not_asked(sentence: str) -> None:
    assert asked(sentence) == {}


def test_a_pronoun_is_named_by_the_sentence_before() -> None:
    (before, after) = parsed(
        ["Albumentations is a Python library for data augmentation.", "It supports image classification."]
    )
    named = subject_of(next(before.sents))
    assert named == "Albumentations"
    assert questions(next(after.sents), named)[0].text == "What does Albumentations support"


def test_the_opening_ends_with_the_subject() -> None:
    (document,) = parsed(["Thomas Edison received the patent for the light bulb in 1880."])
    heads = {one.text: one.head for one in questions(next(document.sents))}
    assert heads["When did Thomas Edison receive the patent for the light bulb"] == "When did Thomas Edison"
    assert all(text.startswith(head) for text, head in heads.items())


def test_code_is_read_as_a_name_and_comes_back() -> None:
    plain, names = masked("Then call `torch.save()` (see above) with my_file.pt: it writes.")
    assert plain == "You should call Name1 with Name2." and names == ["torch.save()", "my_file.pt"]
    assert unmasked("What does Name2 of Name1 do in Name7", names) == "What does my_file.pt of torch.save() do in Name7"


@pytest.mark.parametrize(
    ("sentence", "vague"),
    [
        ("The realtor may be challenging your bias towards prices.", True),
        ("The children broke the dolls after an exam of an hour.", True),
        ("A clinic produces reports of brain injuries.", False),
        ("The Union built railroads for the army.", False),
    ],
)
def test_people_and_things_of_a_story_need_their_text(sentence: str, vague: bool) -> None:
    (document,) = parsed([sentence])
    found = questions(next(document.sents))
    assert found and found[0].vague == vague, found


@pytest.mark.parametrize(
    "sentence",
    [
        "Other additions deepen the descriptions of discrimination in the South.",
        "His enterprise was running an annual profit in excess of $40 million.",
        "Both groups withdrew into communities in which their language could survive.",
        "No longer did the pace of economic life slow substantially at sunset.",
        "Reflective of the discipline's diversity is the diversity seen within the American Psychological Association.",
        "Heart disease is one such condition.",
        "Interest was further fueled by longitudinal studies on social connectedness.",
        "We equip BERT with this mixed attention design.",
        "You will work closely with Patrick to integrate BigBird.",
        "Hall went on to work under James.",
        "Germany and Italy formalized their alliance in May of the next year.",
        "Each block consists of attention and Mix-FFN layers.",
        "The helper function below uses a seed to initialize a random number generator.",
        "The safety checklist shown in was developed by the World Health Organization.",
        "The first line should be the type of the return, followed by a line return.",
        "By pretraining on text, GPT-2 became good at generating text, even if the text is only sometimes true.",
        "There are two types of dataset objects, a Dataset and an IterableDataset.",
    ],
)
def test_what_hangs_on_what_was_said_before_is_not_asked(sentence: str) -> None:
    assert asked(sentence) == {}


@pytest.mark.parametrize(
    ("sentence", "question"),
    [
        ("Customer service and commerce: VQA can enhance user experience by letting users ask about products.",
         "How can VQA enhance user experience"),
        ("Surprisingly, narcoleptic episodes are triggered by states of heightened arousal.",
         "What are narcoleptic episodes triggered by"),
        ("Community Impact Guidelines were inspired by Mozilla's code of conduct.",
         "What were Community Impact Guidelines inspired by"),
        ("Posig & Kickul (2004) identify corporations with policies designed to reduce conflict.",
         "Who identifies corporations with policies designed to reduce conflict"),
        ("The Klan terrorized newly freed people to deter them from exercising their freedoms.",
         "Who did the Klan terrorize to deter them from exercising their freedoms"),
        ("Retrograde amnesia is loss of memory for events that occurred prior to the trauma.",
         "What is Retrograde amnesia"),
        ("When people experience immunosuppression, they become susceptible to any number of infections.",
         "What happens when people experience immunosuppression"),
        ("Columbus would have no way of knowing when he had reached his goal on the other side.",
         "Who would have no way of knowing when he had reached his goal on the other side"),
    ],
)  # fmt: skip
def test_what_stands_before_a_clause_spoils_no_question(sentence: str, question: str) -> None:
    assert question in asked(sentence), asked(sentence)


@pytest.mark.parametrize(
    ("subject", "verb", "vague"),
    [("The act", "created the National Labor Relations Board", True), ("The NLRA", "created the Board", False)],
)
def test_the_act_alone_is_of_its_text(subject: str, verb: str, vague: bool) -> None:
    (document,) = parsed([f"{subject} {verb} to protect the right of workers to unionize."])
    found = questions(next(document.sents))
    assert found and found[0].vague == vague, found


@pytest.mark.parametrize("sentence", ["The [Spanish] believed that peoples would work.", "[Models] hold weights."])
def test_a_subject_in_brackets_ends_nothing(sentence: str) -> None:
    assert asked(sentence) == {}
