import pytest

from stages.lib.syntax.terms import question_of_heading, question_of_origin, question_of_term


@pytest.mark.parametrize(
    ("sentence", "question"),
    [
        (
            "You will have difficulty seeing in dim light, a condition known as night blindness.",
            "How is night blindness defined",
        ),
        ("Weights that are stored in four bits are called quantized weights.", "How are quantized weights defined"),
        ("A parasomnia is one of a group of sleep disorders.", "What is a parasomnia"),
        ("A dependent variable is what the researcher measures.", "What is a dependent variable"),
        ("An example of a fixed schedule is hourly pay.", "What is an example of a fixed schedule"),
        ("Sleepwalking, and night terrors are all examples of parasomnias (2000).", "What are examples of parasomnias"),
        ("This perspective has come to be known as the cognitive revolution.", ""),  # of the sentence before
        ("The files are called concepts.", ""),  # too little said before it is named
        ("It is important that a head layer can be called in its forward pass.", ""),
        ("An example of a cue would be what is known as linear perspective.", ""),
        ("All approaches of this chapter are part of a tradition, called behaviorism.", ""),
        ("", ""),
    ],
)  # fmt: skip
def test_a_term_that_a_sentence_names_is_asked_for(sentence: str, question: str) -> None:
    assert question_of_term(sentence) == question


@pytest.mark.parametrize(
    ("before", "sentence", "question"),
    [
        ("### sampling rate\n\n", "A measurement in hertz of the number of samples.", "How is sampling rate defined"),
        ("# A\n## recurrent network\n", "A type of model that is run in a loop.", "How is recurrent network defined"),
        ("### Training\n\n", "A model of this kind is trained for days.", ""),  # it states something
        ("### sampling rate\n\nA text.\n", "A measurement in hertz of samples.", ""),  # not below the heading
        ("", "A type of model that loops.", ""),
    ],
)
def test_an_entry_of_a_glossary_is_asked_for(before: str, sentence: str, question: str) -> None:
    assert question_of_heading(before, sentence) == question


@pytest.mark.parametrize(
    ("sentence", "question"),
    [
        (
            "The ConvBERT model was proposed in ConvBERT: BERT with Spans by Jiang Z.",
            "Who proposed the ConvBERT model",
        ),
        ("Averages were introduced in the paper Acceleration of Averages by B. Polyak.", "Who introduced Averages"),
        ("The tax was introduced in Germany in a hard winter by the government.", ""),
        ("It was proposed in Deep Networks for All People by Jane Doe.", ""),
    ],
)
def test_the_authors_of_a_work_are_asked_for(sentence: str, question: str) -> None:
    assert question_of_origin(sentence) == question
