"""Approvals of a real deployment: what voids them, and what does not."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from support.aws import client_where
from support.projects import commit, enrol

from pipeline.record import artifacts, ledgers, runs
from pipeline.record.store.directory import open_store

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.machine import Machine

    from pipeline.record.replay import Attempt

pytestmark = [pytest.mark.engine, pytest.mark.slow]

STAGE = "deploy-production"
PEOPLE = """
people:
  ada: {emails: [ada@example.com]}
  test: {emails: [test@example.com]}
signers: allowed_signers
"""


@pytest.fixture
def machine(example: Callable[..., Machine]) -> Machine:
    """The example, where ada must approve production, without the stages between package and it."""
    machine = example()
    enrol(machine.project, machine.project.parent, "ada")
    pipeline = machine.project / "pipeline.yaml"
    before, _, _ = pipeline.read_text().partition("  # Make a CloudFormation change set")
    stage = f"  {STAGE}: {{uses: deploy, needs: [package], environment: production}}\n"
    pipeline.write_text(before + stage + PEOPLE)
    environments = machine.project / "pipeline.d/environments.yaml"
    head, _, tail = environments.read_text().partition("\nproduction:")
    tail = tail.replace("approvals: none", "approvals: {people: 1, from: [ada]}\n  scan: required", 1)
    environments.write_text(f"{head}\nproduction:{tail}")
    commit(machine.project, "test")
    return machine


def git(machine: Machine, *arguments: str) -> None:
    subprocess.run(["git", *arguments], cwd=machine.project, check=True)


def approve(machine: Machine, run_id: str = "latest") -> None:
    key = str(machine.project.parent / "ada")
    machine.towpath("approve", run_id, STAGE, "--reason", "looked at it", "--sign-with", key)


def client(machine: Machine, service: Any) -> Any:
    return client_where(machine, STAGE, service)


def last(machine: Machine) -> Attempt:
    store = open_store(machine.project / ".towpath/store", create=False)
    attempt = runs.load(store, runs.find(store, "latest")).last(STAGE)
    assert attempt
    return attempt


def entries(machine: Machine) -> list[str]:
    store = open_store(machine.project / ".towpath/store", create=False)
    [name] = store.names("ledgers")
    return [
        f"{event.type} {event.data.get('outcome', '')}".strip()
        for event in ledgers.read(store, f"ledgers/{name}").events
    ]


def test_a_new_change_set_of_equal_content_keeps_its_approvals(machine: Machine) -> None:
    machine.towpath("run", code=75)
    approve(machine)
    proposal = last(machine).proposal
    assert proposal
    client(machine, "cloudformation").delete_change_set(ChangeSetName=proposal.handle["change_set_arn"])
    assert "was deleted" in machine.towpath("resume", code=4).stderr
    machine.towpath("resume")  # nobody is asked again
    again = last(machine).proposal
    assert again
    assert again.handle != proposal.handle
    assert again.subject == proposal.subject
    assert entries(machine)[2:] == [
        "deployment.intended",
        "deployment.finished failed",
        "deployment.intended",
        "deployment.finished succeeded",
    ]
    assert "does not hold" not in machine.towpath("audit", "verify", code=7).stderr
    assert machine.json("audit", "verify", code=7)["runs"][0]["verdict"] == "consistent"


def test_what_runs_there_moved_and_the_approval_is_void(machine: Machine) -> None:
    machine.towpath("run", code=75)
    approve(machine)
    machine.towpath("resume")
    [told] = [each for each in machine.json("environments", "--drift") if each["target"]["stack"]][1:]
    assert told["current"]["approved_by"] == ["ada"]
    assert told["rules"]["text"].startswith("1 approval of ada")
    assert told["drift"]["differs"] == []

    app = machine.project / "examples/demo-app/hello_world/app.py"
    app.write_text(app.read_text() + "\n# another image\n")
    git(machine, "commit", "-qam", "another release")
    machine.towpath("run", code=75)
    proposed = last(machine).proposal
    assert proposed
    compared = proposed.view.partition("Images\n")[2].splitlines()[1:4]  # by the scans of both runs
    assert [each.split(":")[0].strip() for each in compared] == ["layers", "packages", "findings"]
    assert "    packages: the same" in compared
    assert compared[2].startswith("    findings: 0 opened, 0 closed")
    approve(machine)
    lambda_ = client(machine, "lambda")
    functions = {each["FunctionName"]: each for each in lambda_.list_functions()["Functions"]}
    name = next(each for each in functions if "Hola" in each)
    other = next(each for each in functions if "HelloWorld" in each)
    image = lambda_.get_function(FunctionName=other)["Code"]["ImageUri"]
    lambda_.update_function_code(FunctionName=name, ImageUri=image)
    changed = machine.towpath("environments", "production", "--drift", code=4)
    assert "the image of HolaWorldFunction: recorded" in changed.stdout

    said = machine.towpath("resume", code=4).stderr
    assert "base.functions.HolaWorldFunction.image" in said
    assert "0 of 1 approved" in machine.towpath("resume", code=75).stderr
    [refused] = machine.json("approvals")[0]["refused"]
    assert (
        "no longer what was approved; these differ: proposal.base.functions.HolaWorldFunction.image"
        in refused["reason"]
    )
    approve(machine)  # of what would be done now
    machine.towpath("resume", code=4)  # the stack itself has nothing to change there: told, and not papered over
    assert machine.json("audit", "verify", code=7)["runs"][0]["verdict"] != "broken"


def test_an_older_run_does_not_replace_what_a_newer_one_deployed(machine: Machine) -> None:
    oldest, older, newer = (changed(machine, release) for release in ("oldest", "older", "newer"))
    approve(machine, older)
    machine.towpath("resume", older)  # the newer one has not been deployed by now
    approve(machine, newer)
    said = machine.towpath("resume", newer, code=6).stderr  # its change set went with the execution of the other
    assert f"run {older}" in said
    machine.towpath("resume", newer, code=75)
    approve(machine, newer)
    machine.towpath("resume", newer)
    running = [each["Configuration"] for each in functions(machine)]

    assert newer in machine.towpath("gate", "check", oldest, STAGE, code=6).stdout
    key = str(machine.project.parent / "ada")
    refused = machine.towpath("approve", oldest, STAGE, "--reason", "x", "--sign-with", key, code=6)
    assert newer in refused.stderr
    said = machine.towpath("resume", oldest, code=6).stderr
    assert f"outdated: run {newer}" in said
    assert "test@example.com" in said
    assert f"outdated: run {newer}" in machine.towpath("status", oldest).stdout
    assert f"no longer current: run {newer}" in machine.towpath("status", older).stdout
    assert [each["Configuration"] for each in functions(machine)] == running
    verdicts = {each["run"]: each["verdict"] for each in machine.json("audit", "verify", "--all", code=7)["runs"]}
    assert [verdicts[each] for each in (oldest, older, newer)] == ["consistent"] * 3


def changed(machine: Machine, text: str) -> str:
    app = machine.project / "examples/demo-app/hello_world/app.py"
    app.write_text(f"{app.read_text()}\n# {text}\n")
    git(machine, "commit", "-qam", text)
    return run(machine)


def run(machine: Machine) -> str:
    machine.towpath("run", code=75)
    found: str = machine.json("runs")[0]["run"]
    return found


def functions(machine: Machine) -> list[Any]:
    lambda_ = client(machine, "lambda")
    names = sorted(each["FunctionName"] for each in lambda_.list_functions()["Functions"])
    return [lambda_.get_function(FunctionName=name) for name in names]


def swap(machine: Machine, attempt: str, path: str, old: bytes, new: bytes) -> str:
    """Change a file, named `<output>/<path in it>`, in the store; give its key."""
    output, _, file = path.partition("/")
    store = open_store(machine.project / ".towpath/store", create=False)
    made = runs.load(store, runs.find(store, "latest")).last(attempt)
    assert made
    [sha256] = [each.sha256 for each in artifacts.manifest(store, made.outputs[output]) if each.path == file]
    kept = store.root / artifacts.blob_key(sha256)
    kept.chmod(0o640)
    data = kept.read_bytes()
    assert old in data
    kept.write_bytes(data.replace(old, new))
    return artifacts.blob_key(sha256)


def test_what_is_swapped_between_approval_and_apply_is_not_deployed(machine: Machine) -> None:
    machine.towpath("run", code=75)
    approve(machine)
    key = swap(machine, "package", "release/packaged-template.yaml", b"PackageType: Image", b"PackageType: Zip  ")
    said = machine.towpath("resume", code=4).stderr
    assert "packaged-template.yaml" in said
    assert key in machine.towpath("audit", "verify", code=4).stderr
    assert client(machine, "lambda").list_functions()["Functions"] == []


def test_a_verdict_swapped_after_the_scan_is_named(machine: Machine) -> None:
    machine.towpath("run", code=75)
    key = swap(machine, "scan", "scan/verdict.json", b'"fail_on": "HIGH"', b'"fail_on": "LOW" ')
    assert key in machine.towpath("audit", "verify", code=4).stderr
