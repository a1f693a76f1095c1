"""`towpath delete` as somebody types it."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import pytest
from support.aws import client
from support.bare import HERE, IAM, type_in

from pipeline.record import ledger, ledgers
from pipeline.record.store.directory import open_store

if TYPE_CHECKING:
    from support.machine import Machine

pytestmark = pytest.mark.engine


def stacks(machine: Machine) -> list[str]:
    summaries = client(machine, "cloudformation").list_stacks()["StackSummaries"]
    return [each["StackName"] for each in summaries if each["StackStatus"] != "DELETE_COMPLETE"]


def test_a_stack_goes_and_its_image_with_it(machine: Machine) -> None:
    stack, repository = (f"{letter}{uuid.uuid4().hex[:10]}" for letter in "sr")
    machine.towpath("deploy", "--stack-name", stack, *HERE, *IAM, "--image-repository", repository)

    assert "--yes" in machine.towpath("delete", "--stack-name", stack, *HERE, code=2).stderr
    questions = [("Delete also the images that only it used? [y/N]:", "n"), ("Are you sure", "n")]
    declined = type_in(machine, "delete", "--stack-name", stack, *HERE, answers=questions)
    assert declined.code == 5
    assert "- Delete  Hello" in declined.text
    assert stack in stacks(machine)

    protect = client(machine, "cloudformation").update_termination_protection
    protect(StackName=stack, EnableTerminationProtection=True)
    refused = machine.towpath("delete", "--stack-name", stack, *HERE, "--yes", code=6)
    assert "is protected from being deleted" in refused.stderr
    protect(StackName=stack, EnableTerminationProtection=False)

    questions = [("Delete also the images that only it used? [y/N]:", "y"), ("Are you sure", "y")]
    agreed = type_in(machine, "delete", "--stack-name", stack, *HERE, answers=questions)
    assert agreed.code == 0, agreed.text
    assert stack not in stacks(machine)
    assert client(machine, "ecr").describe_images(repositoryName=repository)["imageDetails"] == []

    store = open_store(machine.project / ".towpath/store", create=False)
    book = ledgers.read(store, f"ledgers/embedded.000000000000.us-east-1.{stack}")
    kinds = [event.data["kind"] for event in book.events if event.type == ledger.DEPLOYMENT_INTENDED]
    assert (book.current, kinds) == (None, ["deploy", "delete"])
    [told] = [each for each in machine.json("environments") if each["target"]["stack"] == stack]
    assert told["current"] is None
    assert machine.json("audit", "verify", "latest", code=7)["runs"][0]["verdict"] == "consistent"


def test_a_name_that_is_mistyped_is_no_success(machine: Machine) -> None:
    assert "there is no stack nope" in machine.towpath("delete", "--stack-name", "nope", *HERE, "--yes", code=2).stderr
    assert "--stack-name is missing" in machine.towpath("delete", "--yes", code=2).stderr
