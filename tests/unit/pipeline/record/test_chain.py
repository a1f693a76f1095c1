from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import VerificationFailed
from pipeline.record import chain, digest

NAME = "runs/r/build.1"


def made(*types: str) -> list[bytes]:
    lines: list[bytes] = []
    for seq, kind in enumerate(types):
        data = {"chain": NAME} if seq == 0 else {"n": seq}
        lines.append(chain.encode(seq, digest.of_bytes(lines[-1]) if lines else None, kind, data))
    return lines


WHOLE = made(chain.CHAIN_OPENED, chain.PHASE_INTENDED, chain.PHASE_FINISHED, chain.CHAIN_CLOSED)


def test_a_whole_chain_holds() -> None:
    events = chain.verify(WHOLE, NAME)
    assert [event.type for event in events] == ["chain.opened", "phase.intended", "phase.finished", "chain.closed"]
    assert chain.head(events, NAME) == chain.Head(NAME, digest.of_bytes(WHOLE[-1]), 4)


@given(st.data())
def test_no_byte_before_the_last_event_can_change(data: st.DataObject) -> None:
    number = data.draw(st.integers(0, len(WHOLE) - 2))
    at = data.draw(st.integers(0, len(WHOLE[number]) - 1))
    other = data.draw(st.integers(0, 255).filter(lambda byte: byte != WHOLE[number][at]))
    changed = WHOLE[number][:at] + bytes([other]) + WHOLE[number][at + 1 :]
    with pytest.raises(VerificationFailed):
        chain.verify([*WHOLE[:number], changed, *WHOLE[number + 1 :]], NAME)


@pytest.mark.parametrize("number", range(4))
def test_the_head_tells_a_change_of_any_event(number: int) -> None:
    event = json.loads(WHOLE[number])
    event["at"] = "2001-01-01T00:00:00.000Z"
    lines = [*WHOLE[:number], json.dumps(event).encode(), *WHOLE[number + 1 :]]
    try:
        events = chain.verify(lines, NAME)
    except VerificationFailed:
        return
    assert chain.head(events, NAME) != chain.head(chain.verify(WHOLE, NAME), NAME)


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        (WHOLE[1:], "says it is number 1"),
        ([WHOLE[0], WHOLE[2]], "says it is number 2"),
        ([WHOLE[0], WHOLE[2], WHOLE[1]], "says it is number 2"),
        ([*WHOLE, chain.encode(4, digest.of_bytes(WHOLE[-1]), "phase.intended", {})], "follows the chain's end"),
        ([WHOLE[0], chain.encode(1, digest.of_bytes(WHOLE[0]), chain.CHAIN_OPENED, {"chain": NAME})], "only the first"),
        ([b"{"], "is not an event"),
        ([b'{"v":2,"seq":0,"prev":null,"type":"chain.opened","at":"","data":{}}'], "format version 2"),
    ],
)
def test_deleted_swapped_added_and_foreign_events_are_named(lines: list[bytes], says: str) -> None:
    with pytest.raises(VerificationFailed, match=says):
        chain.verify(lines, NAME)


def test_a_chain_moved_to_another_name_is_refused() -> None:
    with pytest.raises(VerificationFailed, match="were written for the chain"):
        chain.verify(WHOLE, "runs/other/build.1")
