"""A small project with a gate: programs that say what they did, two people who approve, and what must hold in the end."""

from __future__ import annotations

import base64
import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from chaos import runner
from support import projects

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from chaos.runner import Done, Runners

APPROVERS = ("ada", "grace")
STEPS = (
    ("run",),
    *(("approve", "latest", "migrate", "--reason", "seen", "--sign-with", f"../keys/{person}") for person in APPROVERS),
    ("resume",),
)
"""What people type, from the first command to the last."""
HALVES = (*STEPS[:-1], ("stage", "apply", "migrate", "--run", "latest"))
"""What a CI system types in the end."""

PIPELINE = """\
version: 1
name: gated
environments:
  production:
    account: "333333333333"
    region: eu-central-1
    stack: demo
    approvals: {people: 2, from: [release]}
stages:
  make:
    uses: command
    idempotent: true
    with:
      writes: [.]
      run: [sh, -c, 'echo made; echo "make $TOWPATH_HANDLE" >>effects; test ! -e slow-make || sleep 30; mkdir "$TOWPATH_OUTPUTS/thing"; echo thing >"$TOWPATH_OUTPUTS/thing/it"']
      outputs: [thing]
  once:
    uses: command
    needs: [make]
    with:
      writes: [.]
      run: [sh, -c, 'echo "once $TOWPATH_HANDLE" >>effects; test ! -e slow-once || sleep 30; cat "$TOWPATH_INPUTS/thing/it"']
      inputs: [thing]
  migrate:
    uses: command
    needs: [make, once]
    environment: production
    idempotent: true
    with:
      writes: [.]
      run: [sh, -c, 'echo "migrate $TOWPATH_HANDLE" >>effects; test ! -e slow-migrate || sleep 30; cat "$TOWPATH_INPUTS/thing/it"']
      inputs: [thing]
  after:
    uses: command
    needs: [migrate]
    with:
      writes: [.]
      run: [sh, -c, 'echo "after $TOWPATH_HANDLE" >>effects; test ! -e slow-after || sleep 30']
"""
PEOPLE_YAML = """
people:
  ada: {emails: [ada@example.com]}
  grace: {emails: [grace@example.com]}
  author: {emails: [author@example.com]}
groups:
  release: [ada, grace]
signers: allowed_signers
"""
NOTHING_YET = re.compile(r"Start one: towpath run|Start another: towpath run|start a run first: towpath run")
"""What a command says where a runner died before it had opened its run."""

STAGES = ("make", "once", "migrate", "after")
ONCE = ("once", "after")
"""Stages that may not be repeated unless somebody says so."""


def make(folder: Path) -> Path:
    """Make the project, in git, written by somebody who may not approve; keys of the people beside it."""
    project = folder / "project"
    project.mkdir(parents=True)
    keys(folder)
    (project / "pipeline.yaml").write_text(PIPELINE + PEOPLE_YAML)
    commit(project)
    return project


def keys(folder: Path) -> None:
    """Make a key for each of the people, and enrol it in the project."""
    projects.enrol(folder / "project", folder / "keys", *APPROVERS)


def commit(project: Path) -> None:
    """Commit all there is, as somebody who approves nothing."""
    projects.commit(project, "author", ".towpath/\neffects\nslow-*\n")


@dataclass
class Recovery:
    """What it took to come to the end, after a runner was killed. `asked_for` are stages that somebody had repeated."""

    kills: list[int] = field(default_factory=list)
    said: list[Done] = field(default_factory=list)
    asked_for: set[str] = field(default_factory=set)
    approved_again: bool = False

    def __str__(self) -> str:
        return "\n".join(map(str, self.said))


@dataclass
class Gated:
    """The project while it is driven. `steps` is what people type; `trust` enrols the runner's key."""

    runners: Runners
    project: Path
    trust: Path
    steps: tuple[tuple[str, ...], ...] = STEPS

    def run(self, *argv: str, kill_at: str | None = None, orphans: bool = False) -> Done:
        return self.runners.run(self.project, *argv, kill_at=kill_at, orphans=orphans)

    def recover(self, step: int, kills: Sequence[int] = ()) -> Recovery:
        """Type what the commands themselves say that one should, until the run has succeeded.

        `kills` are counts of points: each next command dies at its point of that number, if it has so many.
        """
        recovery = Recovery(list(kills))
        done = self.again(recovery, *(("resume",) if self.steps[step][0] == "run" else self.steps[step]))
        for _ in range(20):
            if NOTHING_YET.search(done.err):
                done = self.again(recovery, "run")
            elif "nobody knows" in done.err:
                [stage] = [name for name in STAGES if f"--again {name}" in done.err]
                recovery.asked_for.add(stage)
                done = self.again(recovery, "resume", "--again", stage)
            elif done.status == 75 and done.argv[0] in ("run", "resume"):
                recovery.approved_again |= step == len(self.steps) - 1
                for approve in STEPS[1:-1]:
                    done = self.again(recovery, *approve)
            elif done.status == 0 and done.argv[0] == "resume":
                return recovery
            elif done.status == 0 or done.killed:
                done = self.again(recovery, "resume")
            else:
                break
        raise AssertionError(f"no way on after:\n{recovery}")

    def again(self, recovery: Recovery, *argv: str) -> Done:
        number = recovery.kills.pop(0) if recovery.kills else None
        recovery.said.append(self.runners.run(self.project, *argv, kill_after=number))
        return recovery.said[-1]

    def state(self) -> dict[str, Any]:
        """What the end has in common with that of an undisturbed run."""
        status = json.loads(self.run("status", "--json").out)
        stages = {name: (each["state"], each["outputs"]) for name, each in status["stages"].items()}
        return {"state": status["state"], "stages": stages, "ledger": lasting(self.ledger())}

    def ledger(self) -> list[dict[str, Any]]:
        return ledger(self.project, "333333333333")

    def effects(self) -> list[str]:
        """What the programs did, in order: the names of their stages."""
        path = self.project / "effects"
        return [line.split()[0] for line in path.read_text().splitlines()] if path.exists() else []


def problems(gated: Gated, recovery: Recovery, killed: Done, kept: Mapping[str, bytes], undisturbed: Any) -> list[str]:
    """Say what does not hold at the end of a drive. `kept` is the record as it was right after the kill."""
    found = []
    state, effects, known = gated.state(), gated.effects(), finished(kept)
    if state != undisturbed:
        found.append(f"it ends otherwise: {state}")
    found += lost(killed, kept, runner.objects(gated.project))
    for stage in STAGES:
        count = effects.count(stage)
        if count == 0:
            found.append(f"{stage} was never done")
        if count > 1 and (stage in known or (stage in ONCE and stage not in recovery.asked_for)):
            found.append(f"{stage} was done {count} times")
    found += [f"nobody was said to know of {stage}, and the record does" for stage in recovery.asked_for & known]
    found += ["people had to approve again what they had approved"] * recovery.approved_again
    verified = gated.run("audit", "verify", "--all", "--trust", str(gated.trust))
    return found + [f"audit verify: {verified}"] * (verified.status not in (0, 7))


def ledger(project: Path, account: str) -> list[dict[str, Any]]:
    """The events of the one ledger of an account."""
    entries = sorted((project / ".towpath/store/ledgers").glob(f"*.{account}.*/*.json"))
    return [json.loads(base64.b64decode(json.loads(each.read_bytes())["payload"])) for each in entries]


def lasting(entries: list[dict[str, Any]]) -> list[str]:
    """The types of a ledger's events, without what says that a later attempt is at what an older one was to do."""
    types = [each["type"] for each in entries if each["type"] != "deployment.resumed"]
    return [each for each, after in zip(types, [*types[1:], None], strict=True) if (each, after) != _AGAIN]


_AGAIN = ("deployment.intended", "deployment.intended")


def finished(kept: Mapping[str, bytes]) -> set[str]:
    """The stages of which the record says that they have done what they had to."""
    found = set()
    for key, data in kept.items():
        if re.fullmatch(r"runs/[^/]+/[^/]+\.\d+/\d+\.json", key):
            event = json.loads(data)
            if event["type"] == "phase.finished" and event["data"]["outcome"] == "succeeded":
                found.add(key.split("/")[2].rpartition(".")[0])
    return found


def lost(killed: Done, kept: Mapping[str, bytes], now: Mapping[str, bytes]) -> list[str]:
    """Say what of the record is no longer there, or another."""
    gone = [f"{key} is lost" for key, data in kept.items() if now.get(key) != data]
    return gone + [f"{key} was acknowledged, and is lost" for key in killed.acknowledged if key not in now]
