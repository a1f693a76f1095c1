"""A function in a real container, deployed by `deploy` and called by `invoke`, over HTTP and by Lambda's API."""

from __future__ import annotations

import base64
import json
import subprocess
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import docker
import pytest
from integration.stages.deploy.releases import Deployer, manifest, sha256
from integration.stages.deploy.running import embedded_aws, new_account
from support import functions

from stages.aws.names import engine_reference
from stages.aws.session import connect
from stages.contract import Access, Request, StageError, Target
from stages.deploy import apply as deploy
from stages.deploy import propose
from stages.deploy.release import release_digest
from stages.invoke import apply as invoke

if TYPE_CHECKING:
    from pathlib import Path

TEMPLATE = """\
Transform: AWS::Serverless-2016-10-31
Resources:
  HelloWorldFunction:
    Type: AWS::Serverless::Function
    Properties:
      PackageType: Image
      Timeout: 10
      ImageUri: IMAGE
      Events:
        Hello: {Type: Api, Properties: {Path: /hello, Method: get}}
Outputs:
  HelloWorldApi:
    Value: !Sub "https://${ServerlessRestApi}.execute-api.${AWS::Region}.amazonaws.com/Prod/hello/"
"""
HANDLER = b"""\
def handler(event, context):
    if event.get("fail"):
        raise ValueError("as asked")
    return {"statusCode": 200, "body": '{"message": "hello world"}'}
"""
REQUESTS = """\
- {name: http, endpoint: HelloWorldApi, expect: {json: {message: hello world}}}
- {name: event, function: HelloWorldFunction, event: {}, expect: {json: {statusCode: 200}}}
- {name: error, function: HelloWorldFunction, event: {fail: true}, expect: {error: "ValueError: as asked"}}
"""


def push(target: Target, access: Access) -> dict[str, Any]:
    """Build and push the function's image; what release.json says of it."""
    engine = docker.from_env()
    repository = f"{target.account}.dkr.ecr.{target.region}.amazonaws.com/app"
    reference = engine_reference(f"{repository}:one", access)
    ecr = connect(target, access).ecr
    ecr.create_repository(repositoryName="app")
    token = base64.b64decode(ecr.get_authorization_token()["authorizationData"][0]["authorizationToken"]).decode()
    login = dict(zip(("username", "password"), token.split(":", 1), strict=True))
    base = subprocess.run([functions.ROOT / "scripts/base-image"], check=True, capture_output=True, text=True)
    dockerfile = f'FROM {base.stdout.strip()}\nCOPY handler.py /var/task/\nCMD ["handler.handler"]\n'
    functions.build(engine, reference, dockerfile, HANDLER)
    try:
        pushed = engine.images.push(reference.rpartition(":")[0], tag="one", auth_config=login)
        assert '"error"' not in pushed
    finally:
        engine.images.remove(reference, force=True)
        engine.close()
    image = ecr.batch_get_image(repositoryName="app", imageIds=[{"imageTag": "one"}])["images"][0]
    digest = image["imageId"]["imageDigest"]
    return {
        "stack": "",
        "path": ["Resources", "HelloWorldFunction"],
        "config": json.loads(image["imageManifest"])["config"]["digest"],
        "manifest": digest,
        "image": f"{repository}@{digest}",
    }


def write_release(directory: Path, function: dict[str, Any]) -> None:
    directory.mkdir(parents=True)
    packaged = TEMPLATE.replace("IMAGE", function["image"]).encode()
    document: dict[str, Any] = {
        "v": 2,
        "parameters": {},
        "functions": {"HelloWorldFunction": function},
        "templates": {
            "": {
                "file": "packaged-template.yaml",
                "source": sha256(TEMPLATE.encode()),
                "packaged": sha256(packaged),
                "url": None,
            }
        },
    }
    document["digest"] = release_digest(document)
    (directory / "packaged-template.yaml").write_bytes(packaged)
    (directory / "release.json").write_text(json.dumps(document))


def calling(deployment: str, target: Target, access: Access) -> Request:
    return Request(
        "invoke",
        "apply",
        "run-smoke-1",
        options={"requests": "smoke.yaml"},
        inputs={"deployment": deployment},
        source="source",
        target=target,
        access=access,
    )


def test_a_run_does_not_pass_by_the_code_of_another_one(tmp_path: Path) -> None:
    """Run A and run B deploy to the same stack, B last: A's calls would be answered by B's code."""
    target = Target("staging", new_account(), "eu-central-1", embedded=True, stack="demo")
    with embedded_aws(tmp_path / "embedded") as url:
        access = Access(endpoint_url=url)
        ecr = connect(target, access).ecr
        ecr.create_repository(repositoryName="app")
        deployer = Deployer(tmp_path, target, url)
        images = []
        for run, content in (("a", "one"), ("b", "two")):
            ecr.put_image(repositoryName="app", imageManifest=manifest(content), imageTag=content)
            _, deployment = deployer.apply(run, deployer.propose(run, content), content)
            images.append(deployment["functions"]["HelloWorldFunction"]["image"])
            (tmp_path / run).mkdir()
            (tmp_path / run / "deployment.json").write_text(json.dumps(deployment))
        (tmp_path / "source").mkdir()
        (tmp_path / "source/smoke.yaml").write_text("- function: HelloWorldFunction")
        with pytest.raises(StageError) as caught:
            invoke(calling("a", target, access), tmp_path)
    assert caught.value.cls == "blocked"
    assert caught.value.message.endswith(f"expected {images[0]}, found {images[1]}")
    assert images[0] != images[1]


@pytest.mark.slow
@pytest.mark.engine
def test_what_is_deployed_answers(tmp_path: Path) -> None:
    target = Target(
        "staging", new_account(), "eu-central-1", embedded=True, stack="demo", capabilities=["CAPABILITY_IAM"]
    )
    with embedded_aws(tmp_path / "embedded") as url:
        access = Access(endpoint_url=url)
        write_release(tmp_path / "inputs/release", push(target, access))
        request = Request(
            "deploy", "propose", "run-deploy-1", inputs={"release": "inputs/release"}, target=target, access=access
        )
        proposal = propose(request, tmp_path).proposal
        deployed = deploy(replace(request, phase="apply", proposal=proposal), tmp_path)
        assert deployed.facts["endpoints"]["HelloWorldApi"].startswith(url)

        (tmp_path / "source").mkdir()
        smoke = tmp_path / "source/smoke.yaml"
        smoke.write_text(REQUESTS)
        call = calling("outputs/deployment", target, access)
        assert [each["name"] for each in invoke(call, tmp_path).facts["requests"]] == ["http", "event", "error"]
        smoke.write_text(REQUESTS.replace("hello world", "goodbye"))
        with pytest.raises(StageError, match=r'json\.message: expected "goodbye", got "hello world"'):
            invoke(call, tmp_path)
