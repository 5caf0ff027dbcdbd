"""All settings of a text's code."""

from collections import defaultdict

from stages.lib.code_settings.commands import command_settings, entry_settings
from stages.lib.code_settings.python_code import python_settings
from stages.lib.code_settings.setting import Setting


def code_settings(text: str) -> list[Setting]:
    """What a text's code sets, in reading order, each once; a name that gets two values is left out."""
    read = dict.fromkeys([*python_settings(text), *command_settings(text), *entry_settings(text)])
    found = sorted(read, key=lambda one: (one.start, one.end))  # stable: the same order in every run
    values = defaultdict(set)
    for one in found:
        values[one.kind, one.name, one.owner].add(one.value)
    first: dict[tuple[str, str, str], Setting] = {}
    for one in found:
        if len(values[one.kind, one.name, one.owner]) == 1:
            first.setdefault((one.kind, one.name, one.owner), one)
    return [*first.values()]
