"""Checks a DVC remote in a bucket, without DVC: is each file of each directory there, and, read, what its name says?

Run: python -m stages.lib.commands.check_remote [--remote NAME] [--bytes] [--repair]

DVC names an object by the MD5 of its bytes; the list of a directory's files by the MD5 of that list, with `.dir`
behind. `dvc push` takes all files of a list that is in the bucket for present. A push of which one object failed can
leave a list without it, where two directories share that file (seen with DVC 3.67): from then on each push and
`dvc status --cloud` say that all is there, and a pull fails. This command names such lists; with --repair it deletes
them, and objects that are corrupt, so that the next `dvc push` brings all again. With --bytes every object is read.
"""

import argparse
import hashlib
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

OBJECT = re.compile(r"(?:^|/)files/md5/([0-9a-f]{2})/([0-9a-f]{30}(?:\.dir)?)$")
BLOCK = 1 << 20
# Of a remote's options in DVC's config: the names of botocore's. What is not set botocore finds as AWS's tools do.
SESSION = {"profile": "profile"}
CLIENT = {
    "endpointurl": "endpoint_url",
    "region": "region_name",
    "access_key_id": "aws_access_key_id",
    "secret_access_key": "aws_secret_access_key",
    "session_token": "aws_session_token",
}


@dataclass
class Contents:
    """The objects under a prefix, and what is wrong with them."""

    sizes: dict[str, int] = field(default_factory=dict)  # by hash; of a directory's list with .dir
    keys: dict[str, str] = field(default_factory=dict)  # by hash
    corrupt: list[str] = field(default_factory=list)  # the bytes have another hash
    lacking: dict[str, list[str]] = field(default_factory=dict)  # .dir -> the files it names that are not there
    read: bool = False  # every byte, and not the lists alone

    @property
    def sound(self) -> bool:
        """Whether nothing is wrong."""
        return not self.corrupt and not self.lacking

    def told(self) -> str:
        """One line, and one for each fault."""
        directories = sum(name.endswith(".dir") for name in self.sizes)
        lines = [f"{len(self.sizes):,} objects, {sum(self.sizes.values()) / 1e6:,.1f} MB, {directories} directories: "]
        whole = "each directory has all its files"
        lines[0] += f"{whole}, each object the hash it is named by" if self.read else f"{whole} (bytes were not read)"
        if not self.sound:
            lines[0] = lines[0].partition(": ")[0] + f": {len(self.lacking)} not whole, {len(self.corrupt)} corrupt"
        lines += [f"corrupt: {name}" for name in self.corrupt]
        lines += [f"{name} lacks {', '.join(files)}" for name, files in self.lacking.items()]
        return "\n".join(lines)


def listed(client: Any, bucket: str, prefix: str) -> Iterator[tuple[str, str, int]]:
    """Hash, key and bytes of DVC's objects under a prefix; `client` is botocore's."""
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
        for entry in page.get("Contents", []):
            if match := OBJECT.search(entry["Key"]):
                yield match[1] + match[2], entry["Key"], entry["Size"]


def read_remote(client: Any, bucket: str, prefix: str = "", *, read: bool = False) -> Contents:
    """Looks at every object under a prefix; reads the lists of directories, with `read` all."""
    found, lists = Contents(read=read), dict[str, list[str]]()
    for name, key, size in listed(client, bucket, prefix):
        found.sizes[name], found.keys[name] = size, key
        is_list = name.endswith(".dir")
        if not read and not is_list:
            continue
        digest, kept = hashlib.md5(usedforsecurity=False), bytearray()
        for block in client.get_object(Bucket=bucket, Key=key)["Body"].iter_chunks(BLOCK):
            digest.update(block)
            kept += block if is_list else b""
        if digest.hexdigest() != name.removesuffix(".dir"):
            found.corrupt.append(name)
        elif is_list:
            lists[name] = [file["md5"] for file in json.loads(kept)]
    for name, files in lists.items():
        if absent := sorted(set(files) - found.sizes.keys()):
            found.lacking[name] = absent
    return found


def repair(client: Any, bucket: str, contents: Contents) -> list[str]:
    """Deletes the lists that are not whole, and what is corrupt; returns what the next push will bring again.

    A list that names a corrupt file goes too: as long as it is there, no push looks whether the file is.
    """
    gone = {*contents.lacking, *contents.corrupt}
    if contents.corrupt:
        for name, key in contents.keys.items():
            if name.endswith(".dir") and name not in gone:
                files = json.loads(client.get_object(Bucket=bucket, Key=key)["Body"].read())
                gone |= {name} if any(file["md5"] in gone for file in files) else set()
    for name in gone:
        client.delete_object(Bucket=bucket, Key=contents.keys[name])
    return sorted(gone)


def remote_options(name: str) -> dict[str, str]:
    """What DVC's config says of a remote; "": of the default one.

    Raises:
        ValueError: there is none, or it is in no bucket.
    """
    command = [sys.executable, "-m", "dvc", "config", "--list"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ValueError(done.stderr.strip())
    config = dict(line.partition("=")[::2] for line in done.stdout.splitlines())
    name = name or config.get("core.remote", "")
    options = {key.rpartition(".")[2]: value for key, value in config.items() if key.startswith(f"remote.{name}.")}
    if not options.get("url", "").startswith("s3://"):
        raise ValueError(f"no remote {name!r} with a url of s3://: `dvc remote list` names those there are")
    return options


def connect(options: dict[str, str]) -> Any:
    """botocore's client for a remote.

    Raises:
        ValueError: botocore is not installed.
    """
    try:
        from botocore.session import Session
    except ModuleNotFoundError as error:
        raise ValueError("the extra s3 is not installed: make install-s3") from error
    session = Session(**{ours: options[name] for name, ours in SESSION.items() if name in options})
    return session.create_client("s3", **{ours: options[name] for name, ours in CLIENT.items() if name in options})


def main() -> None:
    """Says what is there; the exit status is 1 where something is wrong and was not repaired."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--remote", default="", help="its name; default: the default one")
    parser.add_argument("--bytes", action="store_true", help="read every object, and not the lists alone")
    parser.add_argument("--repair", action="store_true", help="delete what is wrong, for `dvc push` to bring again")
    args = parser.parse_args()
    try:
        options = remote_options(args.remote)
        client, parts = connect(options), urlsplit(options["url"])
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            contents = read_remote(client, parts.netloc, parts.path.strip("/"), read=args.bytes)
            print(contents.told())
            gone = repair(client, parts.netloc, contents) if args.repair and not contents.sound else []
        except (BotoCoreError, ClientError) as error:
            raise ValueError(f"{options['url']}: {error}") from error
    except ValueError as error:
        sys.exit(f"check_remote: {error}")
    if gone:
        print(f"deleted, for `dvc push` to bring again from a cache that has them: {', '.join(gone)}")
    sys.exit(0 if contents.sound or gone else 1)


if __name__ == "__main__":
    main()
