"""Whether a release could be deployed now is asked of a real registry and real buckets, and nothing is made."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import pytest
from integration.stages.deploy.releases import TEMPLATE, image_uri

from stages.aws.session import connect
from stages.deploy.deployable import look

if TYPE_CHECKING:
    from integration.stages.deploy.releases import Deployer

pytestmark = pytest.mark.engine


def found(embedded: Deployer, content: str = "one", template: str = TEMPLATE) -> list[str]:
    folder = embedded.work(content, template) / "inputs/release"
    return [each.message for each in look(connect(embedded.target, embedded.access), folder)]


def test_what_is_there_can_be_deployed_and_nothing_is_made(embedded: Deployer) -> None:
    assert found(embedded) == []
    client = connect(embedded.target, embedded.access).cloudformation
    assert client.describe_stacks()["Stacks"] == []


def test_an_image_that_is_gone(embedded: Deployer) -> None:
    uri = image_uri(embedded.target, "one")
    repository, _, digest = uri.partition("/")[2].partition("@")
    connect(embedded.target, embedded.access).ecr.batch_delete_image(
        repositoryName=repository, imageIds=[{"imageDigest": digest}]
    )
    assert found(embedded) == [f"the image of HelloWorldFunction is not in its registry: {uri}"]


def test_all_that_is_missing_is_told_at_once(embedded: Deployer) -> None:
    folder = embedded.work("one") / "inputs/release"
    path = folder / "release.json"
    document: Any = json.loads(path.read_text())
    document["uploads"] = [
        {
            "id": "Zip",
            "name": "Code",
            "stack": "",
            "path": [],
            "sha256": "sha256:" + "1" * 64,
            "uri": "s3://nowhere/x.zip",
        }
    ]
    path.write_text(json.dumps(document))
    [problem] = look(connect(embedded.target, embedded.access), folder)
    assert "the release is not what it says it is" in problem.message


def test_parameters_that_the_template_no_longer_takes(embedded: Deployer) -> None:
    embedded.target = replace(embedded.target, parameters={"Nope": "x"})
    assert any("sets the parameter Nope, which the template does not have" in each for each in found(embedded))


def test_as_a_program_it_answers_in_json(embedded: Deployer) -> None:
    folder = embedded.work("one") / "inputs/release"

    def ask(**changed: Any) -> subprocess.CompletedProcess[str]:
        given = {
            "target": asdict(replace(embedded.target, **changed)),
            "access": asdict(embedded.access),
            "release": str(folder),
        }
        argv = [sys.executable, "-I", "-m", "stages.deploy", "deployable"]
        return subprocess.run(argv, input=json.dumps(given), capture_output=True, text=True, check=False)

    assert json.loads(ask().stdout.splitlines()[-1]) == []
    refused = ask(partition="aws-cn")
    assert refused.returncode == 1
    assert "account" in json.loads(refused.stderr.splitlines()[-1])["message"]
