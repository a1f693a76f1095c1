"""break-glass, as people type it: real keys, real signatures."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest
from support.machine import Machine

if TYPE_CHECKING:
    from pathlib import Path

DEFINITION = """
version: 1
name: demo
people:
  ada: {emails: [ada@example.com]}
  grace: {emails: [grace@example.com]}
signers: allowed_signers
environments:
  production:
    account: "111122223333"
    region: eu-central-1
    stack: demo
    approvals: {people: 1, from: [grace]}
    break-glass: {from: [ada]}
    freeze: [{name: now, from: 2020-01-01 00:00, to: 2990-01-01 00:00, zone: UTC}]
stages:
  migrate: {uses: command, environment: production, with: {run: ['true']}}
"""


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    project, home = tmp_path / "project", tmp_path / "home"
    for each in (project, home / ".ssh"):
        each.mkdir(parents=True)
    (project / "pipeline.yaml").write_text(DEFINITION)
    lines = []
    for name, namespaces in (("ada", "towpath-break-glass"), ("grace", "towpath-approval")):
        path = home / name
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(path)], check=True)
        public = path.with_suffix(".pub").read_text().rsplit(" ", 1)[0]
        lines.append(f'{name} namespaces="{namespaces}" {public}\n')
    (project / "allowed_signers").write_text("".join(lines))
    git = ["git", "-c", "user.name=Ada"]
    for arguments in (
        ["init", "-q"],
        ["config", "user.email", "ada@example.com"],
        ["add", "-A"],
        ["commit", "-qm", "x"],
    ):
        subprocess.run([*git, *arguments], cwd=project, check=True)
    variables = {
        "XDG_CONFIG_HOME": str(tmp_path / "config"),
        "TOWPATH_CI": "none",
        "HOME": str(home),
        "SSH_AUTH_SOCK": "",
    }
    return Machine(project, variables)


def test_an_emergency_from_end_to_end(machine: Machine, tmp_path: Path) -> None:
    ada, grace = (str(tmp_path / "home" / name) for name in ("ada", "grace"))
    machine.towpath("run", code=75)
    said = ("--reason", "production is down")
    waive = ("break-glass", "latest", "migrate", "--waive")
    refused = machine.towpath(*waive, "window,approvals", *said, "--sign-with", grace, code=2)
    assert "is no key of anybody who may do this" in refused.stderr
    told = machine.towpath(*waive, "window,approvals", *said, "--sign-with", ada).stdout
    assert "'ada' broke the glass, which waives approvals, window: production is down" in told
    assert "towpath resume" in told
    machine.towpath("resume")

    assert "and not reviewed: production is down" in machine.towpath("status").stdout
    assert "ada broke the glass, and nobody has reviewed that" in machine.towpath("environments").stdout
    [left] = machine.json("break-glass")
    assert (left["person"], left["waived"]) == ("ada", ["approvals", "window"])
    review = ("break-glass", "latest", "migrate", "--review", "--reason", "rightly so")
    assert "is no key of anybody" in machine.towpath(*review, "--sign-with", ada, code=2).stderr
    assert "and in the ledger" in machine.towpath(*review, "--sign-with", grace).stdout
    assert machine.json("break-glass") == []
    assert "there is nothing to review" in machine.towpath(*review, "--sign-with", grace, code=2).stderr
    line = next(each for each in machine.towpath("doctor").stdout.splitlines() if "ssh-ed25519" in each)
    (tmp_path / "trust").write_text(line.partition("FILE: ")[2] + "\n")
    machine.towpath("audit", "verify", "latest", "--trust", str(tmp_path / "trust"))
