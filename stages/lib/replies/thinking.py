"""What a model thinks before it answers, in the marks of each family, and where its answer begins.

With `<think>...</think>` think Qwen3, DeepSeek-R1, GLM and most others; `[THINK]` is Mistral's, `<seed:think>` Seed's,
`◁think▷` Kimi's, `<|channel>thought` Gemma 4's; gpt-oss writes an `analysis` channel before the `final` one (harmony).
The first mark is often absent: the chat template opened the thinking, or the server took the mark away.
"""

import json
import re

FINAL_CHANNEL = "<|channel|>final<|message|>"
HARMONY = ("<|channel|>", "<|message|>", "<|start|>", "<|end|>", "<|constrain|>")

MARKS = (
    ("<think>", "</think>"),
    ("<thinking>", "</thinking>"),
    ("<thought>", "</thought>"),
    ("<reasoning>", "</reasoning>"),
    ("<seed:think>", "</seed:think>"),
    ("<longcat_think>", "</longcat_think>"),
    ("<mm:think>", "</mm:think>"),
    ("[THINK]", "[/THINK]"),
    ("◁think▷", "◁/think▷"),
    ("<|START_THINKING|>", "<|END_THINKING|>"),
    ("<|begin_of_thought|>", "<|end_of_thought|>"),
    ("<|channel>thought", "<channel|>"),
    ("<unused94>", "<unused95>"),
)
_OPENING = re.compile(r"\s*(?:" + "|".join(re.escape(opening) for opening, _ in MARKS) + ")")
_CLOSING = re.compile("|".join(re.escape(closing) for _, closing in MARKS))
_QUOTES = {'"': '"', "'": "'", "`": "`", "“": "”", "„": "“", "«": "»"}
# What some families put around the answer that follows their thinking.
_WRAPPED = re.compile(
    r"\s*(?:<(?P<tag>answer|response|output|solution)>(?P<said>.*?)(?:</(?P=tag)>)?"
    r"|<\|(?:begin_of_solution|START_RESPONSE|begin_of_box)\|>(?P<part>.*?)"
    r"(?:<\|(?:end_of_solution|END_RESPONSE|end_of_box)\|>)?)\s*",
    re.DOTALL,
)
_IN_WORDS = re.compile(  # Granite
    r"\s*Here(?:'s| is) my thought process:.*?(?P<answer>Here(?:'s| is) my response:(?P<said>.*))?", re.DOTALL
)
_BARE_CHANNELS = re.compile(r"\s*analysis\S.*assistant(?:\s*<\|channel\|>)?final(?P<said>.*)", re.DOTALL)
_BARE_BEGINS = re.compile(r"\s*analysis[^\s\W]")
_BEGINNINGS = ("Here is my thought process:", "Here's my thought process:", "analysis")
_UNFINISHED = re.compile(  # a mark that may go on, and one behind a quotation mark, which the next character decides
    r"(?:(?<=[\"'`“„«])(?:" + _CLOSING.pattern + r")|[<◁\[](?!\s)[^<>\[\]◁▷\n]{0,30}|<\|channel\|>[^<>]{0,40}"
    r"|<\|channel>[a-z]{0,6}|(?:<\|(?:end|return|call)\|>)+\s*(?:<\|start\|>\w{0,10})?)\Z"
)
_ANY_MARK = re.compile(
    "|".join(re.escape(mark) for pair in MARKS for mark in pair)
    + r"|<\|start\|>\w*|<\|channel\|>\s*(?:analysis|commentary|final)\b[^<]*"
    + r"|<\|(?:message|end|return|call|constrain)\|>"
)
_FINAL = re.compile(r"<\|channel\|>\s*final\b[^<]*(?:<\|constrain\|>[^<]*)?<\|message\|>")
_HARMONY_BEGINS = re.compile(r"\s*<\|(?:channel|start)\|>")
_HARMONY_ENDS = re.compile(
    r"(?:<\|(?:end|return|call)\|>)*\s*(?:<\|start\|>(?:assistant|user|system|developer|tool|functions)\b.*)?\Z",
    re.DOTALL,
)


def after_thinking(text: str, opened: bool = False) -> str:
    """The answer of a reply: what follows the last closing mark that is no quotation; empty if thinking was not closed.

    A mark within a JSON string or within quotation marks is the answer's own. `opened`: the thinking began before the
    reply, so that without a closing mark there is no answer.
    """
    if _HARMONY_BEGINS.match(text):
        return final_channel(text)
    if match := _BARE_CHANNELS.fullmatch(text):
        return match["said"].lstrip()
    if (match := _IN_WORDS.fullmatch(text)) and match["answer"] is not None:
        return match["said"].lstrip()
    closing = [match.end() for match in _CLOSING.finditer(text) if not _is_quoted(text, match)]
    answer = text[closing[-1] :].lstrip() if closing else text
    if _OPENING.match(answer) or (opened and not closing):
        return ""
    wrapped = _WRAPPED.fullmatch(answer) if closing else None
    return (wrapped["said"] or wrapped["part"] or "").strip() if wrapped else answer


def visible(text: str, thinking: bool, template: str | None = None) -> str:
    """The reply without the thinking before it; empty when the thinking never ended.

    `thinking`: whether the model was let think; `template`: its chat template, which shows the marks that it writes
    (None: not known, as with a server). `text` holds special tokens where the model writes such marks.
    """
    if template is not None and "<|channel|>" in template:
        return final_channel(text) if "<|channel|>" in text else without_harmony_end(text)
    if template is None and text.rstrip().endswith("<|return|>") and "<|channel|>" not in text:  # harmony's own end
        text = without_harmony_end(text)
    if thinking or template is None or has_closing_mark(template):
        return after_thinking(text, opened=thinking)
    return text


def answer_so_far(text: str, opened: bool = False) -> str:
    """The answer of a reply that is still being written, as far as it can be told; `opened` as in `after_thinking`."""
    begun = _IN_WORDS.fullmatch(text)
    if (begun and begun["answer"] is None) or (_BARE_BEGINS.match(text) and not _BARE_CHANNELS.fullmatch(text)):
        return ""
    thinks = opened or _OPENING.match(text) or _HARMONY_BEGINS.match(text)
    if not thinks and text.lstrip().startswith("{"):  # a mark in JSON is the answer's own; its end will tell
        return text
    return after_thinking(text, opened)


def undecided(text: str) -> int:
    """How many of the last characters of a reply that is being written may become a mark with what follows them."""
    tail = _UNFINISHED.search(text)
    begins = text.lstrip()
    if begins and any(words.startswith(begins) for words in _BEGINNINGS):
        return len(text)
    return len(text) - tail.start() if tail else 0


def thought_in(text: str, answer: str) -> str:
    """What of a reply is not its answer, without the marks."""
    before = text[: text.rindex(answer)] if answer else text
    return _ANY_MARK.sub("", before).lstrip()


def opened_by(prompt: str) -> bool:
    """Whether a prompt ends within a thinking that it began, as templates of models do that always think."""
    return any(prompt.rstrip().endswith(opening) for opening, _ in MARKS)


def has_closing_mark(text: str) -> bool:
    """Whether a chat template or a reply holds the end of a thinking."""
    return _CLOSING.search(text) is not None


def marks_in(template: str) -> list[str]:
    """The marks of thinking that a chat template holds; all of harmony's where it is one of its kind."""
    harmony = HARMONY if HARMONY[0] in template else ()
    return [*(mark for pair in MARKS for mark in pair if mark in template), *harmony]


def final_channel(text: str) -> str:
    """The last final message of a harmony reply, without the marks of its end; empty if there is none."""
    begins = list(_FINAL.finditer(text))
    return without_harmony_end(text[begins[-1].end() :]) if begins else ""


def without_harmony_end(text: str) -> str:
    """The text up to the mark that ends it, and what a model writes after that; a mark within it stays."""
    match = _HARMONY_ENDS.search(text)
    assert match is not None  # it matches at the end at least
    return text[: match.start()]


def _is_quoted(text: str, mark: re.Match[str]) -> bool:
    before, after = text[: mark.start()][-1:], text[mark.end() :][:1]
    return (before in _QUOTES and _QUOTES[before] == after) or _is_in_json(text, mark.start())


def _is_in_json(text: str, place: int) -> bool:
    """Whether the place is within a JSON object: one that can be read, or one opened before and closed after."""
    decoder = json.JSONDecoder(strict=False)
    start = text.find("{")
    while 0 <= start < place:
        try:
            _, end = decoder.raw_decode(text, start)
        except (json.JSONDecodeError, RecursionError):
            end = start + 1
        if end > place:
            return True
        start = text.find("{", end)
    before, after = text[:place], text[place:]
    return before.count("{") > before.count("}") and after.count("}") > after.count("{")
