"""Approvals by the commands that people type, with keys that ssh-keygen made; and what an auditor then finds."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import time
from pathlib import Path

import pytest
from support.machine import Machine
from support.projects import commit, enrol

from pipeline.record import digest, ledger, ledgers
from pipeline.record.store.directory import open_store

PIPELINE = """\
version: 1
name: gated
people:
  ada: {emails: [ada@example.com]}
  grace: {emails: [grace@example.com]}
  linus: {emails: [linus@example.com]}
groups:
  release: [ada, grace, linus]
signers: allowed_signers
environments:
  production:
    account: "333333333333"
    region: eu-central-1
    stack: demo
    approvals: {people: 2, from: [release]}
stages:
  migrate:
    uses: command
    environment: production
    with: {run: [touch, migrated], writes: [.]}
"""


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A project in git, asked for and written by linus, with a key for each of three people."""
    project = tmp_path / "project"
    project.mkdir()
    (project / "pipeline.yaml").write_text(PIPELINE)
    enrol(project, tmp_path, "ada", "grace", "linus")
    commit(project, "linus")
    return Machine(project, {"XDG_CONFIG_HOME": str(tmp_path / "config"), "HOME": str(tmp_path)})


def approve(machine: Machine, person: str, decision: str = "approve", code: int = 0) -> str:
    key = machine.project.parent / person
    arguments = [decision, "latest", "migrate", "--reason", "looked at it", "--sign-with", str(key)]
    done = machine.towpath(*arguments, code=code)
    return done.stdout + done.stderr


def test_two_people_approve_and_the_record_verifies(machine: Machine) -> None:
    said = machine.towpath("run", code=75).stderr
    assert "0 of 2 approved" in said
    assert "towpath approve" in said
    machine.towpath("gate", "check", "latest", "migrate", code=75)
    assert machine.json("approvals")[0]["missing"] == 2
    assert "1 of 2" in approve(machine, "ada")
    assert "cannot approve this: wrote commits" in approve(machine, "linus")
    machine.towpath("resume", code=75)
    assert not (machine.project / "migrated").exists()
    assert "open" in approve(machine, "grace")
    machine.towpath("gate", "check", "latest", "migrate")
    machine.towpath("stage", "apply", "migrate", "--run", "latest")
    assert (machine.project / "migrated").exists()
    assert machine.json("approvals") == []

    trust = machine.project.parent / "trust"
    public = ["ssh-keygen", "-y", "-f", str(machine.project.parent / "config/towpath/runner.key")]
    key = subprocess.run(public, capture_output=True, text=True, check=True).stdout
    trust.write_text(f'builder,gate namespaces="towpath" {" ".join(key.split()[:2])}\n')
    machine.towpath("audit", "verify", "latest", "--trust", str(trust))
    machine.towpath("audit", "verify", "latest", code=7)
    store = open_store(machine.project / ".towpath/store", create=False)
    book = ledgers.read(store, "ledgers/aws.333333333333.eu-central-1.demo")
    [intent] = [event for event in book.events if event.type == ledger.DEPLOYMENT_INTENDED]
    assert {each["person"] for each in intent.data["approvals"]} == {"ada", "grace"}
    story = machine.json("audit", "show")
    assert sorted(each["person"] for each in story["decisions"]) == ["ada", "grace", "linus"]  # counted or not
    assert [each["type"] for each in story["ledgers"]] == [
        "target.enrolled",
        "deployment.intended",
        "deployment.finished",
    ]
    assert story["attempts"][-1]["gate"]["state"] == "open"
    assert "approved by   ada, grace" in machine.towpath("audit", "show").stdout


def test_decisions_made_on_copies_of_the_store_are_received(machine: Machine, tmp_path: Path) -> None:
    """Two people, each with a copy of the record on a machine of their own; what they send is text."""
    machine.towpath("run", code=75)
    sent = []
    for person in ("ada", "grace"):
        shutil.copytree(machine.project / ".towpath/store", tmp_path / f"copy-{person}")
        key, copy = str(tmp_path / person), str(tmp_path / f"copy-{person}")
        decided = machine.json("approve", "latest", "migrate", "--reason", "seen", "--sign-with", key, "--store", copy)
        assert decided["missing"] == 1
        sent.append(Path(decided["document"]).read_bytes())
    machine.towpath("gate", "check", "latest", "migrate", code=75)
    (tmp_path / "both").write_bytes(b"\n " + b" ".join(sent) + b"\n")
    assert "migrate: open" in machine.towpath("gate", "receive", str(tmp_path / "both")).stdout
    assert "migrate: open" in machine.towpath("gate", "receive", str(tmp_path / "both")).stdout
    machine.towpath("stage", "apply", "migrate", "--run", "latest")
    assert (machine.project / "migrated").exists()


def test_an_apply_that_was_killed_goes_on_by_the_same_command(machine: Machine) -> None:
    pipeline = machine.project / "pipeline.yaml"
    once = "[/bin/sh, -c, 'test -e begun && touch migrated && exit; touch begun; sleep 60']"
    text = pipeline.read_text().replace("[touch, migrated]", once)
    pipeline.write_text(text.replace("uses: command\n", "uses: command\n    idempotent: true\n"))
    subprocess.run(["git", "commit", "-qam", "two"], cwd=machine.project, check=True)
    machine.towpath("run", code=75)
    approve(machine, "ada")
    approve(machine, "grace")
    with machine.popen("stage", "apply", "migrate", "--run", "latest") as applying:
        while not (machine.project / "begun").exists():
            time.sleep(0.01)
        applying.kill()
        applying.communicate()
    machine.towpath("stage", "apply", "migrate", "--run", "latest")
    assert (machine.project / "migrated").exists()


def test_what_is_no_decision_on_a_run_of_this_store_is_not_received(machine: Machine, tmp_path: Path) -> None:
    machine.towpath("run", code=75)
    approve(machine, "ada")
    [document] = (machine.project / ".towpath/store/inbox").rglob("*.json")
    data = document.read_bytes()
    for name, content, code, says in (
        ("text", b"yes, go ahead", 4, "not JSON"),
        ("nothing", b" ", 2, "no decision"),
        ("other", b'{"v": 1}', 4, "canonical"),
        ("cut", data[: len(data) // 2], 4, "not JSON"),
        ("one good, one not", data + b"\n{}", 4, "no document of an approval"),
    ):
        (tmp_path / name).write_bytes(content)
        said = machine.towpath("gate", "receive", str(tmp_path / name), code=code).stderr
        assert says in said, said
        assert name in said, said
    statement = json.loads(data)
    moved = base64.b64decode(statement["statement"]).replace(b'"run":"2', b'"run":"1')
    forged = {**statement, "statement": base64.b64encode(moved).decode()}
    (tmp_path / "elsewhere").write_bytes(digest.canonical(forged))
    assert "is not in" in machine.towpath("gate", "receive", str(tmp_path / "elsewhere"), code=2).stderr
    other = {**statement, "signature": statement["signature"].replace("A", "B")}
    (tmp_path / "signature").write_bytes(digest.canonical(other))
    assert "another signature" in machine.towpath("gate", "receive", str(tmp_path / "signature"), code=4).stderr
    assert [each.read_bytes() for each in (machine.project / ".towpath/store/inbox").rglob("*.json")] == [data]


def test_who_a_ci_system_acts_for_asked_for_the_run(machine: Machine) -> None:
    pipeline = machine.project / "pipeline.yaml"
    pipeline.write_text(pipeline.read_text().replace("emails: [grace@example.com]", "logins: [grace-on-ci]"))
    subprocess.run(["git", "commit", "-qam", "two"], cwd=machine.project, check=True)
    machine.variables["GITHUB_ACTOR"] = "grace-on-ci"
    machine.towpath("run", code=75)
    assert "for grace-on-ci" in machine.towpath("audit", "show").stdout
    assert "cannot approve this: asked for the run" in approve(machine, "grace")


def test_nobody_who_pins_keys_decides_on_a_record_that_others_sealed(machine: Machine, tmp_path: Path) -> None:
    """It may be a copy that came from anywhere, with a text that says another thing than its subject."""
    machine.towpath("run", code=75)
    public = (tmp_path / "ada.pub").read_text().split()
    (tmp_path / "trust").write_text(f'builder,gate namespaces="towpath" {" ".join(public[:2])}\n')
    machine.variables["TOWPATH_TRUST"] = str(tmp_path / "trust")
    assert "does not enrol" in approve(machine, "ada", code=4)
    machine.towpath("gate", "check", "latest", "migrate", code=4)
    assert "does not enrol" in machine.towpath("approvals").stderr
    assert not (machine.project / ".towpath/store/inbox").exists()


def test_what_is_approved_is_verified_by_ssh_keygen_too(machine: Machine, tmp_path: Path) -> None:
    machine.towpath("run", code=75)
    approve(machine, "ada")
    [document] = (machine.project / ".towpath/store/inbox").rglob("*.json")
    value = json.loads(document.read_bytes())
    (tmp_path / "signature").write_text(value["signature"])
    verify = ["ssh-keygen", "-Y", "verify", "-f", str(machine.project / "allowed_signers"), "-I", "ada"]
    argv = [*verify, "-n", "towpath-approval", "-s", str(tmp_path / "signature")]
    statement = base64.b64decode(value["statement"])
    assert subprocess.run(argv, input=statement, capture_output=True, check=False).returncode == 0
    changed = statement.replace(b"looked", b"locked")
    assert subprocess.run(argv, input=changed, capture_output=True, check=False).returncode != 0


def test_a_reject_is_exit_code_5(machine: Machine) -> None:
    machine.towpath("run", code=75)
    approve(machine, "grace", "reject")
    machine.towpath("gate", "check", "latest", "migrate", code=5)
    assert "looked at it" in machine.towpath("resume", code=5).stderr


def test_a_stranger_is_told_who_may(machine: Machine, tmp_path: Path) -> None:
    machine.towpath("run", code=75)
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "mallory"], check=True)
    assert "Who may: ada, grace, linus" in approve(machine, "mallory", code=2)


def test_weakening_the_rules_in_the_same_change_does_not_help(machine: Machine) -> None:
    machine.towpath("run", code=75)
    approve(machine, "ada")
    approve(machine, "grace")
    machine.towpath("resume")
    (machine.project / "migrated").unlink()
    pipeline = machine.project / "pipeline.yaml"
    pipeline.write_text(pipeline.read_text().replace("approvals: {people: 2, from: [release]}", "approvals: none"))
    subprocess.run(["git", "commit", "-qam", "nobody need approve"], cwd=machine.project, check=True)
    assert "the old ones decide" in machine.towpath("run", code=75).stderr
    assert not (machine.project / "migrated").exists()


def test_an_environment_that_says_nothing_of_approvals_is_a_mistake(machine: Machine) -> None:
    pipeline = machine.project / "pipeline.yaml"
    pipeline.write_text(pipeline.read_text().replace("    approvals: {people: 2, from: [release]}\n", ""))
    assert "approvals: none" in machine.towpath("validate", code=2).stderr


def test_proposing_where_nobody_need_approve_leaves_a_record_that_holds(machine: Machine) -> None:
    pipeline = machine.project / "pipeline.yaml"
    text = pipeline.read_text().replace("approvals: {people: 2, from: [release]}", "approvals: none")
    before = "  first:\n    uses: command\n    with: {run: ['true']}\n  migrate:\n    needs: [first]\n"
    pipeline.write_text(text.replace("  migrate:\n", before))
    machine.towpath("stage", "run", "first", "--run", "new")
    machine.towpath("stage", "propose", "migrate", "--run", "latest")
    assert not (machine.project / "migrated").exists()
    assert "does not hold" not in machine.towpath("audit", "verify", "latest", code=7).stderr
    machine.towpath("stage", "apply", "migrate", "--run", "latest")
    assert (machine.project / "migrated").exists()
    machine.towpath("audit", "verify", "latest", code=7)


@pytest.mark.parametrize("options", [["--reason", " "], ["--reason", "x", "--expires", "soon"]])
def test_a_mistake_is_told_before_the_proposal_is_shown(machine: Machine, options: list[str]) -> None:
    machine.towpath("run", code=75)
    done = machine.towpath("approve", "latest", "migrate", *options, code=2)
    assert done.stdout == ""
    assert options[-2] in done.stderr


def test_one_approval_for_several_regions(machine: Machine) -> None:
    """Each region's gate counts it; the second region is migrated after the first, with no other approval."""
    production = PIPELINE.partition("  production:")[2].partition("stages:")[0]
    text = PIPELINE.replace("stages:\n", f"  overseas:{production.replace('eu-central-1', 'us-east-1')}stages:\n")
    text = text.replace("environment: production", "environments: [production, overseas]").replace(
        "touch, ", "mkdir, -p, "
    )
    (machine.project / "pipeline.yaml").write_text(text)
    commit(machine.project, "linus")
    waits = machine.towpath("run", code=75)
    assert "towpath approve" in waits.stderr
    assert waits.stderr.count("towpath approve") == 1
    approve(machine, "ada")
    told = approve(machine, "grace")
    assert "migrate-production: open" in told
    assert "migrate-overseas: open" in told
    machine.towpath("resume")
    assert (machine.project / "migrated").is_dir()
    assert {each["state"] for each in machine.json("status")["stages"].values()} == {"succeeded"}
    shown = machine.towpath("audit", "verify", code=7).stdout
    for region in ("production", "overseas"):
        assert f"migrate-{region} was let through by the rules in force, approved by ada, grace" in shown
