"""llama.cpp's name of how a byte-level tokenizer.json cuts text before BPE.

The name is taken from the tokenizer's own splitting patterns, and an unknown one is refused: a wrong name gives other
tokens without any error. llama.cpp's own rules differ from some patterns in rare places (tekken and gpt-4o tell upper
and lower case by ASCII alone and take combining marks for no letters): the release gate compares the tokens.
"""

import json
from typing import Any

CONTRACTION = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
SUFFIX = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
CONTRACTIONS = CONTRACTION + r"|[^\r\n\p{L}\p{N}]?\p{L}+"
UPPER, LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
CASES = rf"[^\r\n\p{{L}}\p{{N}}]?{UPPER}*{LOWER}+", rf"[^\r\n\p{{L}}\p{{N}}]?{UPPER}+{LOWER}*"
SLASHES = r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
TEKKEN = "|".join(CASES) + r"|\p{N}" + SLASHES
O200K = "|".join(f"{case}{CONTRACTION}?" for case in CASES) + r"|\p{N}{1,3}" + SLASHES
MARKS = (
    CONTRACTION + r"|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|"
    r"\s*[\r\n]+|\s+(?!\S)|\s+"
)
DEEPSEEK_WORDS = (
    r"[!" + '"' + r"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+|"
    r" ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
PATTERNS: dict[tuple[str, ...], tuple[str, ...]] = {  # patterns of the Splits, in order -> llama.cpp's names
    (CONTRACTIONS + r"|\p{N}{1,3}" + SUFFIX,): ("llama-bpe", "dbrx"),
    (CONTRACTIONS + r"|\p{N}" + SUFFIX,): ("qwen2",),
    (MARKS,): ("qwen35",),
    (TEKKEN,): ("tekken",),
    (O200K,): ("gpt-4o",),
    (r"\p{N}{1,3}", "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+", DEEPSEEK_WORDS): ("deepseek-v3",),
}
IGNORE_MERGES = ("llama-bpe", "tekken")  # llama.cpp takes a whole word that is a token there, whatever its merges say


def pre_tokenizer_name(content: dict[str, Any]) -> str:
    """The name for a tokenizer.json.

    Raises:
        ValueError: no name is known for it.
    """
    found = steps(content["pre_tokenizer"], "pretokenizers")
    normalizers = [step["type"] for step in steps(content["normalizer"], "normalizers")]
    # llama.cpp has no NFC; texts that are in it already, as nearly all are, are cut alike.
    if set(normalizers) - {"NFC"}:
        raise ValueError(f"tokenizer.json: normalizer {normalizers}: llama.cpp reads text as it stands")
    if not found or found[-1]["type"] != "ByteLevel":
        raise ValueError(f"tokenizer.json: pre_tokenizer {[step['type'] for step in found]} is not byte-level BPE")
    if found[-1].get("add_prefix_space"):
        raise ValueError("tokenizer.json: add_prefix_space: llama.cpp puts no blank before byte-level BPE")
    before, regex = found[:-1], found[-1].get("use_regex", True)
    # Without merges every byte is a token, wherever the text is cut.
    if not content["model"]["merges"]:
        return "gpt-2"
    names: tuple[str, ...] = ()
    if regex and not before:
        names = ("gpt-2",)
    elif regex and [(step["type"], step.get("individual_digits")) for step in before] == [("Digits", True)]:
        names = ("command-r",) if "NFC" in normalizers else ("smollm",)  # two names of one pattern: Cohere's has NFC
    elif not regex and all(_cuts(step) for step in before):
        names = PATTERNS.get(tuple(map(_pattern, before)), ())
    if not names:
        known = ", ".join(["gpt-2", "smollm", "command-r", *(name for names in PATTERNS.values() for name in names)])
        raise ValueError(
            f"tokenizer.json: pre_tokenizer {json.dumps(found)}: no name of llama.cpp's is known for it; known are "
            f"{known} (lib/gguf/pre_tokenizers.py)"
        )
    ignores = bool(content["model"].get("ignore_merges"))
    alike = [name for name in names if (name in IGNORE_MERGES) == ignores]
    if alike:
        return alike[0]
    if not _merged(content):
        raise ValueError(
            f"tokenizer.json: ignore_merges is {ignores}, llama.cpp's {names[0]} has the opposite, and some tokens are "
            "not what the merges make of them: llama.cpp would cut text otherwise"
        )
    return names[0]


def steps(content: dict[str, Any] | None, inside: str) -> list[dict[str, Any]]:
    """The steps of a normalizer or pre_tokenizer of a tokenizer.json; `inside`: the key of a Sequence's own."""
    if content is None:
        return []
    return list(content[inside]) if content["type"] == "Sequence" else [content]


def _cuts(step: dict[str, Any]) -> bool:
    """Whether a step cuts at its pattern: isolated matches, or what the pattern matches and nothing else."""
    if step["type"] != "Split":
        return False
    return (step["behavior"], bool(step["invert"])) in (("Isolated", False), ("Removed", True))


def _pattern(step: dict[str, Any]) -> str:
    """A Split's pattern; some files hold line ends themselves, others their escapes."""
    return str(step["pattern"].get("Regex", "")).replace("\r", r"\r").replace("\n", r"\n")


def _merged(content: dict[str, Any]) -> bool:
    """Whether the merges make each token of the vocabulary: then it does not matter whether they are ignored."""
    from tokenizers import Tokenizer

    plain = content | {"model": content["model"] | {"ignore_merges": False}}
    model = Tokenizer.from_str(json.dumps(plain)).model
    added = {entry["content"] for entry in content["added_tokens"]}
    return all(len(model.tokenize(token)) == 1 for token in content["model"]["vocab"] if token not in added)
