"""Identities: which run belongs to one run of a CI system, whatever job of it asks. One object each, put if absent:

    identities/<sha256 of the identity>.json     {"v":1,"identity":"github https://github.com a/b 123","run":"20261123-114219-k7p3"}

A run is opened whole before it is named, so whoever is named can be gone on with, and a runner killed before that keeps nobody
out. Of jobs that race, one names its run; the others leave theirs and go on with that one. The object is a hint: what counts is that
the opening of the run says the same identity.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pipeline.errors import VerificationFailed
from pipeline.record import digest

if TYPE_CHECKING:
    from pipeline.record.store import Store

PREFIX = "identities"
VERSION = 1

_RUN = re.compile(r"[0-9a-z-]{1,40}")


def key_of(identity: str) -> str:
    """Give the key of an identity's object."""
    return f"{PREFIX}/{digest.of_bytes(identity.encode()).removeprefix('sha256:')}.json"


def encode(identity: str, run_id: str) -> bytes:
    """Give the object by which an identity names a run."""
    return digest.canonical({"v": VERSION, "identity": identity, "run": run_id}) + b"\n"


def decode(data: bytes, key: str) -> tuple[str, str]:
    """Give the identity, and the run that it names. Raises VerificationFailed for what `encode` does not give under this key."""
    try:
        value = digest.parse(data)
        identity, run_id = str(value["identity"]), str(value["run"])
    except (ValueError, KeyError, TypeError) as error:
        raise VerificationFailed(f"{key} names no run in the form that it must have: {error!r}", where=key) from error
    if not _RUN.fullmatch(run_id) or encode(identity, run_id) != data or key_of(identity) != key:
        raise VerificationFailed(f"{key} is not in the form that it must have, or stands in another's place", where=key)
    return identity, run_id


def named(store: Store, identity: str) -> str | None:
    """Give the run that an identity names, None if it names none yet. Raises VerificationFailed."""
    key = key_of(identity)
    data = store.read(key)
    return decode(data, key)[1] if data is not None else None


def name(store: Store, identity: str, run_id: str) -> str:
    """Name a run that was opened whole, and give the run that is named: another, if that one was first."""
    store.put_new(key_of(identity), encode(identity, run_id))
    return named(store, identity) or run_id
