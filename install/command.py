"""`python -m install`: reads what is asked for, and runs one installation."""

import argparse
import shutil
import sys
from pathlib import Path
from typing import get_args

from install.advice import AGAIN
from install.installation import Installation, InstallationError
from install.plan import Torch
from install.tools import Tool, uv_of_the_user, ways

WORK = Path(".cache/install")  # the plan, the log, and what a tool loads before it installs


def read_arguments(arguments: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m install", description="Makes or completes the environment.")
    parser.add_argument("extras", nargs="*", help="of pyproject.toml, beside its dependencies")
    parser.add_argument("--with", dest="more", action="append", default=[], help="a requirement beside the extras")
    parser.add_argument("--without", action="append", default=[], help="a package of the plan that is not brought")
    parser.add_argument("--venv", type=Path, default=Path(".venv"))
    parser.add_argument("--torch", choices=["", *get_args(Torch)], default="", help="default: as it is there, else cpu")
    parser.add_argument("--installer", choices=["", *get_args(Tool)], default="", help="default: uv where it is")
    return parser.parse_args(arguments)


def run(arguments: list[str]) -> int:
    """One installation; the exit status, after a message that says what to do."""
    asked = read_arguments(arguments)
    choice = asked.venv / "llmill-torch"  # so that a changed pin does not swap a card's build for the CPU's
    kept = choice.read_text(encoding="utf-8").strip() if choice.is_file() else ""
    torch: Torch = asked.torch or ("cuda" if kept == "cuda" else "cpu")
    uv = "" if asked.installer == "pip" else uv_of_the_user(asked.venv)
    try:
        if asked.installer == "uv" and not uv:
            raise InstallationError("INSTALLER=uv: no uv on PATH that starts")
        shutil.rmtree(WORK, ignore_errors=True)
        WORK.mkdir(parents=True)
        installation = Installation(asked.venv, asked.extras, torch, WORK, more=asked.more, without=asked.without)
        way, packages = installation.choose(ways(asked.venv, uv, torch == "cuda", asked.installer == "uv"))
        installation.bring(way, packages)
        choice.write_text(f"{torch}\n", encoding="utf-8")
        shutil.rmtree(WORK)
    except KeyboardInterrupt:
        print(f"install: interrupted. {AGAIN}", file=sys.stderr)
        return 130
    except (InstallationError, ValueError, OSError) as error:
        print(f"install: {error}", file=sys.stderr)
        return 1
    return 0
