"""The one template of instructions: prompt `sep` answer `eot`, both parts without white space around them.

What is trained (stages/lib/instructions), asked (stages/lib/gpt/generate.py) and exported (the chat template of
stages/lib/gpt_export) is this. A checkpoint that was trained on it says so in its config.json.
"""

from stages.lib.tokens.tokenizers import Tokenizer

TEMPLATE = "prompt sep answer eot"  # as config.json names it


def prompt_text(*parts: str) -> str:
    """A system turn, an instruction, what it is about: as one prompt, a blank line between those with words."""
    return "\n\n".join(part.strip() for part in parts if part.strip())


def prompt_ids(tokenizer: Tokenizer, prompt: str) -> list[int]:
    """The ids of prompt `sep`: up to where the answer begins."""
    return [*tokenizer.encode(prompt).tolist(), tokenizer.sep]


def example_ids(tokenizer: Tokenizer, prompt: str, answer: str) -> list[int]:
    """The ids of prompt `sep` answer `eot`."""
    return [*prompt_ids(tokenizer, prompt), *tokenizer.encode(answer).tolist(), tokenizer.eot]
