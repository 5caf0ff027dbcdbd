"""Shows a DVC remote in a bucket, on a real S3 server that ends with it: push, a fresh clone, pull, a wrong secret.

Run: python -m bench.remote_demo [STAGE ...]   (default: chunk)

Two clones of this checkout's HEAD in a temporary folder stand for two people. The stages run in the first one, with
what they need, unless they are cached there; the second pulls what they wrote. Each command is printed before it runs.
"""

import argparse
import hashlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from bench.seaweedfs import SeaweedFS
from stages.lib.commands.check_remote import read_remote

ROOT = Path(__file__).resolve().parents[1]
BUCKET, PREFIX = "team", "llmill"


def tell(text: str) -> None:
    """What happens next."""
    print(f"\n# {text}", flush=True)


def run(place: Path, environment: dict[str, str], *command: str, fails: bool = False) -> str:
    """Prints a command, runs it and prints what it says, without progress bars.

    Raises:
        SystemExit: it failed, or with `fails` it did not.
    """
    print(f"{place.name}$ {' '.join(command)}", flush=True)
    done = subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True, check=False)
    said = done.stdout + (done.stderr if done.returncode else "")
    for line in filter(str.strip, said.splitlines()):
        print(f"  {line}", flush=True)
    if bool(done.returncode) != fails:
        sys.exit(f"remote-demo: exit status {done.returncode}")
    return done.stdout


def hashes(place: Path, paths: Sequence[str]) -> dict[str, str]:
    """MD5 by path of the files at or under some paths."""
    files = [
        file for path in paths for file in ([place / path] if (place / path).is_file() else (place / path).rglob("*"))
    ]
    return {
        str(file.relative_to(place)): hashlib.md5(file.read_bytes(), usedforsecurity=False).hexdigest()
        for file in files
        if file.is_file()
    }


def show(server: SeaweedFS, stages: Sequence[str], place: Path) -> None:
    """The two people's work from first to last."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    ours = server.environment() | {"PATH": path, "DVC_NO_ANALYTICS": "1"}
    ann, bob = place / "ann", place / "bob"
    client = server.client()
    client.create_bucket(Bucket=BUCKET)
    tell("Ann sets the remote up: this goes into git. The credentials are in her environment, and nowhere else.")
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(ann)], check=True)
    run(ann, ours, "dvc", "remote", "add", "--default", "store", f"s3://{BUCKET}/{PREFIX}")
    run(ann, ours, "dvc", "remote", "modify", "store", "endpointurl", server.url)
    run(ann, ours, "dvc", "remote", "modify", "store", "verify", "true")
    tell("She runs the graph as far as she wants to show it, and commits what it was (dvc.lock).")
    run(ann, ours, "dvc", "repro", *stages)
    identity = ["-c", "user.name=Ann", "-c", "user.email=ann@localhost"]
    run(ann, ours, "git", *identity, "commit", "--quiet", "--all", "--message", "A remote for the team")
    tell("What is not in the bucket yet, the push, and again.")
    run(ann, ours, "dvc", "status", "--cloud", *stages)
    run(ann, ours, "dvc", "push", *stages)
    run(ann, ours, "dvc", "status", "--cloud", *stages)
    tell("The bucket, read byte by byte without DVC:")
    contents = read_remote(client, BUCKET, PREFIX, read=True)
    print(f"  {contents.told()}")
    tell("Bob clones. With the wrong secret he gets nothing, and reads why:")
    run(place, ours, "git", "clone", "--quiet", "ann", "bob")
    run(bob, ours | {"AWS_SECRET_ACCESS_KEY": "wrong"}, "dvc", "pull", *stages, fails=True)
    tell("With the right one he gets what Ann made, and nothing runs at his place.")
    run(bob, ours, "dvc", "pull", *stages)
    said = run(bob, ours, "dvc", "repro", "--pull", "--allow-missing", *stages)
    outs = [file for file in ("data", "models") if (bob / file).exists()]
    pulled, made = hashes(bob, outs), hashes(ann, outs)
    same = bool(pulled) and all(made.get(name) == digest for name, digest in pulled.items())
    tell(f"{len(pulled)} files at Bob's, {'each the same bytes as' if same else 'NOT the same as'} Ann's.")
    if not (same and contents.sound and "Running stage" not in said):
        sys.exit("remote-demo: this should not have happened")


def main() -> None:
    """The whole show."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stages", nargs="*", default=["chunk"], help="of dvc.yaml")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        with SeaweedFS(Path(place) / "seaweedfs") as server:
            print(f"# SeaweedFS answers at {server.url}: an S3 server on this machine, which wants credentials.")
            show(server, args.stages, Path(place))
        tell("The server has ended, and its folder and both clones are gone.")


if __name__ == "__main__":
    main()
