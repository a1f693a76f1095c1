"""A store seen by somebody who is about to read much of it: what is listed once, and read many at a time.

Where each request takes a while, that is the difference between seconds and a moment; a directory needs none of it, and is
passed through. What is kept shows the store as it was when it was looked at.
"""

from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

from pipeline.errors import VerificationFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path
    from typing import BinaryIO

    from pipeline.record.store import Store

    Given = TypeVar("Given")
    Made = TypeVar("Made")

READERS = 16
"""Objects read at the same time: at 40 ms a request, a run of a hundred events is there in a third of a second."""
KEPT_BYTES = 1 << 18
"""Of one object. What is larger is read when it is asked for: an event has some kilobytes, a plan some tens of them."""


def each(store: Store, function: Callable[[Given], Made], given: Iterable[Given], at_once: int = READERS) -> list[Made]:
    """Do something with each, and give what came of it in order: many at a time where the store is far away."""
    if store.local:
        return [function(one) for one in given]
    with ThreadPoolExecutor(at_once, thread_name_prefix="ahead") as pool:
        return list(pool.map(function, given))


def _begins(segment: str) -> bool:
    return segment.endswith("/000000.jsonl")


def below(store: Store, prefix: str) -> Ahead:
    """Give a view of a store that has read the chains below `prefix` already."""
    seen = Ahead(store)
    seen.look_below(prefix)
    return seen


class Ahead:
    """See the module."""

    def __init__(self, store: Store) -> None:
        self.beneath = store
        self.location, self.local = store.location, store.local
        self._listed: dict[str, frozenset[str]] = {}
        """The keys below each prefix that was listed."""
        self._kept: dict[str, bytes | None] = {}

    def look_below(self, prefix: str) -> None:
        """List what is below `prefix`, and read it; of logs only how they begin, which is all of most."""
        if not self.local:
            self._listed[prefix] = frozenset(self.beneath.walk(prefix))
            self.look_at(sorted(key for key in self._listed[prefix] if not key.endswith(".jsonl") or _begins(key)))

    def look_at(self, keys: Iterable[str]) -> None:
        """Read objects that are going to be asked for."""
        fresh = [key for key in dict.fromkeys(keys) if key not in self._kept]
        if not self.local and fresh:
            each(self, self._keep, fresh)

    def forget(self) -> None:
        """Keep nothing any more."""
        self._listed, self._kept = {}, {}

    def names(self, prefix: str) -> list[str]:
        keys, base = self._keys_with(prefix), f"{prefix}/"
        if keys is None:
            return self.beneath.names(prefix)
        return sorted({key.removeprefix(base).partition("/")[0] for key in keys if key.startswith(base)})

    def walk(self, prefix: str) -> list[str]:
        keys = self._keys_with(prefix)
        return (
            self.beneath.walk(prefix) if keys is None else sorted(key for key in keys if key.startswith(f"{prefix}/"))
        )

    def read(self, key: str) -> bytes | None:
        if key in self._kept:
            return self._kept[key]
        return None if self._is_absent(key) else self.beneath.read(key)

    def read_each(self, keys: Iterable[str]) -> Iterator[bytes | None]:
        wanted = list(keys)
        if all(key in self._kept for key in wanted):
            return iter([self._kept[key] for key in wanted])
        return self.beneath.read_each(wanted)

    def open(self, key: str) -> BinaryIO | None:
        if key in self._kept:
            data = self._kept[key]
            return io.BytesIO(data) if data is not None else None
        return None if self._is_absent(key) else self.beneath.open(key)

    def put_new(self, key: str, data: bytes | Path) -> bool:
        return self.beneath.put_new(key, data)

    def written_at(self, key: str) -> float | None:
        return self.beneath.written_at(key)

    def now(self) -> float:
        return self.beneath.now()

    def rewritten(self, prefix: str) -> Mapping[str, str] | None:
        return self.beneath.rewritten(prefix)

    def remove(self, key: str, before: float) -> bool:
        return self.beneath.remove(key, before)

    def _keys_with(self, key: str) -> frozenset[str] | None:
        """Give the keys that were listed together with this one, or with those below it; None if it was not."""
        return next((keys for each, keys in self._listed.items() if f"{key}/".startswith(f"{each}/")), None)

    def _is_absent(self, key: str) -> bool:
        keys = self._keys_with(key)
        return keys is not None and key not in keys

    def _keep(self, key: str) -> None:
        try:
            stream = self.beneath.open(key)
            if stream is None:
                self._kept[key] = None
                return
            with stream:
                data = stream.read(KEPT_BYTES + 1)
        except VerificationFailed:
            return  # whoever asks for it will be told
        if len(data) <= KEPT_BYTES:
            self._kept[key] = data
