"""Where records live. A store is a set of objects that are written once and never changed.

The Protocol is small, so that a directory and an S3 bucket can be the same thing to all above:

- `put_new` is the only way to write. It is atomic and durable: when it returns True, the object is there after a power
  cut, and of any number of racing writers exactly one got True.
- `remove` is for content alone, which a prune has written down that it removes. Content that is put again meanwhile stays.
- An object's key is a path of `/`-separated names of `A-Z a-z 0-9 . _ -`.
- What is read is not trusted: every reader above checks digests and chains.
- Every method may be called from several threads at once, and raises StoreError where the store cannot be used.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Protocol

from pipeline.errors import TowpathError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path
    from typing import BinaryIO

FORMAT = b'{"format": "towpath-store", "v": 1}\n'
"""What `format.json` of a store of this version holds."""
LEFT = frozenset({"aside", "settings"})
"""What a runner leaves that died at its first write."""
RECORD = ("runs", "ledgers", "inbox", "prunes", "identities")
"""What keys of the record begin with: objects that stay. Content in `blobs` may go once nobody refers to it."""


class StoreError(TowpathError):
    """The store cannot be used: unreachable, full, not ours, or of a later format."""

    code = 1


class Store(Protocol):
    """See the module."""

    location: str
    """What a user passes as `--store` to reach it again."""

    local: bool
    """Whether what writes here is on this machine, so that images may be carried in its engine."""

    def put_new(self, key: str, data: bytes | Path) -> bool:
        """Write an object; False if the key is taken. A writer whose answer was lost still learns that the object is its own."""
        ...

    def read(self, key: str) -> bytes | None:
        """Give an object's bytes, or None if there is none."""
        ...

    def read_each(self, keys: Iterable[str]) -> Iterator[bytes | None]:
        """Give the bytes of one object after another, in this order; those that follow are read meanwhile where that helps."""
        ...

    def open(self, key: str) -> BinaryIO | None:
        """Open an object for reading, or None if there is none."""
        ...

    def names(self, prefix: str) -> list[str]:
        """Give the sorted names directly below `prefix`, of objects and of further prefixes."""
        ...

    def walk(self, prefix: str) -> list[str]:
        """Give the sorted keys of all objects below `prefix`, at any depth."""
        ...

    def written_at(self, key: str) -> float | None:
        """Give the store's own time of writing, in seconds since 1970, or None if there is no such object."""
        ...

    def now(self) -> float:
        """Give the time by the store's own clock, in seconds since 1970: what `written_at` is compared with."""
        ...

    def rewritten(self, prefix: str) -> Mapping[str, str] | None:
        """Say of which objects below `prefix` the store knows that they were deleted, or written more than once, and what it knows.

        None where it cannot tell: it keeps no versions, or does not let us list them.
        """
        ...

    def remove(self, key: str, before: float) -> bool:
        """Remove content, unless it was put, or put again, since `before` by the store's clock. Tell whether it was removed.

        Raises StoreError; for anything else than content, a key below `blobs/`, too. A directory also removes what is below `aside`,
        which killed writers have left.
        """
        ...


def check_format(store: Store, *, create: bool) -> None:
    """Hold a store to its format, which is written first where there is nothing yet, if `create`. Raises UsageError, StoreError."""
    found = store.read("format.json")
    others = set(store.names("")) - LEFT if found is None else set()
    found = (
        store.read("format.json") if others else found
    )  # another's, who has begun meanwhile: it comes before all else
    if found is None and others:
        hint = "Name the folder of a store, or an empty one; in a bucket, its prefix: s3://BUCKET/PREFIX."
        raise UsageError(f"{store.location} is no store, and holds other things", hint=hint)
    if found is None and create:
        store.put_new("format.json", FORMAT)
        found = store.read("format.json")
    if found is None:
        hint = "Name another with --store, or start a run first: towpath run"
        raise UsageError(f"there is no store at {store.location}", hint=hint)
    told = _parsed(found)
    if told != json.loads(FORMAT):
        hint = "Name a store, or an empty place, with --store: a folder, or s3://BUCKET/PREFIX."
        raise StoreError(f"{store.location} is not a store of this version of Towpath (format.json: {told})", hint=hint)


def _parsed(data: bytes | None) -> object:
    try:
        value: object = json.loads(data) if data is not None else None
    except (ValueError, RecursionError):
        return None
    return value
