from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from support.signing import new_key

from pipeline.errors import VerificationFailed
from pipeline.record import chain, digest, seals
from pipeline.record.store.directory import open_store
from pipeline.record.writer import ChainWriter, read_chain
from pipeline.signing import dsse

if TYPE_CHECKING:
    from pathlib import Path

KEY = new_key()
HEAD = chain.Head("runs/r/build.1", "sha256:" + "0" * 64, 3)


def test_closing_a_chain_seals_it(tmp_path: Path) -> None:
    store = open_store(tmp_path, create=True)
    writer = ChainWriter(store, "runs/r/build.1", KEY)
    writer.open({})
    assert store.read("runs/r/build.1/seal.json") is None
    writer.close({"outcome": "succeeded"})
    envelope, head = seals.decode(store.read("runs/r/build.1/seal.json") or b"", "runs/r/build.1")
    assert head == writer.head
    assert envelope.signed_by(KEY.public)
    events = read_chain(store, "runs/r/build.1")
    assert [event.type for event in events] == [chain.CHAIN_OPENED, chain.CHAIN_CLOSED]
    assert events[0].data["writer"]["key"] == KEY.public.line


def test_the_payload_is_the_documented_one() -> None:
    envelope, _ = seals.decode(seals.encode(HEAD, KEY), HEAD.chain)
    assert envelope.type == "application/vnd.towpath.seal.v1+json"
    assert json.loads(envelope.payload) == {"v": 1, "chain": HEAD.chain, "head": HEAD.digest, "length": 3}


def test_sealing_again_changes_nothing_and_another_seal_is_refused(tmp_path: Path) -> None:
    store = open_store(tmp_path, create=True)
    seals.put(store, HEAD, KEY)
    seals.put(store, HEAD, KEY)
    with pytest.raises(VerificationFailed, match="someone else sealed"):
        seals.put(store, HEAD, new_key())


@pytest.mark.parametrize(
    ("payload", "says"),
    [
        (b"[]", "does not seal a chain"),
        (b"{}", "does not seal a chain"),
        (digest.canonical({"v": 2, **HEAD.as_json()}), "other keys"),
        (digest.canonical({"v": 1, "more": 1, **HEAD.as_json()}), "other keys"),
        (digest.canonical({"v": 1, **HEAD.as_json(), "chain": "runs/r/build.2"}), "the seal of another chain"),
    ],
)
def test_what_is_no_seal_of_this_chain(payload: bytes, says: str) -> None:
    data = digest.canonical(dsse.sign(seals.TYPE, payload, KEY).as_json())
    with pytest.raises(VerificationFailed, match=says):
        seals.decode(data, HEAD.chain)


def test_a_seal_has_one_form() -> None:
    data = seals.encode(HEAD, KEY)
    with pytest.raises(VerificationFailed, match="canonical"):
        seals.decode(data.replace(b",", b", "), HEAD.chain)
