"""With `--trust` nothing is done on the word of a key that nobody enrolled; without it, whoever writes to the store is believed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.machine import Machine
from support.projects import commit, enrol
from support.signing import new_key, trust_line

from pipeline.gates.rules import NOBODY
from pipeline.record import artifacts, chain, digest, ledger, ledgers
from pipeline.record.store.directory import open_store
from pipeline.record.writer import event_key, read_chain
from pipeline.signing import keys

if TYPE_CHECKING:
    from pathlib import Path

    from pipeline.signing.keys import Key

NAME = "ledgers/aws.333333333333.eu-central-1.demo"
PIPELINE = """\
version: 1
name: relied-on
people:
  ada: {emails: [ada@example.com]}
  linus: {emails: [linus@example.com]}
signers: allowed_signers
environments:
  production:
    account: "333333333333"
    region: eu-central-1
    stack: demo
    approvals: {people: 1, from: [ada]}
stages:
  make:
    uses: command
    with: {run: [/bin/sh, -c, 'mkdir $TOWPATH_OUTPUTS/thing; echo made > $TOWPATH_OUTPUTS/thing/file'], outputs: [thing]}
  migrate:
    uses: command
    needs: [make]
    environment: production
    with: {run: [touch, migrated], inputs: [thing], writes: [.]}
"""


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A project by linus, whom ada must approve; the runner's key is enrolled as builder and gate."""
    project = tmp_path / "project"
    project.mkdir()
    (project / "pipeline.yaml").write_text(PIPELINE)
    enrol(project, tmp_path, "ada")
    commit(project, "linus")
    keys.make(tmp_path / "runner")
    trust = tmp_path / "trust"
    trust.write_text(trust_line(runner_key(tmp_path).public, "builder,gate"))
    variables = {"HOME": str(tmp_path), "TOWPATH_KEY": str(tmp_path / "runner"), "TOWPATH_TRUST": str(trust)}
    return Machine(project, variables)


def runner_key(folder: Path) -> Key:
    return keys.load(folder / "runner")


def approve(machine: Machine) -> None:
    key = str(machine.project.parent / "ada")
    machine.towpath("approve", "latest", "migrate", "--reason", "looked at it", "--sign-with", key)


def done(machine: Machine) -> bool:
    return (machine.project / "migrated").exists()


def event(machine: Machine, attempt: str, name: str) -> Path:
    [path] = machine.project.glob(f".towpath/store/runs/*/{attempt}/{name}")
    path.chmod(0o640)
    return path


def test_by_enrolled_keys_all_goes_on(machine: Machine) -> None:
    machine.towpath("run", code=75)
    approve(machine)
    machine.towpath("gate", "check", "latest", "migrate")
    machine.towpath("resume")
    assert done(machine)
    assert machine.json("audit", "verify")["runs"][0]["approved_by"] == {"migrate": ["ada"]}


def enrol_weaker(machine: Machine, key: Key) -> None:
    """Write a ledger by which nobody need approve, as somebody with the right to write to the store can."""
    store, prev = open_store(machine.project / ".towpath/store", create=False), None
    writer = {"key": key.public.line}
    entries: list[tuple[str, dict[str, object]]] = [
        (chain.CHAIN_OPENED, {"chain": NAME}),
        (ledger.TARGET_ENROLLED, {"rules": NOBODY.as_json(), "run": "x"}),
    ]
    for seq, (kind, data) in enumerate(entries):
        line = chain.encode(seq, prev, kind, {**data, "writer": writer})
        store.put_new(event_key(NAME, seq), ledgers.encode(line, key))
        prev = digest.of_bytes(line)


def test_a_ledger_by_a_stranger_stops_everything(machine: Machine) -> None:
    machine.towpath("run", code=75)
    enrol_weaker(machine, new_key())
    for command in (
        ["resume"],
        ["gate", "check", "latest", "migrate"],
        ["stage", "apply", "migrate", "--run", "latest"],
        ["run"],
    ):
        assert "does not enrol as gate" in machine.towpath(*command, code=4).stderr
    assert not done(machine)


def test_a_changed_record_is_not_built_upon(machine: Machine) -> None:
    machine.towpath("run", code=75)
    approve(machine)
    path = event(machine, "make.1", "00000002.json")
    path.write_bytes(path.read_bytes().replace(b'"status":0', b'"status":1'))
    assert "make.1/00000002.json: is not what was written" in machine.towpath("resume", code=4).stderr
    assert not done(machine)


def test_an_attempt_that_nobody_sealed_is_not_built_upon(machine: Machine) -> None:
    """As somebody would leave it who wrote it anew without a key; only the waiting attempt itself, as later ones vouch for others."""
    machine.towpath("run", code=75)
    approve(machine)
    event(machine, "migrate.1", "seal.json").unlink()
    assert "closed but not sealed" in machine.towpath("resume", code=7).stderr
    assert not done(machine)


def test_a_runner_that_is_not_enrolled_does_not_begin(machine: Machine, tmp_path: Path) -> None:
    keys.make(tmp_path / "other")
    assert "not enrolled as builder" in machine.towpath("run", "--key", str(tmp_path / "other"), code=2).stderr
    assert not (machine.project / ".towpath/store/runs").exists()


def test_a_runner_that_may_only_build_proposes_and_does_not_apply(machine: Machine, tmp_path: Path) -> None:
    keys.make(tmp_path / "builder")
    trust = tmp_path / "trust"
    trust.write_text(trust.read_text() + trust_line(keys.load(tmp_path / "builder").public))
    builder = ["--key", str(tmp_path / "builder")]
    machine.towpath("run", *builder, code=75)
    approve(machine)
    said = machine.towpath("stage", "apply", "migrate", "--run", "latest", *builder, code=1).stderr
    assert "does not enrol this runner's key as gate" in said
    assert not done(machine)
    machine.towpath("resume")  # the same proposal again: what was approved is still approved
    assert done(machine)
    machine.towpath("audit", "verify")


def test_nothing_is_signed_on_the_word_of_an_attempt_that_nobody_sealed(machine: Machine) -> None:
    """Who writes to the store shows an approver something harmless, and has the digest of something else signed."""
    machine.towpath("run", code=75)
    chain_of = event(machine, "migrate.1", "seal.json").parent
    lines = [path for path in sorted(chain_of.glob("*.json")) if path.name != "seal.json"]
    prev = None
    for path in lines:
        found = chain.decode(path.read_bytes(), "migrate.1")
        if "proposal" in found.data:
            found.data["proposal"]["view"] = "nothing to change"
        path.chmod(0o640)
        path.write_bytes(chain.encode(found.seq, prev, found.type, found.data))
        prev = digest.of_bytes(path.read_bytes())
    signing = ["--reason", "x", "--sign-with", str(machine.project.parent / "ada")]
    for command in (["approve", "latest", "migrate", *signing], ["reject", "latest", "migrate", *signing]):
        assert "migrate.1" in machine.towpath(*command, code=4).stderr
    machine.towpath("gate", "check", "latest", "migrate", code=4)
    (chain_of / "seal.json").unlink()
    assert "migrate.1" in machine.towpath("approve", "latest", "migrate", *signing, code=4).stderr
    assert "nothing waits" in machine.towpath("approvals").stdout
    assert not list(machine.project.glob(".towpath/store/inbox/*/*/*"))


def test_what_a_dead_attempt_had_proposed_is_not_taken_over_on_nobodys_word(machine: Machine) -> None:
    """An attempt that died is sealed by nobody: what it was about to apply counts only if the ledger says that it had begun."""
    machine.towpath("run", code=75)
    approve(machine)
    store = open_store(machine.project / ".towpath/store", create=False)
    [run] = store.names("runs")
    events = read_chain(store, f"runs/{run}/migrate.1")
    told = {each.type: each.data for each in events}
    proposal = {**told[chain.PROPOSAL_ADOPTED]["proposal"], "view": "forged"}
    follows = {"chain": f"runs/{run}/migrate.1", "head": events[-1].digest, "length": len(events)}
    name, prev = f"runs/{run}/migrate.2", None
    writer = {**told[chain.CHAIN_OPENED]["writer"], "pid": 1, "started": "0"}
    opened = {**told[chain.CHAIN_OPENED], "chain": name, "attempt": 2, "follows": follows, "writer": writer}
    request = {
        "v": 1, "kind": "command", "phase": "apply", "handle": f"{run}-migrate-2", "proposal": proposal,
        "options": proposal["subject"]["options"], "target": proposal["subject"]["target"],
    }  # fmt: skip
    intended = {"phase": "apply", "handle": f"{run}-migrate-2-apply", "request": artifacts.put_json(store, request)}
    looked = {**told[chain.GATE_LOOKED_AT], "state": "open", "goes_on": True}
    for seq, (kind, data) in enumerate(
        [
            (chain.CHAIN_OPENED, opened),
            (chain.PROPOSAL_ADOPTED, {"from": 1, "proposal": proposal}),
            (chain.GATE_LOOKED_AT, looked),
            (chain.PHASE_INTENDED, intended),
        ]
    ):
        line = chain.encode(seq, prev, kind, data)
        store.put_new(event_key(name, seq), line)
        prev = digest.of_bytes(line)
    assert machine.towpath("resume", "--again", "migrate", code=4).stderr
    assert not done(machine)
