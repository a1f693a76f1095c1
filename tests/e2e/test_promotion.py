"""From staging to production weeks later, back again at night, and forward once it is clear why."""

from __future__ import annotations

import re
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from support.aws import client_where
from support.projects import commit, enrol

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.machine import Machine

pytestmark = [pytest.mark.engine, pytest.mark.slow]

PEOPLE = """
people:
  ada: {emails: [ada@example.com]}
  bob: {emails: [bob@example.com]}
  test: {emails: [test@example.com]}
signers: allowed_signers
"""
STAGES = """
  deploy-staging: {uses: deploy, needs: [package], environment: staging}
  smoke:
    uses: invoke
    needs: [deploy-staging]
    environment: staging
    idempotent: true
    with: {requests: examples/demo-app/smoke.yaml}
  copy: {uses: package, needs: [smoke], environment: production, inputs: {release: package}}
  deploy-production: {uses: deploy, needs: [copy], environment: production, inputs: {release: copy}}
"""
STAGING = ("build", "package", "deploy-staging", "smoke")


@pytest.fixture
def machine(example: Callable[..., Machine]) -> Machine:
    """The example, where production is in another account and region with a registry of its own, where ada and bob must approve it, and
    test asks for runs."""
    machine = example()
    enrol(machine.project, machine.project.parent / "keys", "ada", "bob", "test")
    pipeline = machine.project / "pipeline.yaml"
    before, _, _ = pipeline.read_text().partition("  # Make a CloudFormation change set")
    before = re.sub(r"\n  # Compare the packages.*?(?=\n  # Push the images)", "", before, flags=re.DOTALL)
    pipeline.write_text(before.replace("needs: [build, scan]", "needs: [build]") + STAGES + PEOPLE)
    environments = machine.project / "pipeline.d/environments.yaml"
    head, _, tail = environments.read_text().partition("\nproduction:")
    tail = tail.replace("approvals: none", "approvals: {people: 2, from: [ada, bob, test]}\n  scan: none", 1)
    tail = tail.replace("region: eu-central-1", "region: eu-west-3\n  repository: live", 1)
    environments.write_text(f"{head}\nproduction:{tail}")
    commit(machine.project, "test")
    return machine


def release(machine: Machine, greeting: str) -> str:
    """Commit another release, and bring it as far as staging, as a CI system does; give the run."""
    app = machine.project / "examples/demo-app/hello_world/app.py"
    app.write_text(f"{app.read_text()}\n# {greeting}\n")
    subprocess.run(["git", "commit", "-qam", greeting], cwd=machine.project, check=True)
    found: str = machine.json("stage", "run", *STAGING, "--run", "new")["run"]
    return found


def approve(machine: Machine, run_id: str, *people: str, code: int = 0) -> str:
    said = ""
    for person in people:
        key = str(machine.project.parent / "keys" / person)
        done = machine.towpath(
            "approve", run_id, "deploy-production", "--reason", "looked at it", "--sign-with", key, code=code
        )
        said += done.stdout
    return said


def promoted(machine: Machine, run_id: str) -> str:
    """Promote a run to production and have it approved; give the new run."""
    new: str = machine.json("promote", run_id, "--to", "production", code=75)["run"]
    approve(machine, new, "ada", "bob")
    machine.towpath("resume", new)
    return new


def client(machine: Machine, service: Any) -> Any:
    return client_where(machine, "deploy-production", service)


def running(machine: Machine) -> dict[str, str]:
    """Which image each function of production runs."""
    lambda_ = client(machine, "lambda")
    names = [each["FunctionName"] for each in lambda_.list_functions()["Functions"]]
    return {name: lambda_.get_function(FunctionName=name)["Code"]["ImageUri"] for name in names}


def test_from_staging_to_production_and_back(machine: Machine) -> None:
    first = release(machine, "first")
    said = machine.towpath("promote", first, "--to", "production", code=75)
    assert "passed     deploy-staging in staging" in said.stderr
    assert "stands     production: nothing yet" in said.stderr
    one = machine.json("runs")[0]["run"]
    assert [each["inherited_from"] for each in machine.json("status", one)["stages"].values()] == [first] * 4 + [
        None
    ] * 2
    approve(machine, one, "ada", "bob")
    machine.towpath("resume", one)
    before = running(machine)
    assert all(".dkr.ecr.eu-west-3.amazonaws.com/live@" in each for each in before.values())
    assert "is what stands in production" in machine.towpath("promote", first, "--to", "production").stdout

    second = release(machine, "second")
    two = promoted(machine, second)
    newer = running(machine)
    assert newer != before
    assert "outdated" in machine.towpath("promote", first, "--to", "production", code=6).stderr

    could = machine.json("rollback", "production", "--check")["deployments"]
    assert [(each["run"], each["deployable"], each["missing"]) for each in could] == [(one, True, [])]

    # At night: whoever asks may approve it alone, and what ran before runs again.
    said = machine.towpath("rollback", "production", code=75)
    assert re.search(rf"stands +run {two}", said.stderr)
    assert re.search(rf"back to +run {one}", said.stderr)
    back = machine.json("runs")[0]["run"]
    assert "shorter rule" in approve(machine, back, "test")
    said = machine.towpath("resume", back)
    assert "production is held" in said.stderr
    assert running(machine) == before

    # Nothing else goes there until somebody says so.
    refused = machine.towpath("promote", second, "--to", "production", code=6)
    assert f"held: run {back}, asked for by test@example.com" in refused.stderr
    assert "towpath rollback production --lift --reason" in refused.stderr
    assert len(machine.json("runs")) == 5
    machine.towpath("rollback", "production", "--lift", code=2)
    machine.towpath("rollback", "production", "--lift", "--reason", "mended in another commit")
    assert "nothing is held" in machine.towpath("rollback", "production", "--lift", "--reason", "x", code=2).stderr
    three = promoted(machine, second)
    assert running(machine) == newer
    # What was gone back from is not gone back to.
    told: Any = machine.json("rollback", "production", code=75)["rolls_back"]
    assert told["to"]["run"] == one
    gone = next(iter(before.values()))
    client(machine, "ecr").batch_delete_image(
        repositoryName="live", imageIds=[{"imageDigest": gone.rpartition("@")[2]}]
    )
    told = machine.json("rollback", "production", "--check", code=1)["deployments"]
    assert [each["deployable"] for each in told] == [False]
    assert f"is not in its registry: {gone}" in told[0]["missing"][0]
    audited(machine, second, [one, two, back, three])


def audited(machine: Machine, second: str, made: list[str]) -> None:
    """What an auditor reads of the promotions and the rollback that were made of `second` and the one before it."""
    one, two, back, _ = made
    found = {each["run"]: each for each in machine.json("audit", "verify", "--all", code=7)["runs"]}
    assert [found[each]["verdict"] for each in made] == ["consistent"] * 4
    assert f"It rolled production back to the release of run {one}, by the shorter rule" in " ".join(
        found[back]["proved"]
    )
    assert "approved by test" in " ".join(found[back]["proved"])
    assert f"It promoted run {second} to production" in " ".join(found[two]["proved"])
    shown = machine.towpath("audit", "show", back).stdout
    assert f"rollback of production to the release of run {one}" in shown
    assert "hold.lifted" in shown
    assert "mended in another commit" in shown
