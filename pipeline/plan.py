"""The frozen Plan: everything that decides what a run does, and nothing of where or when it runs. Format version 1
(docs/adr/0004).

`pipeline.compiling` makes it of a definition; nothing below knows YAML, environments or expressions. Its digest names it.
The files that stages name are part of it by digest.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

from pipeline.errors import VerificationFailed
from pipeline.record import digest
from stages.contract import Target
from stages.kinds import KINDS

VERSION = 1

Value = str | int | bool


@dataclass(frozen=True)
class PlannedStage:
    """One node. `inputs` says which stage each input comes from; `files` gives the digest of each file an option names.

    `rules` are those that the definition wants for the target, None for a stage without a gate.
    """

    name: str
    kind: str
    needs: list[str]
    options: dict[str, Any]
    inputs: dict[str, str]
    target: Target | None
    profile: str | None
    timeout_s: int
    idempotent: bool
    files: dict[str, str] = field(default_factory=dict)
    rules: dict[str, Any] | None = None

    @property
    def outputs(self) -> tuple[str, ...]:
        """The artifacts this stage hands on."""
        return tuple(self.options.get("outputs") or ()) if self.kind == "command" else KINDS[self.kind].outputs


@dataclass(frozen=True)
class Plan:
    """The frozen graph. `stages` is in an order in which every stage stands after what it needs."""

    name: str
    parameters: dict[str, Value]
    definition: dict[str, str]
    stages: dict[str, PlannedStage]

    def as_json(self) -> dict[str, Any]:
        """Give the plan's JSON form."""
        return {
            "v": VERSION,
            **dataclasses.asdict(self),
            "stages": [dataclasses.asdict(each) for each in self.stages.values()],
        }

    @property
    def digest(self) -> str:
        """The digest that names this plan."""
        return digest.of_bytes(digest.canonical(self.as_json()))


def from_json(value: Any, what: str) -> Plan:
    """Read a plan that `as_json` gave. Raises VerificationFailed."""
    try:
        if value["v"] != VERSION:
            raise VerificationFailed(f"{what} is of format version {value['v']}, not {VERSION}")
        stages = [
            PlannedStage(**{**each, "target": Target(**each["target"]) if each["target"] else None})
            for each in value["stages"]
        ]
        return Plan(value["name"], value["parameters"], value["definition"], {each.name: each for each in stages})
    except (KeyError, TypeError) as error:
        raise VerificationFailed(f"{what} is not a plan: {error!r}") from error
