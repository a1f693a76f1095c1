"""A stage with several environments is as many stages, one for each; how they hang together. Pure.

needs    of a stage that needs one with several environments: in its own of them that one alone, else all of them
inputs   likewise, but there must be the one
after    the first environment is the canary: what changes another one is applied once the canary's stage, and what follows it
         in its environment, have succeeded. It is proposed before, so that people see and approve all of it together. Nor is
         the canary applied before all is proposed (`pipeline.standings`)
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pipeline.definition.model import Stage

MOST_CHARACTERS = 28
"""Of a name of two: it goes into handles, which are DNS labels of at most 63 with the run's id, the attempt and the phase."""


@dataclass(frozen=True)
class Copy:
    """A stage `of` the definition in one of its environments. `group` is that stage's name, where it has several."""

    of: str
    environment: str | None
    needs: list[str]
    inputs: dict[str, str]
    group: str | None = None
    after: list[str] = field(default_factory=list)


def name_of(stage: str, environment: str) -> str:
    """Give the name of a stage in one of its environments."""
    return f"{stage}-{environment}"


def copies(
    stages: Mapping[str, Stage], wiring: Mapping[str, Mapping[str, str]], gated: frozenset[str]
) -> dict[str, Copy]:
    """Give every stage that there is, by name, each after what it needs and what it comes after. `gated` are kinds that change targets."""
    made: dict[str, Copy] = {}
    for name, stage in stages.items():
        for environment in stage.targets or (None,):
            needs = [each for need in stage.needs for each in _needed(stages, need, environment)]
            taken = {each: _needed(stages, source, environment)[0] for each, source in wiring.get(name, {}).items()}
            if stage.environments:
                made[name_of(name, str(environment))] = Copy(name, environment, needs, taken, name)
            else:
                made[name] = Copy(name, environment, needs, taken)
    below: dict[str, list[str]] = {name: [] for name in made}
    for name, each in made.items():
        for need in each.needs:
            below[need].append(name)
    several = [(name, each) for name, each in stages.items() if each.environments and each.uses in gated]
    named = [[name_of(name, each) for each in stage.environments] for name, stage in several]
    for canary, *others in named:
        _put_after(made, below, [canary], others)
    for canary, *others in named:
        _put_after(made, below, _followers(made, below, canary, others), others)
    return {name: made[name] for name in _in_order(made, below)}


def _needed(stages: Mapping[str, Stage], need: str, environment: str | None) -> list[str]:
    environments = stages[need].environments
    if not environments:
        return [need]
    return [name_of(need, each) for each in environments if each == environment or environment not in environments]


def _put_after(made: Mapping[str, Copy], below: dict[str, list[str]], ahead: list[str], others: list[str]) -> None:
    for each in others:
        made[each].after.extend(ahead)
    for each in ahead:
        below[each].extend(others)


def _followers(made: Mapping[str, Copy], below: Mapping[str, list[str]], canary: str, others: list[str]) -> list[str]:
    """Give what follows a canary in its environment, but for what cannot be done before the others."""
    after_others = _reached(below, others)
    return [
        each
        for each in _reached(below, [canary])
        if made[each].environment == made[canary].environment and each not in after_others
    ]


def _reached(below: Mapping[str, list[str]], start: list[str]) -> dict[str, None]:
    """All that waits for these, near and far."""
    found: dict[str, None] = {}
    ahead = list(start)
    while ahead:
        for each in below[ahead.pop(0)]:
            if each not in found:
                found[each] = None
                ahead.append(each)
    return found


def _in_order(made: Mapping[str, Copy], below: Mapping[str, list[str]]) -> list[str]:
    """Each after what it waits for, else in the order of the file."""
    place = {name: at for at, name in enumerate(made)}
    open_waits = {name: len({*each.needs, *each.after}) for name, each in made.items()}
    ready = [(place[name], name) for name, number in open_waits.items() if not number]
    order: list[str] = []
    while ready:
        _, name = heapq.heappop(ready)
        order.append(name)
        for each in dict.fromkeys(below[name]):
            open_waits[each] -= 1
            if not open_waits[each]:
                heapq.heappush(ready, (place[each], each))
    return order
