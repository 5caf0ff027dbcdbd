"""A chat template is called in one place, so that what is trained is what is asked."""

from pathlib import Path

ROOT = Path(__file__).parents[1]
HOME = "stages/lib/conversations/rendering.py"


def test_chat_templates_are_called_by_the_room_of_conversations_alone() -> None:
    files = [file for folder in ("stages", "app", "bench") for file in (ROOT / folder).rglob("*.py")]
    callers = [file for file in files if "apply_chat_template" in file.read_text(encoding="utf-8")]
    places = {str(file.relative_to(ROOT)) for file in callers}
    assert places == {HOME}
