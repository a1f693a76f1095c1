"""One application with everything that templates may have: nested stacks, a loop, aliases, parameters, images built elsewhere."""

from __future__ import annotations

import json
import re
import uuid
from typing import TYPE_CHECKING, Any

import pytest
from support.machine import Machine

from pipeline.record import artifacts
from pipeline.record.store.directory import open_store
from stages.images import engine

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.engine, pytest.mark.slow]

TEMPLATE = """\
# The comment at the top
Transform: [AWS::LanguageExtensions, AWS::Serverless-2016-10-31]
Parameters:
  Names: {Type: CommaDelimitedList, Default: "a,b"}
  Prebuilt: {Type: String}
  Tag: {Type: String, Default: none}
Globals:
  Function: {Timeout: 010}   # eight, for YAML; it stays what it is
Conditions: {Never: !Equals [a, b]}
Metadata:
  Common: &common
    PackageType: Image
    AutoPublishAlias: live
Resources:
  Fn::ForEach::Loop:
    - N
    - !Ref Names
    - Loop${N}:
        Type: AWS::Serverless::Function
        Properties: {PackageType: Image}
        Metadata: {Dockerfile: Dockerfile, DockerContext: "./${N}", DockerTag: !Sub "${Tag}-${N}"}
  One:
    Type: AWS::Serverless::Function
    Properties: *common
    Metadata: &built {Dockerfile: Dockerfile, DockerContext: a}
  Two:
    Type: AWS::Serverless::Function
    Properties:
      <<: *common
      Timeout: 5
    Metadata: {<<: *built, DockerContext: b}
  Rarely:
    Type: AWS::Serverless::Function
    Condition: Never
    Properties: {PackageType: Image, ImageUri: 'saved.tar'}
  Local:
    Type: AWS::Serverless::Function
    Properties:
      PackageType: Image
      ImageUri: !Ref Prebuilt   # `sam package` leaves it and pushes nothing
  Child:
    Type: AWS::Serverless::Application
    Properties: {Location: child/template.yml, Parameters: {Tag: !Ref Tag}}
"""
CHILD = """\
Transform: AWS::Serverless-2016-10-31
Parameters: {Tag: {Type: String}}
Resources:
  One:
    Type: AWS::Serverless::Function
    Properties: {PackageType: Image}
    Metadata: {Dockerfile: Dockerfile, DockerContext: c, DockerTag: !Ref Tag}
  Grand: {Type: AWS::CloudFormation::Stack, Properties: {TemplateURL: grand/t.json}}
"""
GRAND = {
    "Resources": {
        "One": {
            "Type": "AWS::Lambda::Function",
            "Properties": {"PackageType": "Image", "Code": {"ImageUri": "x"}, "Role": "arn:aws:iam::1:role/r"},
            "Metadata": {"Dockerfile": "Dockerfile", "DockerContext": "d"},
        }
    }
}
PIPELINE = """\
version: 1
name: odd
environments:
  test:
    aws: embedded
    account: "{account}"
    region: eu-central-1
    repository: odd
    bucket: odd-{account}
    stack: odd
    approvals: none
    parameters: {{Prebuilt: "given to the deployment; the image is pinned already"}}
    capabilities: [CAPABILITY_IAM, CAPABILITY_AUTO_EXPAND]
stages:
  build: {{uses: build, with: {{template: app/template.yaml, parameters: {{Prebuilt: "{prebuilt}", Tag: v1}}}}}}
  package: {{uses: package, needs: [build], environment: test}}
  deploy: {{uses: deploy, needs: [package], environment: test}}
"""
PACKAGED = """\
# The comment at the top
Transform: [AWS::LanguageExtensions, AWS::Serverless-2016-10-31]
Parameters:
  Names: {Type: CommaDelimitedList, Default: "a,b"}
  Prebuilt: {Type: String}
  Tag: {Type: String, Default: none}
Globals:
  Function: {Timeout: 010}   # eight, for YAML; it stays what it is
Conditions: {Never: !Equals [a, b]}
Metadata:
  Common:
    PackageType: Image
    AutoPublishAlias: live
Mappings: {LoopLoopNImageUri: {a: {Value: IMAGE-a}, b: {Value: IMAGE-b}}}
Resources:
  Fn::ForEach::Loop:
    - N
    - !Ref Names
    - Loop${N}:
        Type: AWS::Serverless::Function
        Properties: {ImageUri: {Fn::FindInMap: [LoopLoopNImageUri, {Ref: N}, Value]}, PackageType: Image}
        Metadata: {Dockerfile: Dockerfile, DockerContext: "./${N}", DockerTag: !Sub "${Tag}-${N}"}
  One:
    Type: AWS::Serverless::Function
    Properties: {ImageUri: IMAGE-a, PackageType: Image, AutoPublishAlias: live}
    Metadata: {Dockerfile: Dockerfile, DockerContext: a}
  Two:
    Type: AWS::Serverless::Function
    Properties:
      ImageUri: IMAGE-b
      PackageType: Image
      AutoPublishAlias: live
      Timeout: 5
    Metadata: {Dockerfile: Dockerfile, DockerContext: b}
  Rarely:
    Type: AWS::Serverless::Function
    Condition: Never
    Properties: {PackageType: Image, ImageUri: 'IMAGE-saved'}
  Local:
    Type: AWS::Serverless::Function
    Properties:
      PackageType: Image
      ImageUri: IMAGE-local   # `sam package` leaves it and pushes nothing
  Child:
    Type: AWS::Serverless::Application
    Properties: {Location: CHILD, Parameters: {Tag: !Ref Tag}}
"""


@pytest.fixture
def machine(tmp_path: Path, embedded: dict[str, str]) -> Machine:
    """A machine with the application, and an engine that has the image `prebuilt:<mark>`."""
    app, mark = tmp_path / "project" / "app", uuid.uuid4().hex
    for folder in ("a", "b", "child/c", "child/grand/d", "saved", "local"):
        (app / folder).mkdir(parents=True)
        (app / folder / "Dockerfile").write_text('FROM scratch\nCOPY code /\nCMD ["x"]\n')
        (app / folder / "code").write_text(f"{folder} {mark}")
    (app / "template.yaml").write_text(TEMPLATE)
    (app / "child" / "template.yml").write_text(CHILD)
    (app / "child" / "grand" / "t.json").write_text(json.dumps(GRAND))
    with engine.connect() as client:
        for name in ("saved", "local"):
            for _ in client.build(path=str(app / name), tag=f"{name}-{mark}:v1", rm=True):
                pass
        (app / "saved.tar").write_bytes(b"".join(engine.save(client, [f"saved-{mark}:v1"])))
        client.remove_image(f"saved-{mark}:v1")
    account = f"4{int(mark, 16) % 10**11:011d}"
    (tmp_path / "project" / "pipeline.yaml").write_text(PIPELINE.format(account=account, prebuilt=f"local-{mark}:v1"))
    return Machine(tmp_path / "project", embedded)


def test_every_function_is_built_packaged_and_runs_its_own_image(machine: Machine) -> None:
    """Root, child and grandchild have a function One each, with equal tags; aliases share Properties."""
    state = machine.json("run")
    folder = machine.project / "release"
    store = open_store(machine.project / ".towpath/store", create=False)
    artifacts.materialise(store, state["stages"]["package"]["outputs"]["release"], folder)
    release: dict[str, Any] = json.loads((folder / "release.json").read_text())
    images = {name: each["image"] for name, each in release["functions"].items()}

    assert images["Loopa"] == images["One"]
    assert images["Loopb"] == images["Two"]
    assert len(set(images.values())) == 6
    named = {
        "a": images["One"],
        "b": images["Two"],
        "saved": images["Rarely"],
        "local": images["Local"],
    }
    packaged = (folder / "packaged-template.yaml").read_text()
    for name, uri in named.items():
        packaged = packaged.replace(uri, f"IMAGE-{name}")
    assert re.sub(r"https://s3\.eu-central-1\.amazonaws\.com/[^,]+\.template", "CHILD", packaged) == PACKAGED
    assert images["Child/One"] in (folder / "nested" / "Child.yaml").read_text()
    grand = json.loads((folder / "nested" / "Child" / "Grand.yaml").read_text())
    assert grand["Resources"]["One"]["Properties"]["Code"] == {"ImageUri": images["Child/Grand/One"]}

    running = {name: each["image"] for name, each in state["stages"]["deploy"]["facts"]["functions"].items()}
    del images["Rarely"]  # its condition does not hold
    assert running == images
    again = machine.json("run")
    assert again["stages"]["package"]["facts"]["release"] == release["digest"]
    assert "nothing to change" in machine.towpath("logs", "latest", "deploy").stdout
    assert "not authenticated" in machine.towpath("audit", "verify", "latest", code=7).stderr
    with engine.connect() as client:
        for config in {each["config"] for each in release["functions"].values()}:
            client.remove_image(config, force=True)
