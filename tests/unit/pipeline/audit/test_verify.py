"""An audit of a store in use: others write to it while it is verified, and that is no reason to call anything broken."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.approvers import rules
from support.gated import ASKED, TARGET, decide, gated
from support.signing import trust_line

from pipeline.audit import targets, verify
from pipeline.errors import Waiting
from pipeline.gates.rules import NOBODY
from pipeline.record import ledger
from pipeline.record.writer import event_key
from pipeline.signing import signers

if TYPE_CHECKING:
    from typing import Any

    from support.plans import House

NAME = ledger.name_of(TARGET)


def audit_of(house: House) -> verify.Audit:
    return verify.Audit(house.store, signers.trust(trust_line(house.key.public, "builder,gate"), "trust"))


def test_a_run_that_deploys_after_the_ledger_was_read(house: House) -> None:
    first = house.open(gated(house, NOBODY), **ASKED)
    house.drive(first)
    audit = audit_of(house)
    assert audit.run(first).verdict == "authentic"
    second = house.open(gated(house, NOBODY), **ASKED)
    house.drive(second)
    assert audit.run(second).findings == []
    assert audit.rest() == []


def test_a_run_that_deploys_while_it_is_verified(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its chains are read first, and the ledger has more by then."""
    run_id = house.open(gated(house, rules()), **ASKED)
    with pytest.raises(Waiting):
        house.drive(run_id)
    decide(house, run_id, "alice")
    honest, looks = targets.Targets.verify, []

    def goes_on(self: targets.Targets, *args: Any) -> targets.Judged:
        looks.append(1)
        if len(looks) == 1:
            house.drive(run_id)
        return honest(self, *args)

    monkeypatch.setattr(targets.Targets, "verify", goes_on)
    assert audit_of(house).run(run_id).findings == []
    assert len(looks) == 2


def test_what_does_not_hold_and_grows_no_more_is_broken(house: House) -> None:
    first, second = (house.open(gated(house, NOBODY), **ASKED) for _ in range(2))
    house.drive(first)
    audit = audit_of(house)
    assert audit.run(first).verdict == "authentic"
    house.drive(second)
    for seq in (4, 5):
        (house.store.root / event_key(NAME, seq)).unlink()
    assert audit.run(second).verdict == "broken"
