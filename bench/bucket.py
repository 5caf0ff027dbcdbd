"""What a DVC remote in a bucket really holds, read without DVC: each object against the hash that it is named by.

Run: python -m bench.bucket s3://BUCKET/PREFIX [--endpoint URL]   (credentials as AWS's tools find them)

DVC names an object by the MD5 of its bytes, and the list of a directory's files by the MD5 of that list, with `.dir`
behind. So a bucket can be checked by itself: bytes that are not what their name says, and lists that name files which
are not there. `dvc push` looks at names alone, and takes the files of a list that is there for present.
"""

import argparse
import hashlib
import json
import re
import sys
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

OBJECT = re.compile(r"(?:^|/)files/md5/([0-9a-f]{2})/([0-9a-f]{30}(?:\.dir)?)$")
BLOCK = 1 << 20


@dataclass
class Contents:
    """The objects under a prefix, and what is wrong with them."""

    sizes: dict[str, int] = field(default_factory=dict)  # by hash; of a directory's list with .dir
    corrupt: list[str] = field(default_factory=list)  # the bytes have another hash
    lacking: dict[str, list[str]] = field(default_factory=dict)  # .dir -> the files it names that are not there
    others: list[str] = field(default_factory=list)  # keys that are no objects of DVC's

    @property
    def sound(self) -> bool:
        """Whether each object is what its name says, and each list has its files."""
        return not self.corrupt and not self.lacking

    def told(self) -> str:
        """One line, and one for each fault."""
        directories = sum(name.endswith(".dir") for name in self.sizes)
        lines = [
            f"{len(self.sizes)} objects ({directories} lists of directories), {sum(self.sizes.values()) / 1e6:.1f} MB: "
            + ("each has the hash it is named by, each list all its files" if self.sound else "NOT SOUND")
        ]
        lines += [f"corrupt: {name}" for name in self.corrupt]
        lines += [f"{name} lacks {', '.join(files)}" for name, files in self.lacking.items()]
        return "\n".join(lines)


def read_bucket(client: Any, bucket: str, prefix: str = "") -> Contents:
    """Reads every byte under a prefix; `client` is botocore's."""
    found = Contents()
    lists: dict[str, list[str]] = {}
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    for entry in (entry for page in pages for entry in page.get("Contents", [])):
        match = OBJECT.search(entry["Key"])
        if match is None:
            found.others.append(entry["Key"])
            continue
        name, digest = match[1] + match[2], hashlib.md5(usedforsecurity=False)
        body, kept = client.get_object(Bucket=bucket, Key=entry["Key"])["Body"], bytearray()
        for block in body.iter_chunks(BLOCK):
            digest.update(block)
            if name.endswith(".dir"):
                kept += block
        found.sizes[name] = entry["Size"]
        if digest.hexdigest() != name.removesuffix(".dir"):
            found.corrupt.append(name)
        elif name.endswith(".dir"):
            lists[name] = [file["md5"] for file in json.loads(kept)]
    for name, files in lists.items():
        if absent := sorted(set(files) - found.sizes.keys()):
            found.lacking[name] = absent
    return found


def main() -> None:
    """Says what is there; the exit status is 1 where something is wrong."""
    from botocore.session import Session

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url", help="of the remote, as `dvc remote list` prints it")
    parser.add_argument("--endpoint", help="the server, where it is not AWS's")
    args = parser.parse_args()
    parts = urlsplit(args.url)
    contents = read_bucket(
        Session().create_client("s3", endpoint_url=args.endpoint), parts.netloc, parts.path.strip("/")
    )
    print(contents.told())
    sys.exit(0 if contents.sound else 1)


if __name__ == "__main__":
    main()
