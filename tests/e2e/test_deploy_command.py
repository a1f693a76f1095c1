"""`towpath deploy` as somebody types it who has no pipeline."""

from __future__ import annotations

import os
import re
import subprocess
import uuid
from typing import TYPE_CHECKING

import pytest
from support.aws import client
from support.bare import HERE, IAM, TEMPLATE, type_in
from support.projects import enrol

from pipeline.gates import sshkeys
from pipeline.gates.rules import Rules
from pipeline.record import ledger, ledgers
from pipeline.record.store.directory import open_store
from pipeline.signing import keys
from stages.contract import Target

if TYPE_CHECKING:
    from pathlib import Path

    from support.machine import Machine

pytestmark = pytest.mark.engine

SECRET = "correct-horse-battery"


@pytest.fixture
def stack() -> str:
    return f"s{uuid.uuid4().hex[:12]}"


def images(machine: Machine, stack: str) -> list[str]:
    lambda_ = client(machine, "lambda")
    names = [each["FunctionName"] for each in lambda_.list_functions()["Functions"]]
    return [lambda_.get_function(FunctionName=name)["Code"]["ImageUri"] for name in names if name.startswith(stack)]


def test_it_is_built_packaged_and_deployed_and_the_second_time_there_is_nothing_to_change(
    machine: Machine, stack: str
) -> None:
    asked = ("deploy", "--stack-name", stack, *HERE, *IAM, "--resolve-image-repos")
    parameters = ("--parameter-overrides", "Stage=live", f"Password={SECRET}")
    first = machine.towpath(*asked, *parameters)
    assert "+ Add  Hello" in first.stderr
    assert f"Outputs\n  Name  {stack}-Hello" in first.stdout
    [found] = client(machine, "cloudformation").describe_stacks(StackName=stack)["Stacks"]
    assert found["StackStatus"] == "CREATE_COMPLETE"
    assert {"ParameterKey": "Stage", "ParameterValue": "live"} in found["Parameters"]
    [image] = images(machine, stack)
    assert f"/{stack}/hello@sha256:" in image
    [name] = [
        each["FunctionName"]
        for each in client(machine, "lambda").list_functions()["Functions"]
        if each["FunctionName"].startswith(stack)
    ]
    variables = client(machine, "lambda").get_function(FunctionName=name)["Configuration"]["Environment"]["Variables"]
    assert variables == {"STAGE": "live", "PASSWORD": SECRET}

    again = machine.towpath(*asked, *parameters)
    assert f"No changes to deploy. Stack {stack} is up to date" in again.stdout
    refused = machine.towpath(*asked, *parameters, "--fail-on-empty-changeset", code=1)
    assert "No changes to deploy" in refused.stderr
    written = [path for path in machine.project.rglob("*") if path.is_file()]
    assert SECRET not in first.stdout + first.stderr + again.stderr
    assert [path for path in written if SECRET.encode() in path.read_bytes()] == []


def test_a_packaged_template_is_deployed_as_it_is_and_its_tags_are_pinned(machine: Machine, stack: str) -> None:
    """Of another machine: neither the sources nor the engine are asked."""
    asked = ("deploy", "--stack-name", stack, *HERE, *IAM, "--resolve-image-repos", "--no-execute-changeset")
    left = machine.json(*asked)["stages"]["deploy"]["facts"]["change_set"]  # for whoever executes it
    found = client(machine, "cloudformation").describe_change_set(ChangeSetName=left)
    assert found["ExecutionStatus"] == "AVAILABLE"
    [built] = machine.json("status")["stages"]["package"]["facts"]["functions"].values()
    repository, _, digest = built["image"].partition("@")
    ecr = client(machine, "ecr")
    name = repository.partition("/")[2]
    [listed] = ecr.describe_images(repositoryName=name, imageIds=[{"imageDigest": digest}])["imageDetails"]
    packaged = TEMPLATE.replace(
        "PackageType: Image", f"PackageType: Image\n      ImageUri: {repository}:{listed['imageTags'][0]}"
    )
    (machine.project.parent / "packaged.yaml").write_text(packaged)
    (machine.project / "template.yaml").unlink()
    machine.variables |= {"DOCKER_HOST": "unix:///nowhere"}

    said = machine.towpath("deploy", "--template-file", "../packaged.yaml", "--stack-name", f"{stack}-2", *HERE, *IAM)
    assert "is a tag, which can be moved" in said.stderr
    assert images(machine, f"{stack}-2") == [built["image"]]
    body = client(machine, "cloudformation").get_template(StackName=f"{stack}-2", TemplateStage="Original")[
        "TemplateBody"
    ]
    assert body == packaged.replace(f":{listed['imageTags'][0]}", f"@{digest}")


def test_somebody_is_guided_declines_and_then_agrees(machine: Machine, stack: str) -> None:
    answers = [
        ("Stack Name [sam-app]:", stack),
        ("AWS Region [us-east-1]:", ""),
        ("Parameter Stage [dev]:", "life"),
        ("Parameter Stage [dev]:", "live"),
        ("Parameter Password (Enter keeps what it is):", SECRET),
        ("Confirm changes before deploy [y/N]:", "y"),
        ("Allow IAM role creation [Y/n]:", ""),
        ("Disable rollback [y/N]:", ""),
        ("Hello has no authentication. Is this okay? [y/N]:", "y"),
        ("Save arguments to configuration file [Y/n]:", ""),
        ("SAM configuration file", ""),
        ("SAM configuration environment [default]:", ""),
        ("Create managed ECR repositories for all functions? [Y/n]:", ""),
        ("Deploy this changeset? [y/N]:", "n"),
    ]
    declined = type_in(machine, "deploy", "--guided", *HERE, answers=answers)
    assert declined.code == 5
    assert "Stage does not allow 'life'. It allows: dev, live." in declined.text
    assert "is deleted" in declined.text
    assert SECRET not in declined.text
    cloudformation = client(machine, "cloudformation")
    assert stack not in [
        each["StackName"]
        for each in cloudformation.list_stacks()["StackSummaries"]
        if each["StackStatus"] != "DELETE_COMPLETE"
    ]
    kept = (machine.project / "samconfig.toml").read_text()
    assert SECRET not in kept
    assert 'parameter_overrides = "Stage=\\"live\\""' in kept
    assert "rejected" in machine.towpath("status").stdout
    assert "declined by" in machine.towpath("resume", code=5).stderr
    assert "--confirm-changeset asks, and there is no terminal" in machine.towpath("deploy", code=2).stderr

    agreed = type_in(machine, "deploy", answers=[("Deploy this changeset? [y/N]:", "y")])
    assert agreed.code == 0
    assert len(images(machine, stack)) == 1

    offered = [(f"Stack Name [{stack}]:", ""), ("AWS Region [us-east-1]:", ""), ("Parameter Stage [live]:", "\x03")]
    assert type_in(machine, "deploy", "-g", answers=offered).code == 130


def test_an_open_endpoint_that_is_not_okay_ends_it_before_anything_is_done(bare: Machine) -> None:
    answers = [
        ("Stack Name", ""),
        ("AWS Region", ""),
        ("Parameter Stage", ""),
        ("Parameter Password", ""),
        ("Confirm changes", ""),
        ("role creation", "n"),
        ("Capabilities [CAPABILITY_IAM]", "CAPABILITY_NAMED_IAM"),
        ("Disable rollback", ""),
        ("Hello has no authentication. Is this okay? [y/N]:", ""),
    ]
    said = type_in(bare, "deploy", "--guided", *HERE, answers=answers)
    assert said.code == 5
    assert "Hello has no authentication, and that is not okay" in said.text
    assert sorted(each.name for each in bare.project.iterdir()) == ["hello", "template.yaml"]


def test_it_does_not_lead_round_a_gate(machine: Machine, stack: str) -> None:
    """A pipeline has enrolled the target, with rules: who deploys without it waits for the same people, and changes no rule."""
    keys_of, store = machine.project.parent / "keys", open_store(machine.project / ".towpath/store", create=True)
    enrol(machine.project, keys_of, "ada")
    public = sshkeys.normal((keys_of / "ada.pub").read_text().rpartition(" ")[0])
    rules = Rules(
        people=1,
        approvers={"ada": (public,)},
        identities={"dora@example.com": "dora", "ada@example.com": "ada"},
        expires_s=3600,
        scan="none",
    )
    target = Target("production", "000000000000", "us-east-1", embedded=True, stack=stack)
    book = ledgers.read(store, ledger.name_of(target))
    runner = keys.find(None, machine.environment, lambda _: None)
    ledgers.append(store, book, [(ledger.TARGET_ENROLLED, {"rules": rules.as_json(), "run": "x"})], runner)
    _commit(machine.project, "dora")

    asked = ("deploy", "--stack-name", stack, *HERE, *IAM, "--resolve-image-repos")
    waiting = machine.towpath(*asked, code=75)
    assert "0 of 1 approved" in waiting.stderr
    assert images(machine, stack) == []
    run = re.search(r"towpath approve (\S+) deploy", waiting.stderr)
    assert run, waiting.stderr
    machine.towpath("approve", run[1], "deploy", "--reason", "looked at it", "--sign-with", str(keys_of / "ada"))
    machine.towpath("resume", run[1])
    assert len(images(machine, stack)) == 1
    after = ledgers.read(store, book.name)
    assert after.rules == rules.as_json()
    assert [event.type for event in after.events].count(ledger.RULES_CHANGED) == 0
    assert "0 of 1 approved" in machine.towpath("delete", "--stack-name", stack, *HERE, "--yes", code=75).stderr
    assert len(images(machine, stack)) == 1


def _commit(project: Path, author: str) -> None:
    (project / ".gitignore").write_text(".towpath/\n")
    git = ["git", "-c", f"user.name={author}", "-c", f"user.email={author}@example.com"]
    for arguments in (
        ["init", "-q"],
        ["config", "user.email", f"{author}@example.com"],
        ["add", "-A"],
        ["commit", "-qm", "one"],
    ):
        subprocess.run([*git, *arguments], cwd=project, check=True, env={**os.environ})


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--guided",), "--guided asks, and there is no terminal"),
        (("--stack-name", "x", "--confirm-changeset"), "--no-confirm-changeset"),
        ((), "--stack-name is missing"),
        (
            ("--no-progressbar", "--max-wait-duration", "9"),
            "--max-wait-duration is not needed: a stage has a time limit",
        ),
        (("--signing-profiles", "Fn=x"), "Towpath does not sign code"),
        (("--stack-name", "x", "--region", "eu-west-1"), "no usable AWS credentials"),
        (("--stack-name", "x", *HERE), "there is no repository for the images of Hello"),
        (("--stack-name", "x", *HERE, "--parameter-overrides", "Stge=live"), "Did you mean Stage?"),
        (("--stack-name", "x", *HERE, "--parameter-overrides", "Stage=life"), "does not allow 'life'"),
        (("--stack-name", "x", *HERE, "--parameter-overrides", "Stage"), "is not Name=value"),
        (("--stack-name", "x", *HERE, "--template-file", "nope.yaml"), "the template cannot be read"),
        (("--stack-name", "x", *HERE, "--config-env", "prod"), "no environment 'prod'"),
        (("--stack-name", "x", "--environment", "prod"), "--environment says what --stack-name would"),
        (("--stack-name", "x", *HERE, "--resolve-image-repos", "--image-repository", "y"), "Leave out one"),
    ],
)
def test_a_mistake_is_told_before_anything_is_built(bare: Machine, arguments: tuple[str, ...], said: str) -> None:
    assert said in bare.towpath("deploy", *arguments, code=2).stderr
    assert not (bare.project / ".towpath").exists()
