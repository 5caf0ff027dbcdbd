"""A branch of a repository -> the commit that it is."""

import sys
from functools import cache
from typing import Literal

from stages.lib.hub.errors import explained
from stages.lib.hub.repository import COMMIT
from stages.lib.hub.transfer import patiently

BRANCH = "main"  # the one name that stands for a commit


@cache
def commit_of(kind: Literal["model", "dataset"], name: str, revision: str, key: str) -> str:
    """The commit of a revision. `main` is what it was when this machine first asked, as the hub's cache has kept it.

    Raises:
        HubError: no such repository or branch, no access, no network.
    """
    if COMMIT.fullmatch(revision):
        return revision
    from huggingface_hub import HfApi
    from huggingface_hub.errors import RevisionResolutionError

    with explained(key, kind, name, revision):
        try:
            kept = HfApi().resolve_revision(name, repo_type=kind, revision=revision, local_files_only=True)
            return str(kept.resolved)
        except RevisionResolutionError:
            pass
        commit = newest(kind, name, revision)
    option = "--dataset " if kind == "dataset" else ""
    print(
        f"{key}.revision: {revision} of {name} is {commit} now, and stays that on this machine; write it there, so "
        f"that it is the same on every one (python -m stages.lib.commands.pin {option}{name})",
        file=sys.stderr,
    )
    return commit


def newest(kind: Literal["model", "dataset"], name: str, revision: str = BRANCH) -> str:
    """The commit that a branch is now, by the hub; kept in the cache, too.

    Raises:
        HfHubHTTPError, RevisionResolutionError, httpx.TransportError: see `explained`.
    """
    from huggingface_hub import HfApi

    return str(patiently(lambda: HfApi().resolve_revision(name, repo_type=kind, revision=revision).resolved))
