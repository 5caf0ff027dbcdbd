"""Flags of command lines, packages that they install, entries of configurations: read off their lines."""

import re
from collections.abc import Iterator

from stages.lib.code_settings.setting import Setting, tells

_RUN = re.compile(r"^\s*(?:[$!%] ?)?\w[\w.-]*")
_SCRIPT = re.compile(r"[\w.-]+\.(?:py|sh)\b")
# One blank before the value: more stand before a flag's description in the help of a command
_FLAG = re.compile(r"(?<!\S)--?(?P<name>[A-Za-z][\w-]+)[= ](?P<value>[^\s\\\-\"'`][^\s\\\"'`]*|\"[^\"\n]+\")")
# The packages of one line; what comes from a file, a folder or an address is another matter
_PACKAGE = r"['\"]?[A-Za-z][\w.\[\],=<>-]*['\"]?"
_INSTALL = re.compile(
    r"^\s*(?:[$!%] ?)?(?:sudo )?(?P<tool>pip3?|conda|npm|apt-get|apt|brew|cargo) install(?: -[qUy]\b| --\w[\w-]*)* "
    rf"(?P<packages>{_PACKAGE}(?: {_PACKAGE})*)\s*$"
)
# `"key": 5,` of JSON or a dict; `some_key: 5` of YAML
_ENTRY = re.compile(
    r"^\s*(?:\"(?P<quoted>[A-Za-z_][\w.-]*)\"\s*:\s*(?P<any>\"[^\"\n]+\"|-?\d[\w.+-]*)"
    r"|(?P<bare>[a-z]+_[a-z_]+)\s*:\s*(?P<number>-?\d[\w.+-]*))\s*,?\s*$"
)
_NUMBER = re.compile(r"-?\d[\w.+-]*")


def command_settings(text: str) -> Iterator[Setting]:
    """The flags with a value and the packages of a text's command lines, in reading order."""
    owner, continued = "", False
    for match in re.finditer(r"[^\n]+", text):
        line = match[0]
        goes_on = continued or line.lstrip().startswith("--")
        script = _SCRIPT.search(line.partition("--")[0])
        if script or not goes_on:
            owner = script[0] if script else ""
        if goes_on or (_RUN.match(line) and (owner or line.lstrip()[:1] in "$!%" or line.rstrip().endswith("\\"))):
            for flag in _FLAG.finditer(line):
                value = flag["value"].strip('"')
                if (tells(value) or value.isdigit()) and "$" not in value:
                    place = match.start() + flag.start(), match.start() + flag.end()
                    yield Setting("flag", flag["name"], owner, value, *place)
        if (install := _INSTALL.match(line)) and not continued:
            place = match.start() + install.start("packages"), match.start() + install.end("packages")
            yield Setting("installed", "", install["tool"], re.sub(r"['\"]", "", install["packages"]), *place)
        continued = line.rstrip().endswith("\\")


def entry_settings(text: str) -> Iterator[Setting]:
    """The lines of a text that give a key of a configuration its value, in reading order."""
    for match in re.finditer(r"[^\n]+", text):
        if entry := _ENTRY.match(match[0]):
            name, value = entry["quoted"] or entry["bare"], (entry["any"] or entry["number"]).strip('"')
            if value != "auto" and (tells(value) or _NUMBER.fullmatch(value)):
                start = match.start() + len(match[0]) - len(match[0].lstrip())
                yield Setting("entry", name, "", value, start, match.start() + len(match[0].rstrip(" ,\t")))
