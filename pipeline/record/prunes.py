"""What was removed of a store, by which rule and by whom. Format version 1 (docs/adr/0016).

    prunes/<id>.json     a DSSE envelope of `TYPE` in canonical JSON, put before anything that it lists is removed

Its payload is canonical JSON: {"v":1,"id":…,"at":…,"writer":{…,"key":…},"rule":{…},"removed":[{"run":…,"sha256":…,"size":…}]}. `run`
is the one that had left it, null for what no run names. Only content is ever removed; a prune that was killed has left some of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from pipeline.errors import VerificationFailed
from pipeline.record import digest, envelopes
from pipeline.record.writer import writer_identity
from pipeline.signing import signers

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pipeline.record.store import Store
    from pipeline.signing.keys import Key
    from pipeline.signing.signers import Trust

VERSION = 1
TYPE = "application/vnd.towpath.prune.v1+json"


@dataclass(frozen=True)
class Removal:
    """A blob that is to be removed: whose content it was, and its size in bytes."""

    run: str | None
    sha256: str
    size: int


@dataclass(frozen=True)
class Prune:
    """One record of a prune. `by` is the fingerprint of the key that signed it, None where no key is known to verify it by."""

    id: str
    at: str
    by: str | None
    rule: dict[str, Any]
    removed: tuple[Removal, ...]

    def __str__(self) -> str:
        return f"was pruned on {self.at[:10]} by {self.by or 'nobody known'} (prunes/{self.id}.json)"


def key_of(prune_id: str) -> str:
    """Give the key of a record of a prune."""
    return f"prunes/{prune_id}.json"


def put(store: Store, prune_id: str, rule: dict[str, Any], removed: Iterable[Removal], key: Key) -> bool:
    """Write down what is about to be removed; False if the id is taken. Raises StoreError."""
    told = {
        "v": VERSION,
        "id": prune_id,
        "at": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "writer": {**writer_identity(), "key": key.public.line},
        "rule": rule,
        "removed": [vars(each) for each in removed],
    }
    return store.put_new(key_of(prune_id), envelopes.encode(TYPE, digest.canonical(told), key))


def read(store: Store, name: str, trust: Trust | None) -> Prune:
    """Read a record of a prune by its name below `prunes`, and verify it. Raises VerificationFailed.

    Without pinned keys it must be signed by the key that it names; with them, that key must be enrolled as builder.
    """
    what = f"prunes/{name}"
    envelope = envelopes.decode(store.read(what) or b"", TYPE, what)
    try:
        value = digest.parse(envelope.payload)
        if value["v"] != VERSION:
            raise VerificationFailed(f"{what} is of format version {value['v']}, not {VERSION}", where=what)
        removed = tuple(Removal(each["run"], str(each["sha256"]), int(each["size"])) for each in value["removed"])
        moment, stated = datetime.fromisoformat(value["at"]), value["writer"]["key"]
        prune_id, at, rule = str(value["id"]), str(value["at"]), dict(value["rule"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise VerificationFailed(f"{what} is not a record of a prune: {error!r}", where=what) from error
    if key_of(prune_id) != what:
        raise VerificationFailed(f"{what} is the record of another prune, {prune_id}", where=what)
    by = signers.check(envelope, what, stated=stated, role="builder", moment=moment, trust=trust)
    if by is None:
        raise VerificationFailed(f"{what} does not name the key that signed it", where=what)
    return Prune(prune_id, at, by, rule, removed)


def each(store: Store, trust: Trust | None) -> Iterator[Prune]:
    """Give every record of a prune that verifies, the oldest first; what does not is passed over."""
    for name in store.names("prunes"):
        try:
            yield read(store, name, trust)
        except VerificationFailed:
            continue


def of(store: Store, sha256: str) -> Prune | None:
    """Give the prune that removed this, if one says so."""
    return next((prune for prune in each(store, None) if any(one.sha256 == sha256 for one in prune.removed)), None)
