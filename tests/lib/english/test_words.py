from stages.lib.english.words import content_words, normalised, stem


def test_words_without_content_are_left_out() -> None:
    assert content_words("What is the default of it?") == {"default"}


def test_forms_of_a_word_meet() -> None:
    assert stem("layers") == stem("layer") and stem("applied") == stem("apply") == stem("applies")
    assert stem("saving") == stem("saves") and stem("stopped") == stem("stop")
    assert stem("save") == stem("saves") and stem("use") == stem("uses")
    assert stem("class") == "class" and stem("bus") == "bus"


def test_names_count_whole_and_by_their_parts() -> None:
    assert {"max_length", "max", "length"} <= content_words("`max_length`")


def test_normalised_texts_differ_in_more_than_form() -> None:
    assert normalised("What's  the `Default`?") == normalised("what s the default") != normalised("whats the default")
