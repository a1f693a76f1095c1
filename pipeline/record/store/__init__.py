"""Where records live. A store is a set of objects that are written once and never changed.

The whole Protocol is six functions, so that a directory and an S3 bucket can be the same thing to all above:

- `put_new` is the only way to write. It is atomic and durable: when it returns True, the object is there after a power
  cut, and of any number of racing writers exactly one got True.
- `remove` is for content alone, which a prune has written down that it removes. Content that is put again meanwhile stays.
- An object's key is a path of `/`-separated names of `A-Z a-z 0-9 . _ -`.
- What is read is not trusted: every reader above checks digests and chains.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from pipeline.errors import TowpathError

if TYPE_CHECKING:
    from pathlib import Path
    from typing import BinaryIO


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
        """Write an object; False if the key is taken. Raises StoreError."""
        ...

    def read(self, key: str) -> bytes | None:
        """Give an object's bytes, or None if there is none. Raises StoreError."""
        ...

    def open(self, key: str) -> BinaryIO | None:
        """Open an object for reading, or None if there is none. Raises StoreError."""
        ...

    def names(self, prefix: str) -> list[str]:
        """Give the sorted names directly below `prefix`, of objects and of further prefixes. Raises StoreError."""
        ...

    def written_at(self, key: str) -> float | None:
        """Give the store's own time of writing, in seconds since 1970, or None if there is no such object."""
        ...

    def remove(self, key: str, before: float) -> bool:
        """Remove content, unless it was put, or put again, since `before` by the store's clock. Tell whether it was removed.

        Raises StoreError; for anything else than content, a key below `blobs/`, too.
        """
        ...
