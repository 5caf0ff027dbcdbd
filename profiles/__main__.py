"""Lays profiles/NAME.yaml over params.yaml in place: `git diff` shows what it means, `git checkout` takes it back.

KEY=VALUE after the name changes one more value: python -m profiles server domain="tenancy law"
Run: python -m profiles NAME [KEY=VALUE ...] | --list | --check
"""

import argparse
import copy
import sys
from pathlib import Path

from profiles.overlay import (
    check_params,
    committed_text,
    lay_over,
    overlaid_text,
    profile_names,
    read_profile,
    refuse_a_mixture,
    set_value,
)
from stages.lib.core.params import PARAMS_FILE, parse_yaml, read_yaml
from stages.lib.core.records import write_text


def main() -> None:
    """Applies, lists or checks profiles."""
    parser = argparse.ArgumentParser(prog="python -m profiles", description=__doc__)
    parser.add_argument("name", nargs="?", help="the profile to lay over params.yaml")
    parser.add_argument("changes", nargs="*", metavar="KEY=VALUE", help="one more value, by its dotted name")
    parser.add_argument("--list", action="store_true", help="name the profiles and what each changes")
    parser.add_argument("--check", action="store_true", help="load every profile against every stage's Params")
    arguments = parser.parse_args()
    if arguments.check:
        check_params(read_yaml(PARAMS_FILE), where=str(PARAMS_FILE))
        print(f"{PARAMS_FILE}: loads")
    if arguments.list or arguments.check:
        for name in profile_names():
            params = copy.deepcopy(read_yaml(PARAMS_FILE))
            changes = lay_over(params, read_profile(name))
            if arguments.check:
                check_params(params, where=f"profile {name}")
            print(f"{name}: {len(changes)} changes to params.yaml{', loads' if arguments.check else ''}")
            if arguments.list:
                print("".join(f"  {change}\n" for change in changes), end="")
    elif arguments.name:
        before = PARAMS_FILE.read_text(encoding="utf-8")
        profile = read_profile(arguments.name)
        for change in arguments.changes:
            set_value(profile, change)
        text, changes = overlaid_text(before, profile)
        check_params(parse_yaml(text, PARAMS_FILE), where=f"profile {arguments.name}")
        refuse_a_mixture(arguments.name, before, committed_text(Path()))
        if changes:
            write_text(PARAMS_FILE, text)
            print("\n".join(changes) + f"\nThe way back: git checkout {PARAMS_FILE}")
        else:
            print(f"{PARAMS_FILE} already is {arguments.name}")
    else:
        parser.error("name a profile, or --list or --check")


if __name__ == "__main__":
    try:
        main()
    except ValueError as error:
        sys.exit(f"profiles: {error}")
