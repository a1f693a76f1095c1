"""The content of a store while it is verified."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pipeline.audit.findings import Finding, broken, missing, reading
from pipeline.record import artifacts, digest, prunes

if TYPE_CHECKING:
    from pipeline.record.prunes import Prune
    from pipeline.record.store import Store
    from pipeline.signing.signers import Trust


class Blobs:
    """The content of a store, each looked at once however often it is referred to."""

    def __init__(self, store: Store, trust: Trust | None) -> None:
        self._store = store
        self._trust = trust
        self._known: dict[str, tuple[str, int] | None] = {}
        self._pruned: dict[str, Prune] | None = None

    def check(self, sha256: Any, what: str, size: int | None = None) -> Finding | None:
        """Compare content with its digest, as a stream."""
        if not digest.is_digest(sha256):
            return broken(what, f"{sha256!r} is not a digest")
        if sha256 not in self._known:
            self._known[sha256] = self._look(sha256)
        key, found = artifacts.blob_key(sha256), self._known[sha256]
        if found is None:
            prune = self.pruned(sha256)
            return missing(key, f"{prune}: {what}") if prune else broken(key, f"is missing: {what}", sha256)
        if found[0] != sha256:
            return broken(key, f"holds other bytes than its name says: {what}", sha256, found[0])
        return broken(key, f"is of another size: {what}", size, found[1]) if size not in (None, found[1]) else None

    def json(self, sha256: Any, what: str, into: list[Finding]) -> Any:
        """Give the JSON value of this digest; None, with a finding, if there is none."""
        wrong = self.check(sha256, what)
        if wrong:
            into.append(wrong)
            return None
        with reading(artifacts.blob_key(sha256), into):
            value = digest.parse(artifacts.read_blob(self._store, sha256, what))
            if value is None:
                into.append(broken(artifacts.blob_key(sha256), f"says nothing: {what}"))
            return value
        return None

    def pruned(self, sha256: str) -> Prune | None:
        """Give the record of the prune that removed this content, if it is gone, and the record by a key that counts."""
        if sha256 not in self._known:
            self._known[sha256] = self._look(sha256)
        if self._known[sha256] is not None:
            return None
        if self._pruned is None:
            self._pruned = {
                one.sha256: prune for prune in prunes.each(self._store, self._trust) for one in prune.removed
            }
        return self._pruned.get(sha256)

    def read(self, sha256: str, what: str) -> bytes:
        """Give the bytes of content that was checked."""
        return artifacts.read_blob(self._store, sha256, what)

    def __len__(self) -> int:
        return sum(each is not None for each in self._known.values())

    def _look(self, sha256: str) -> tuple[str, int] | None:
        stream = self._store.open(artifacts.blob_key(sha256))
        if stream is None:
            return None
        with stream:
            return digest.of_stream(stream)
