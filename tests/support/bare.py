"""The project of somebody who has a template and no pipeline."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

from support.machine import TOWPATH, Machine
from support.terminal import Said, talk

if TYPE_CHECKING:
    from pathlib import Path

TEMPLATE = """\
# a comment that stays
Transform: AWS::Serverless-2016-10-31
Parameters:
  Stage: {Type: String, Default: dev, AllowedValues: [dev, live]}
  Password: {Type: String, NoEcho: true, Default: changeme}
Resources:
  Hello:
    Type: AWS::Serverless::Function
    Properties:
      PackageType: Image
      Events: {Get: {Type: Api, Properties: {Path: /hello, Method: get}}}
      Environment: {Variables: {STAGE: !Ref Stage, PASSWORD: !Ref Password}}
    Metadata: {Dockerfile: Dockerfile, DockerContext: hello}
Outputs:
  Name: {Value: !Ref Hello}
"""
IAM = ("--capabilities", "CAPABILITY_IAM")
HERE = ("--aws", "embedded")


def bare_project(folder: Path) -> Machine:
    """Make a project in `folder`, on a machine without credentials and without an AWS."""
    project = folder / "project"
    (project / "hello").mkdir(parents=True)
    (project / "template.yaml").write_text(TEMPLATE)
    (project / "hello" / "Dockerfile").write_text("FROM scratch\nCOPY code /\n")
    (project / "hello" / "code").write_text(uuid.uuid4().hex)
    nowhere = str(folder / "none")
    aws = {"AWS_CONFIG_FILE": nowhere, "AWS_SHARED_CREDENTIALS_FILE": nowhere, "AWS_EC2_METADATA_DISABLED": "true"}
    return Machine(project, aws)


def type_in(machine: Machine, *arguments: str, answers: list[tuple[str, str]]) -> Said:
    """Type a command at a terminal, and answer what it asks."""
    return talk([TOWPATH, *arguments], machine.project, {**machine.environment, "TERM": "xterm"}, answers)
