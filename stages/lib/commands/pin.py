"""Prints the commit that a repository of the hub is at, as params.yaml wants it: `revision: 0123...`.

Run: python -m stages.lib.commands.pin ORG/NAME [--dataset] [--revision main]
"""

import argparse
import sys

from stages.lib.hub.errors import explained
from stages.lib.reading.pinning import BRANCH, newest


def main() -> None:
    """Asks the hub."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", help="ORG/NAME, with or without hub: before it")
    parser.add_argument("--dataset", action="store_true", help="a data set, not a model")
    parser.add_argument("--revision", default=BRANCH, help="branch or tag (default: main)")
    arguments = parser.parse_args()
    name, kind = arguments.name.removeprefix("hub:"), "dataset" if arguments.dataset else "model"
    with explained("pin", kind, name, arguments.revision):
        print(f"revision: {newest('dataset' if arguments.dataset else 'model', name, arguments.revision)}")


if __name__ == "__main__":
    try:
        main()
    except ValueError as error:
        sys.exit(str(error))
