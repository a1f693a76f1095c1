"""From nothing to two functions behind APIs, as AWS's walkthrough of container images with SAM goes, typed at a terminal."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest
from support.machine import TOWPATH, Machine
from support.terminal import talk

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.engine, pytest.mark.slow]

HERE = ("--aws", "embedded")
REGION = ("--region", "eu-central-1")


def typed(machine: Machine, *arguments: str, answers: list[tuple[str, str]]) -> str:
    said = talk([TOWPATH, *arguments], machine.project, {**machine.environment, "TERM": "xterm"}, answers)
    assert said.code == 0, said.text
    return said.text


def addresses(text: str) -> dict[str, str]:
    """The endpoints that a deployment prints, by output."""
    return dict(re.findall(r"(\w+Url): (http://\S+)", text))


def test_the_walkthrough(tmp_path: Path, embedded: dict[str, str], base_image: str) -> None:
    answers = [
        ("Name", "shop"),
        ("Runtime", "python"),
        ("Functions", "hello"),
        ("Behind an API?", "y"),
        ("Architecture", ""),
        ("CI system", "none"),
        ("Environments, in order", "staging"),
    ]
    typed(Machine(tmp_path, embedded), "init", "--base-image", base_image, answers=answers)
    machine = Machine(tmp_path / "shop", embedded)
    machine.towpath("build")
    event = "functions/hello/events/greet.json"
    answer = machine.towpath("local", "invoke", "HelloFunction", "--event", event)
    assert json.loads(answer.stdout)["statusCode"] == 200
    assert "REPORT RequestId:" in answer.stderr

    asked = [
        ("Stack Name", "shop-walk"),
        ("AWS Region", "eu-central-1"),
        ("Confirm changes before deploy", "y"),
        ("Allow IAM role creation", "y"),
        ("Disable rollback", "n"),
        ("HelloFunction has no authentication. Is this okay?", "y"),
        ("Save arguments to configuration file", ""),
        ("SAM configuration file", ""),
        ("SAM configuration environment", ""),
        ("Create managed ECR repositories for all functions?", "y"),
        ("Deploy this changeset?", "y"),
    ]
    first = addresses(typed(machine, "deploy", "--guided", *HERE, answers=asked))
    assert machine.get(first["HelloUrl"])["message"].startswith("hello")

    machine.towpath("init", "function", "bye", "--base-image", base_image)
    again = [
        ("Stack Name [shop-walk]", ""),
        ("AWS Region [eu-central-1]", ""),
        ("Confirm changes before deploy [Y/n]", ""),
        ("Allow IAM role creation", ""),
        ("Disable rollback [y/N]", ""),
        ("HelloFunction has no authentication. Is this okay?", "y"),
        ("ByeFunction has no authentication. Is this okay?", "y"),
        ("Save arguments to configuration file", ""),
        ("SAM configuration file", ""),
        ("SAM configuration environment", ""),
        ("Create managed ECR repositories for all functions?", "y"),
        ("Deploy this changeset?", "y"),
    ]
    said = typed(machine, "deploy", "--guided", *HERE, answers=again)
    assert re.search(r"\+ Add +ByeFunction ", said)
    both = addresses(said)
    assert {machine.get(both[name])["message"] for name in ("HelloUrl", "ByeUrl")} == {"hello, world"}

    machine.towpath("package", *HERE, *REGION, "--image-repository", "shop", "--output-template-file", "one.yaml")
    several = [f"--image-repositories={name}Function=shop-{name.lower()}" for name in ("Hello", "Bye")]
    machine.towpath("package", *HERE, *REGION, *several, "--output-template-file", "several.yaml")
    uris = {
        name: re.findall(r"ImageUri: \S+/(\S+)@sha256:", (machine.project / name).read_text())
        for name in ("one.yaml", "several.yaml")
    }
    assert uris == {"one.yaml": ["shop", "shop"], "several.yaml": ["shop-hello", "shop-bye"]}
    options = ("--stack-name", "shop-packaged", "--no-confirm-changeset", "--capabilities", "CAPABILITY_IAM")
    deployed = machine.towpath("deploy", *HERE, "--template-file", "several.yaml", *options)
    elsewhere = addresses(deployed.stderr)
    assert {machine.get(elsewhere[name])["message"] for name in ("HelloUrl", "ByeUrl")} == {"hello, world"}
