"""The example pipeline killed at the runner's points and at the stages' calls: each part ends as if nothing had been, every
change set is executed once, every image is there once, and nobody has to approve again."""

from __future__ import annotations

import re
from itertools import count
from typing import TYPE_CHECKING

import pytest
from chaos import tally
from chaos.example import PARTS, Example, Fault, Part, Prepared
from chaos.tally import EVERY_POINT, TURN

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from chaos.conftest import Surroundings
    from chaos.tally import Record

pytestmark = [
    pytest.mark.engine,
    pytest.mark.slow,
    pytest.mark.timeout(3600 if EVERY_POINT else 600),
]
EACH_DAY = 3
_accounts = count(2001)
SMALL: tuple[Part, ...] = ("build", "scan", "package", "deploy-staging")
"""Parts in which no function runs."""

ALWAYS: dict[Part, list[Fault]] = {
    "scan": [Fault(point="after runs/RUN/scan.1 phase.finished of apply")],
    "build": [Fault(call=("after", "engine POST /build"))],
    "package": [Fault(call=("amid", "engine POST /images/IMAGE/push"))],
    "deploy-staging": [Fault(call=("after", "cloudformation CreateChangeSet"))],
    "propose": [Fault(call=("after", "cloudformation CreateChangeSet"))],
    "apply": [
        Fault(point="after ledgers/LEDGER deployment.intended"),
        Fault(point="before runs/RUN/deploy-production.2 phase.intended of apply"),
        Fault(call=("before", "cloudformation ExecuteChangeSet")),
        Fault(call=("after", "cloudformation ExecuteChangeSet")),
        Fault(call=("before", "cloudformation ExecuteChangeSet"), lives_on=True),
        Fault(point="after runs/RUN/deploy-production.2 phase.finished of apply"),
        Fault(point="before ledgers/LEDGER deployment.finished"),
        Fault(point="after ledgers/LEDGER deployment.finished"),
    ],
}
"""What is driven every day."""


@pytest.fixture(scope="module")
def prepared(surroundings: Surroundings, workshop: Path, small_base: str, real_base: str) -> Callable[[Part], Prepared]:
    """Projects that parts begin from. Those with running functions share one, up to production."""
    shared: list[Prepared] = []

    def make(part: Part) -> Prepared:
        if part not in SMALL and shared:
            return shared[0]
        folder = workshop / f"example-{part}"
        base, last = (small_base, part) if part in SMALL else (real_base, "deploy-production")
        made = Prepared(surroundings.runners, folder, str(next(_accounts)), base, own_registry=part in SMALL)
        made.make(last)
        if part not in SMALL:
            shared.append(made)
        return made

    return make


@pytest.mark.parametrize("part", PARTS)
def test_killed(
    surroundings: Surroundings, prepared: Callable[[Part], Prepared], record_property: Record, part: Part
) -> None:
    example = Example(prepared(part), surroundings.calls, surroundings.direct, part, surroundings.trust)
    if part == "package":
        example.undisturbed()  # the layers are there from now on: whatever is pushed, their upload is the same each time
    faults = example.undisturbed()
    chosen = faults if EVERY_POINT else _chosen(part, faults)
    found, missed = [], []
    for fault in chosen:
        problems = example.drive(fault)
        if problems is None:
            missed.append(fault)
        else:
            found += [f"{fault}: {each}" for each in problems]
    for what in {each.what for each in faults}:
        counts = [sum(each.what == what for each in some) for some in (faults, chosen, missed)]
        tally.add(record_property, f"example, {what}", *counts)
    assert not found, "\n".join(found)
    assert all(each.may_be_missed for each in missed), f"not passed: {missed}"


def _chosen(part: Part, faults: list[Fault]) -> list[Fault]:
    """What is driven today: what always is, and some that are spread evenly over the others."""
    always = [fault for fault in faults if _general(fault) in ALWAYS.get(part, [])]
    assert len(always) == len(ALWAYS.get(part, [])), f"{part} no longer passes {ALWAYS[part]}"
    others = [fault for fault in faults if fault not in always]
    step = max(1, len(others) // EACH_DAY)
    return always + others[TURN % step :: step][:EACH_DAY]


def _general(fault: Fault) -> Fault:
    """The same for any account."""
    point = re.sub(r"ledgers/\S+", "ledgers/LEDGER", fault.point) if fault.point else None
    return Fault(point, fault.call, fault.lives_on)
