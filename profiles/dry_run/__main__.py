"""Runs a profile's stages, chunk to rag, on a CPU with small sizes and random weights of its models' real shapes.

In a copy of the project, which goes afterwards; what a CPU cannot do is replaced by name and told in the table.
Run: python -m profiles.dry_run NAME [NAME ...] [--models FOLDER] [--keep FOLDER] [--only STAGE ...]
"""

import argparse
import sys
import tempfile
from pathlib import Path

from profiles.dry_run.graph import runs
from profiles.dry_run.project import copy_project, dry_params, used_entries
from profiles.dry_run.random_models import make_models, random_digests
from profiles.dry_run.running import Project, StageFailedError, table
from profiles.dry_run.serving import server_for


def dry_run(profile: str, place: Path, models: Path, only: list[str]) -> None:
    """One profile: makes its models, runs its stages, prints the table.

    Raises:
        ValueError: no such profile, or a model without a known configuration.
        StageFailedError: a stage ended as it should not.
    """
    copy_project(place)
    params, replaced = dry_params(profile)
    listed = runs(params)
    entries = used_entries(params, [name for run in listed for name in run.models])
    hub = [entry for entry in entries.values() if entry.source.startswith("hub:")]
    print(f"{profile}: {len(listed)} runs in {place}", *make_models(hub, models / "hub", models / "npm"), sep="\n")
    for name, entry in entries.items():
        if digests := random_digests(entry, models / "hub"):
            params["models"][name]["sha256"] = digests
            replaced.append(f"models.{name}.sha256: the random file's")
    outcomes = []
    try:
        with server_for(params, entries) as said:
            replaced += said
            project = Project(place, params, models / "hub")
            for run in listed:
                if only and run.stage not in only:
                    continue
                outcomes.append(project.go(run))
                print(f"  {run.title}: {outcomes[-1].ended.seconds:.0f} s", flush=True)
    finally:
        print(f"\nDry run of {profile}, no GPU; " + ("; ".join(replaced) or "nothing replaced but what a row says"))
        print(table(outcomes))


def main() -> None:
    """Parses the command line."""
    parser = argparse.ArgumentParser(prog="python -m profiles.dry_run", description=__doc__)
    parser.add_argument("profiles", nargs="+", metavar="NAME")
    parser.add_argument("--models", type=Path, help="where the random models stay for another run; they take 14 GB")
    parser.add_argument("--keep", type=Path, help="where the project's copies stay, one a profile")
    parser.add_argument("--only", nargs="+", default=[], metavar="STAGE", help="of a kept copy, these stages alone")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="llmill-dry-run-") as scratch:
        for profile in arguments.profiles:
            place = (arguments.keep or Path(scratch)).resolve() / profile
            models = (arguments.models or Path(scratch) / "models").resolve()
            dry_run(profile, place, models, arguments.only)


if __name__ == "__main__":
    try:
        main()
    except (ValueError, StageFailedError) as error:
        sys.exit(f"dry run: {error}")
