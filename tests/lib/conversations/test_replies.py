from stages.lib.conversations.replies import decode_after, reply_text
from tests import families


def test_new_tokens_are_decoded_behind_the_prompts_last_ones() -> None:
    class DropsLeadingBlank:
        def decode(self, ids: list[int], skip_special_tokens: bool, clean_up_tokenization_spaces: bool) -> str:
            assert not clean_up_tokenization_spaces
            words = {1: " a", 2: " b", 3: "" if skip_special_tokens else "<end>"}
            return "".join(words[i] for i in ids).lstrip()

    assert decode_after(DropsLeadingBlank(), [2, 2, 2, 1, 1], [2, 3]) == " b"
    assert decode_after(DropsLeadingBlank(), [1], [2, 3], keep_special=True) == " b<end>"
    assert decode_after(DropsLeadingBlank(), [], [2]) == "b"


def test_what_was_thought_is_no_part_of_a_reply() -> None:
    qwen = families.tokenizer("qwen3")
    prompt = qwen.encode("<|im_start|>assistant\n")
    for written, thinking, said in (
        ("<think>\nhm\n</think>\n\nRome.<|im_end|>", True, "Rome."),
        ("<think>\nhm, and hm", True, ""),
        ("Rome.<|im_end|>", False, "Rome."),
        ("The mark `</think>` ends it.", False, "The mark `</think>` ends it."),
    ):
        assert reply_text(qwen, prompt, qwen.encode(written), thinking) == said
    harmony = families.tokenizer("gpt_oss")
    written = "<|channel|>analysis<|message|>hm<|end|><|start|>assistant<|channel|>final<|message|>Rome.<|return|>"
    assert reply_text(harmony, harmony.encode("<|start|>assistant"), harmony.encode(written), True) == "Rome."
    assert reply_text(harmony, [], harmony.encode("Rome.<|return|>"), False) == "Rome."
