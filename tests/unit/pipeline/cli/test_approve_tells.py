"""Who approves tells those whom the definition before him names, and never those whom a store names."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest
from support.machine import Machine
from support.receiver import receiver

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.receiver import Receiver

DEFINITION = """
version: 1
name: demo
people:
  ada: {{emails: [ada@example.com]}}
  grace: {{emails: [grace@example.com]}}
signers: allowed_signers
secrets: {{HOOK: {{variable: HOOK_KEY}}}}
notifications: [{{to: webhook, url: "{url}/hook", secret: HOOK}}]
environments:
  production: {{account: "111122223333", region: eu-central-1, stack: demo, approvals: {{people: 1, from: [grace]}}}}
stages:
  migrate: {{uses: command, environment: production, with: {{run: ['true']}}}}
"""


@pytest.fixture
def at() -> Iterator[Receiver]:
    with receiver() as made:
        yield made


@pytest.fixture
def machine(tmp_path: Path, at: Receiver) -> Machine:
    project = tmp_path / "project"
    project.mkdir()
    (project / "pipeline.yaml").write_text(DEFINITION.format(url=at.url))
    key = tmp_path / "grace"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(key)], check=True)
    public = key.with_suffix(".pub").read_text().strip()
    (project / "allowed_signers").write_text(f'grace namespaces="towpath-approval" {public}\n')
    for arguments in (
        ["init", "-q"],
        ["config", "user.email", "ada@example.com"],
        ["add", "-A"],
        ["commit", "-qm", "x"],
    ):
        subprocess.run(["git", "-c", "user.name=Ada", *arguments], cwd=project, check=True)
    variables = {"XDG_CONFIG_HOME": str(tmp_path / "config"), "TOWPATH_CI": "none", "NO_PROXY": "127.0.0.1"}
    return Machine(project, {**variables, "HOOK_KEY": "correct-horse-battery"})


def test_an_approval_is_told_by_who_approves_and_not_again(machine: Machine, at: Receiver, tmp_path: Path) -> None:
    machine.towpath("run", code=75)
    approve = ("approve", "latest", "migrate", "--reason", "seen", "--sign-with", str(tmp_path / "grace"))
    machine.towpath(*approve)
    assert [each.json["event"] for each in at.got] == ["waiting", "approved"]
    assert at.got[1].json["text"].startswith("grace approved migrate of run ")
    machine.towpath("resume")
    assert len(at.got) == 2


def test_what_a_store_names_is_not_told(machine: Machine, at: Receiver, tmp_path: Path) -> None:
    machine.towpath("run", code=75)
    definition = machine.project / "pipeline.yaml"
    text = definition.read_text()
    definition.write_text("\n".join(each for each in text.splitlines() if "HOOK" not in each) + "\n")
    machine.towpath("approve", "latest", "migrate", "--reason", "seen", "--sign-with", str(tmp_path / "grace"))
    assert [each.json["event"] for each in at.got] == ["waiting"]
    definition.write_text(text)
    machine.towpath("resume")  # the runner does, by the plan
    assert [each.json["event"] for each in at.got] == ["waiting", "approved"]
