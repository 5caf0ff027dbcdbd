"""Whether a text holds a value."""

import re

# Letters of scripts that write no blanks between words: what stands beside one is a word of its own
_UNSPACED = r"\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u30ff\u3400-\u9fff\uff66-\uff9f"


def holds(text: str, value: str) -> bool:
    """Whether a text holds a value as a word of its own, whatever its case; in scripts without blanks, anywhere."""
    before = "" if re.match(rf"[{_UNSPACED}]", value) else rf"(?<![^\W{_UNSPACED}])(?<!\.)"
    after = "" if re.search(rf"[{_UNSPACED}]$", value) else rf"(?![^\W{_UNSPACED}]|\.\d)"
    return bool(re.search(f"{before}{re.escape(value)}{after}", text, re.IGNORECASE))
